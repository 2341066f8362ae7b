"""What one session knows of the processes that run its tasks: that they may not be as they come any more.

Tasks, and code of the user's that runs there besides, may seed generators, change settings, and change modules: for
all that runs there later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nbrewind.tasks import worker
from nbrewind.tasks.fingerprint import TaskFacts

_MAX_NAMES = 3


@dataclass(slots=True)
class Elsewhere:
    """Other processes than this one. `on_news` is called when records that counted may not any more."""

    on_news: Callable[[], object]
    are_seeded: bool = False
    have_settings: bool = False
    # They may hold other modules of the user's than this one; whoever loads a result there looks.
    have_modules: bool = False
    # Why nothing is kept that they give; None: it is.
    distrust: str | None = None

    def may_be_seeded(self) -> None:
        """What was drawn there when nobody had seeded them need not be what is drawn there now."""
        self.are_seeded = True
        self.on_news()

    def may_have_settings(self) -> None:
        """Whatever was computed there may come out otherwise now."""
        self.have_settings = True
        self.on_news()

    def may_have_modules(self) -> None:
        """The same of what was computed with modules of the user's."""
        self.have_modules = True

    def have_libraries(self, names: list[str]) -> None:
        """Libraries there are not as they come: what is computed there now is theirs alone."""
        told = ", ".join(names[:_MAX_NAMES])
        self.distrust = f"something has changed {told} in the processes that run its tasks"
        self.may_have_settings()

    def heard(self, reason: str | None) -> None:
        """A task that ran there has left something, as its record says."""
        if reason == worker.OF_GENERATORS:
            self.may_be_seeded()
        elif reason == worker.OF_SETTINGS:
            self.may_have_settings()
        elif reason == worker.OF_MODULES:
            self.may_have_modules()

    def expect(self, facts: list[TaskFacts]) -> None:
        """What tasks may leave there for all that are planned from now on."""
        patches = {one.patches for fact in facts for one in fact.literals if one.patches}
        if patches:
            self.have_libraries(sorted(patches))
        if any(literal.may_seed for fact in facts for literal in fact.literals):
            self.may_be_seeded()
        if any(literal.may_set for fact in facts for literal in fact.literals):
            self.may_have_settings()

    def why_other(self) -> str | None:
        """Why what was computed there need not be what comes out there now; None: it is."""
        if self.distrust is not None:
            return self.distrust
        if self.have_settings:
            return "something has changed settings of the processes that run its tasks"
        if self.have_modules:
            return "something has changed modules in the processes that run its tasks"
        return None

"""Figures that stay open in pyplot: later cells find them with `plt.gcf()`, so they are part of the state.

Where figures are shown at the end of a cell they are closed there as well; with other backends they stay. A figure
that a name holds is stored with that name; kept here is only which ones are open, under which number, and which is
current. A figure that no name holds cannot be found again: the run that leaves it always executes.
"""

from __future__ import annotations

import sys
import weakref
from typing import TYPE_CHECKING, Any

from nbrewind.kernel.namespace import is_tracked

if TYPE_CHECKING:
    from nbrewind.kernel.session import Session

PROVIDER = "open figures"

# Which figures are open, as (number, name that holds it or None), and the number of the current one.
State = tuple[tuple[tuple[int, str | None], ...], int | None]

NONE_OPEN: State = ((), None)


class Figures:
    """The open figures of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        # What held a figure when it was last looked at: the name may be in the store alone by now.
        self._names: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()

    def now(self) -> State | None:
        """The figures that are open now; None while pyplot is not loaded."""
        managers = _managers()
        if managers is None:
            return None
        entries = tuple(
            (number, self._name_of(manager.canvas.figure))
            for number, manager in sorted(managers.items())
        )
        return (entries, next(reversed(managers)) if managers else None)

    def bring(self, state: State) -> None:
        """Open what was open in another process. Names must be loaded; what had none is gone."""
        entries, current = state
        self.open_only((tuple(item for item in entries if item[1] is not None), current))

    def open_only(self, state: State) -> None:
        """Have these figures open and no others; those without a name stay. Names must be loaded."""
        entries, current = state
        if _managers() is None and not entries:
            return
        import matplotlib.pyplot as plt
        from matplotlib._pylab_helpers import Gcf

        wanted = {number: self._held_by(name) for number, name in entries if name is not None}
        unnamed = {number for number, name in entries if name is None}
        for number, manager in list(Gcf.figs.items()):
            if number not in unnamed and wanted.get(number) is not manager.canvas.figure:
                Gcf.destroy(number)
        for number, figure in wanted.items():
            if figure is not None and number not in Gcf.figs:
                # As a figure that is unpickled does it.
                backend: Any = plt._get_backend_mod()
                Gcf._set_new_active_manager(backend.new_figure_manager_given_figure(number, figure))
        if current is not None and current in Gcf.figs:
            Gcf.set_active(Gcf.figs[current])

    def unnamed(self) -> bool:
        """True when a figure is open that no name holds."""
        state = self.now()
        return state is not None and any(name is None for _, name in state[0])

    def expected(self) -> State:
        """The figures that are open in the symbolic state."""
        session = self._session
        item = session.ambient_pending.get(PROVIDER)
        if item is not None:
            from nbrewind.kernel.repeat import load_ambient

            found: State = load_ambient(session, item)
            return found
        # A plan begins without any.
        return (self.now() if session.aside is None else None) or NONE_OPEN

    def names(self) -> set[str]:
        """Names whose figures any code may reach through pyplot."""
        return {name for _, name in self.expected()[0] if name is not None}

    def make_real(self, state: State) -> None:
        """What was expected is so: called when the names are loaded."""
        if PROVIDER in self._session.ambient_pending:
            self._session.ambient.restore(PROVIDER, state)
            del self._session.ambient_pending[PROVIDER]
        elif state != NONE_OPEN:
            self.open_only(state)

    def _held_by(self, name: str) -> Any:
        return _figure_of(self._session.namespace.get(name))

    def _name_of(self, figure: Any) -> str | None:
        namespace, state = self._session.namespace, self._session.state
        holders = [
            (value is not figure, name)
            for name, value in namespace.items()
            if is_tracked(name) and _figure_of(value) is figure
        ]
        if holders:
            self._names[figure] = min(holders)[1]
            return self._names[figure]
        before = self._names.get(figure)
        # A replay has bound it to a version that is not loaded.
        if before is not None and before in state.bound and before not in state.loaded:
            return before
        return None


def _managers() -> Any:
    """pyplot's own list, the current figure last; None while pyplot is not loaded."""
    helpers = sys.modules.get("matplotlib._pylab_helpers")
    if helpers is None or "matplotlib.pyplot" not in sys.modules:
        return None
    return helpers.Gcf.figs


def _figure_of(value: Any) -> Any:
    """The figure that a value is or belongs to."""
    module = sys.modules.get("matplotlib.artist")
    if module is None or not issubclass(type(value), module.Artist):
        return None
    figure = getattr(value, "figure", None)
    return getattr(figure, "figure", figure)


def snapshot() -> list[tuple[int, Any]]:
    """What pyplot has open, to be put back with `put_back`."""
    return list((_managers() or {}).items())


def put_back(taken: list[tuple[int, Any]]) -> None:
    """What `snapshot` took, in its order."""
    managers = _managers()
    if managers is not None:
        managers.clear()
        managers.update(taken)

"""Cells that are never recorded: they run, and nothing of them is stored.

Neither their text and outputs nor what they bind, nor a fingerprint of it. Names that they bind or change are marked,
and stay so until they are bound to something else; cells that read them always execute. What other cells make of them
is theirs, and is stored.
"""

from __future__ import annotations

import json
import os
import types
from typing import TYPE_CHECKING, Any

from nbrewind.fingerprint import is_importable, is_library_module
from nbrewind.kernel import record

if TYPE_CHECKING:
    from nbrewind.kernel.session import Session


class Before:
    """What was there before such a cell."""

    def __init__(self, session: Session) -> None:
        self._env = dict(os.environ)
        self._objects = {name: id(session.namespace[name]) for name in session.state.live_names()}

    def end(self, session: Session, source: str, effects: dict[str, Any]) -> None:
        """The cell has run: mark what it made."""
        state = session.state
        named = {*effects["writes"], *effects["mutates"]}
        made = {
            name
            for name in state.live_names()
            if name in named or self._objects.get(name) != id(session.namespace[name])
        }
        if session.mode != "off":
            changed, _ = state.sweep(suspects=set())
            made |= {name for version in changed for name in version.names}
        made = {name for name in made if not _is_of_a_library(session.namespace[name])}
        if session.mode != "off":
            # These versions have content still.
            for name in made:
                state.bound.pop(name, None)
        state.unrecorded.update({name: session.namespace[name] for name in sorted(made)})
        if session.mode != "off":
            state.sweep(suspects=set())
            state.remember_objects()
        now = dict(os.environ)
        session.ambient.places.unrecorded |= {
            name for name in {*now, *self._env} if now.get(name) != self._env.get(name)
        }
        hidden = record.hidden_calls(session, source, effects)
        settings = [item for item in effects["statements"] if item["kind"] in {"config", "magic"}]
        if hidden or settings or effects["unknown"]:
            # Not even a digest of the text: later runs stand on a process that only this one has.
            session.hide(json.dumps([session.session_id, len(session.hidden)]), [_WHY])


def _is_of_a_library(value: Any) -> bool:
    """True for what any process can import: it holds nothing of the cell's."""
    if isinstance(value, types.ModuleType):
        return is_library_module(value.__name__)
    return is_importable(value)


_WHY = "a cell that is never recorded changed the process"

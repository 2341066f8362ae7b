"""What an edited cell will leave as it was: names whose statements are the same as in its latest recorded run.

A forecast for the plan that a user is shown, never a reason to replay: only statements that call nothing are taken, and
the replay itself compares what the cell really left.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nbrewind import _native
from nbrewind.kernel.namespace import CoVariable

if TYPE_CHECKING:
    from nbrewind.kernel.session import Run, Session


def unchanged_names(
    session: Session, run: Run, latest: dict[str, Any], unsure: set[str]
) -> list[CoVariable]:
    """Versions of `latest`, a recorded run of the same cell, that `run` will make again.

    `unsure`: names that cells above may change.
    """
    from nbrewind.kernel.session import analyze

    assert session.history is not None
    if run.unknown:
        return []
    effects = analyze(latest["source"])
    found: dict[str, set[str]] = {}
    for name in run.effects["writes"]:
        now, then = _slice(run.source, run.effects, name), _slice(latest["source"], effects, name)
        if now is None or now != then or not now[1].isdisjoint(unsure):
            continue
        if any(not _is_as_it_was(session, latest, need) for need in now[1]):
            continue
        manifest_id = latest["state"].get(name)
        if manifest_id in latest["effects"]["writes"]:
            found.setdefault(manifest_id, set()).add(name)
    versions = []
    for manifest_id, names in found.items():
        # The store may have been cleaned up since.
        with suppress(_native.MissingError):
            version = session.history.manifest(manifest_id)
            if set(version.names) <= names:
                versions.append(version)
    return versions


def _slice(source: str, effects: dict[str, Any], name: str) -> tuple[list[str], set[str]] | None:
    """The texts of the statements that make a name, and the names that they need; None when one of them calls."""
    statements = effects["statements"]
    found = json.loads(_native.slice(json.dumps(statements), {name}))
    chosen = [statements[index] for index in found["statements"]]
    if any(one["calls"] for one in chosen):
        return None
    raw = source.encode()
    return [raw[one["start"] : one["end"]].decode() for one in chosen], set(found["needs"])


def _is_as_it_was(session: Session, latest: dict[str, Any], name: str) -> bool:
    then = latest["inputs"]["names"].get(name)
    if name not in session.state.bound:
        return then is None
    now = session.state.name_fact(name)
    return now["fp"] is not None and now == then

"""`%load_ext nbrewind`: joins the session to a shell, and the `%nbrewind` magic."""

from __future__ import annotations

import os
from typing import Any

from nbrewind.kernel import comm, restore
from nbrewind.kernel.session import Session

USAGE = "Usage: %nbrewind audit | repeat | off | status | goto CELL | undo | budget SIZE"


def session_of(shell: Any) -> Session:
    """The shell's session, made on first use."""
    session: Session | None = getattr(shell, "_nbrewind_session", None)
    if session is None:
        session = Session(shell)
        shell._nbrewind_session = session
        comm.open_target(session)
    return session


def load(shell: Any, mode: str | None = None) -> Session:
    """Load the extension; the mode comes from the argument or from `NBREWIND_MODE`."""
    session = session_of(shell)
    shell.register_magic_function(lambda line: magic(session, line), "line", "nbrewind")
    mode = mode or os.environ.get("NBREWIND_MODE")
    if mode:
        session.configure(mode)
    return session


def magic(session: Session, line: str) -> None:
    """The `%nbrewind` magic."""
    words = line.split()
    match words:
        case ["audit" | "repeat" | "off" as mode]:
            taken = _set_mode(session, mode)
            where = f", store {session.history.path}" if session.history else ""
            when = " once the replay has ended" if session.replaying is not None else ""
            print(f"NBRewind: {mode}{when}{where}")  # noqa: T201
            if taken is not None:
                print(show_baseline(taken))  # noqa: T201
        case ["goto", cell]:
            with session.interrupts.held():
                report = restore.restore(session, restore.find_run(session, cell, None))
            _tell_state(session)
            print(show_restore(report))  # noqa: T201
        case ["undo"]:
            undone = restore.undo_restore(session)
            if undone:
                _tell_state(session)
            print("Undone." if undone else "There is no restore to undo.")  # noqa: T201
        case ["budget", size]:
            try:
                session.budget.set(size)
            except ValueError:
                print(f"{size} is not a size; write for example 10GB, or off")  # noqa: T201
                return
            session.keep_budget()
            print(f"NBRewind: the store's budget is {size}")  # noqa: T201
        case ["status"]:
            pending = session.state.pending()
            print(  # noqa: T201
                f"NBRewind: {session.mode}; {len(session.reports)} cell runs in this session; "
                f"{len(session.state.bound)} names, {len(pending)} of them not loaded yet"
            )
        case _:
            print(USAGE)  # noqa: T201


def _set_mode(session: Session, mode: str) -> dict[str, Any] | None:
    before = session.mode
    with session.interrupts.held():
        taken = session.configure(mode)
    if session.mode != before:
        session.tell({"event": "mode", "mode": session.mode})
    return taken


def _tell_state(session: Session) -> None:
    session.tell({"event": "state", "runs": session.log.payload()})


def show_baseline(taken: dict[str, Any]) -> str:
    """A baseline as text: what was there before and is stored now, and what could not be."""
    lines = [
        f"Stored {len(taken['taken'])} names that were there before ({taken['n_bytes']:,} bytes)"
    ]
    lines += [f"  not stored: {item['name']} ({item['why']})" for item in taken["not_taken"]]
    return "\n".join(lines)


def show_restore(report: dict[str, Any]) -> str:
    """A restore report as text, one line per name."""
    lines = [f"Restored the state after cell {report['cell_id']} in {report['seconds']:.2f} s"]
    for item in report["names"]:
        is_stored = item["how"] in {"loaded", "pending"}
        size = f"{item['n_bytes']:,} bytes" if is_stored else (item["why"] or "")
        lines.append(f"  {item['how']:8} {item['name']:24} {item['type']:40} {size}".rstrip())
    lines += [f"  not brought back: {text}" for text in report.get("process", [])]
    lines += [f"  still as it was: {text}" for text in report.get("stays", [])]
    lines += [f"  not kept: {text}" for text in report.get("results", [])]
    return "\n".join(lines)


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext nbrewind`."""
    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """`%unload_ext nbrewind`: nothing is recorded or replayed any more."""
    _set_mode(session_of(shell), "off")

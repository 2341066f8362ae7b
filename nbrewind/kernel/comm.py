"""The protocol between the kernel and whoever drives it: JupyterLab, the server, the command line.

One comm target, `nbrewind`. A request is `{"id", "do", ...}`; the answer `{"id", "ok": true, ...}` or
`{"id", "ok": false, "error", "code"}`, to the asker alone. Events go to everybody. docs/ARCHITECTURE.md has the table.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from nbrewind._native import StoreError
from nbrewind.kernel import repeat, replay, restore
from nbrewind.kernel.outdated import outdated
from nbrewind.kernel.requests import LOOKS, Requests
from nbrewind.kernel.session import Session
from nbrewind.kernel.takeback import journal
from nbrewind.listing import listed, of_notebook

TARGET = "nbrewind"

# How many reports a `status` carries; all of them came as events.
MAX_REPORTS = 50


# Refused while a replay is under way that another comm began, unless they are forced.
_OWNERS = frozenset({"restore", "undo-restore", "begin-replay", "end-replay"})


class BadRequest(Exception):
    """The request lacks something, or names what is not there."""


class Busy(Exception):
    """A replay that somebody else began is under way."""


def answer(session: Session, request: dict[str, Any]) -> dict[str, Any]:
    """Carry out one request. Errors that the asker can act on come back as answers."""
    try:
        return {"id": request.get("id"), "ok": True, **_carry_out(session, request)}
    except KeyboardInterrupt:
        return _refused(request, "cancelled", "the request was interrupted")
    except restore.UnknownRun as error:
        return _refused(request, "unknown-run", str(error))
    except replay.RestartNeeded as error:
        return {**_refused(request, "restart-needed", str(error)), "restart": error.reasons}
    except Busy as error:
        return _refused(request, "busy", str(error))
    except StoreError as error:
        return _refused(request, "store", str(error))
    except (BadRequest, ValueError) as error:
        return _refused(request, "bad-request", str(error))
    except Exception as error:  # noqa: BLE001 - a broken request must not break the kernel
        return _refused(request, "internal", f"{type(error).__name__}: {error}")


def _refused(request: dict[str, Any], code: str, error: str) -> dict[str, Any]:
    return {"id": request.get("id"), "ok": False, "code": code, "error": error}


def _needs(request: dict[str, Any], name: str) -> Any:
    if request.get(name) is None:
        raise BadRequest(f"`{request.get('do')}` needs `{name}`")
    return request[name]


def _carry_out(session: Session, request: dict[str, Any]) -> dict[str, Any]:
    if request.get("do") in _OWNERS:
        _check_owner(session, request)
    match request.get("do"):
        case "configure":
            known = ("mode", "store", "notebook", "shadow", "distrusted", "tags")
            taken = session.configure(**{key: request[key] for key in known if key in request})
            found = {"mode": _mode(session), "store": _store(session)}
            if request.get("mode") is not None and session.replaying is not None:
                found["mode"] = session.replaying["mode"]
            return found if taken is None else {**found, "baseline": taken}
        case "status":
            return _status(session)
        case "log":
            return {"session": session.session_id, "runs": session.log.payload()}
        case "runs":
            listed_runs = runs(session, request.get("cell"))
            damage = session.history.damage() if session.history is not None else None
            return {"runs": listed_runs, "damage": damage}
        case "outside":
            return {"runs": outdated(session)}
        case "cancel":
            wanted = _needs(request, "request")
            return {"cancelled": session.requests is not None and session.requests.cancel(wanted)}
        case "restore":
            if request.get("cell") is None and request.get("run") is None:
                raise BadRequest("`restore` needs `cell` or `run`")
            run = restore.find_run(
                session, request.get("cell"), request.get("run"), request.get("number")
            )
            return {"report": restore.restore(session, run), "runs": session.log.payload()}
        case "undo-restore":
            return {"undone": restore.undo_restore(session), "runs": session.log.payload()}
        case "plan":
            session.open_history()
            return {"plan": repeat.plan(session, _needs(request, "cells"))}
        case "plan-replay":
            return replay.plan(session, *_replay_of(request))
        case "begin-replay":
            found = replay.begin(
                session, *_replay_of(request), request.get("distrusted"), request.get("comm")
            )
            return {"runs": session.log.payload(), **found}
        case "end-replay":
            return replay.end(session)
        case "take-back":
            files, lost = journal.take_back()
            return {"files": files, "lost": lost}
        case "flush" | "settle":
            session.settle()
            if session.history is not None:
                session.history.flush()
            return {}
        case do:
            raise BadRequest(f"unknown request {do!r}")


def _check_owner(session: Session, request: dict[str, Any]) -> None:
    going = session.replaying
    if going is not None and going["owner"] != request.get("comm") and not request.get("force"):
        raise Busy(
            "a replay that another page or program began is under way; wait for its end, or end it"
        )


def _replay_of(request: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
    return [dict(cell) for cell in _needs(request, "cells")], _needs(request, "from")


def _mode(session: Session) -> str:
    return session.default_mode or session.mode


def _store(session: Session) -> str | None:
    return session.history.path if session.history else None


def _status(session: Session) -> dict[str, Any]:
    state = session.aside or session.state
    history, requests = session.history, session.requests
    running = session.log.running()
    try:
        own = version("nbrewind")
    except PackageNotFoundError:
        own = "unknown"
    return {
        "version": own,
        "mode": _mode(session),
        "store": _store(session),
        "is_writable": history is None or history.is_writable,
        "notebook": session.notebook,
        "names": sorted(list(state.bound)),
        "pending": sorted(set(list(state.bound)) - set(state.loaded)),
        "running": running.cell or None if running is not None else None,
        "queued": requests.queued() if requests is not None else [],
        "can_undo": session.undo is not None,
        "replaying": session.replaying is not None,
        "reports": session.reports[-MAX_REPORTS:],
    }


def runs(session: Session, cell: str | None) -> list[dict[str, Any]]:
    """Recorded runs, newest first; of one cell, those of this notebook if there are any."""
    if session.history is None and not os.path.isdir(session.store_path()):
        return []
    history = session.open_history()
    history.refresh()
    found = history.checkpoints()
    if cell is not None:
        of_cell = [run for run in found if run["cell_id"] == cell]
        folder = session.folder()
        is_beside = session.store_path() == os.path.join(folder, ".nbrewind")
        found = of_notebook(of_cell, session.notebook, folder if is_beside else None) or of_cell
    return [listed(run, history.n_bytes(run)) for run in reversed(found)]


def _tell_others(
    session: Session, do: str, mode: str, answered: dict[str, Any], asker: Any
) -> None:
    """What a request changed, for those who did not ask."""
    if session.mode != mode:
        session.tell({"event": "mode", "mode": session.mode}, asker)
    changes = do in {"restore", "begin-replay"} or (do == "undo-restore" and answered.get("undone"))
    if changes and answered["ok"]:
        session.tell({"event": "state", "runs": session.log.payload()}, asker)


def open_target(session: Session) -> None:
    """Register the comm target with the kernel."""
    manager = getattr(session.kernel, "comm_manager", None)
    if manager is None:
        return
    session.requests = Requests(session, answer)

    def opened(comm: Any, message: dict[str, Any]) -> None:
        tell: Callable[[dict[str, Any]], None] = comm.send
        is_closed = False

        def ask(content: dict[str, Any]) -> None:
            do = str(content.get("do"))
            mode = session.mode

            def reply(answered: dict[str, Any]) -> None:
                comm.send(answered)
                if do not in LOOKS:
                    _tell_others(session, do, mode, answered, tell)
                if is_closed:
                    end()

            session.requests.ask({**content, "comm": comm.comm_id}, reply)

        def end() -> None:
            """Who began the replay is gone and cannot end it."""
            going = session.replaying
            if going is not None and going["owner"] == comm.comm_id:
                mode = session.mode
                session.requests.ask(
                    {"do": "end-replay", "comm": comm.comm_id},
                    lambda answered: _tell_others(session, "end-replay", mode, answered, tell),
                )

        def closed(message: dict[str, Any]) -> None:
            nonlocal is_closed
            is_closed = True
            if tell in session.listeners:
                session.listeners.remove(tell)
            end()

        # The usual way fires `pre_execute` and `post_execute`, which show and close figures; beside a running cell
        # those would be the cell's.
        comm.handle_msg = lambda message: ask(message["content"]["data"])
        # Answers must not steer the next request to the thread of the running cell.
        comm._reply_subshell_for = lambda data, default: default
        session.listeners.append(tell)
        comm.on_close(closed)
        first = message["content"].get("data") or {}
        if first.get("do"):
            ask(first)

    manager.register_target(TARGET, opened)

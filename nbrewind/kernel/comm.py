"""The protocol between the kernel and whoever drives it: JupyterLab, the server, the command line.

One comm target, `nbrewind`. A request is `{"id", "do", ...}`; the answer `{"id", "ok": true, ...}` or
`{"id", "ok": false, "error", "code"}`. Between requests the kernel sends `{"event": "run", ...}` after each cell.
Handlers run on the kernel's main thread, between cells.
"""

from __future__ import annotations

from typing import Any

from nbrewind._native import StoreError
from nbrewind.kernel import repeat, restore
from nbrewind.kernel.session import Session

TARGET = "nbrewind"


def answer(session: Session, request: dict[str, Any]) -> dict[str, Any]:
    """Carry out one request. Errors that the asker can act on come back as answers."""
    try:
        return {"id": request.get("id"), "ok": True, **_carry_out(session, request)}
    except restore.UnknownRun as error:
        return {"id": request.get("id"), "ok": False, "code": "unknown-run", "error": str(error)}
    except StoreError as error:
        return {"id": request.get("id"), "ok": False, "code": "store", "error": str(error)}
    except Exception as error:  # noqa: BLE001 - a broken request must not break the kernel
        return {
            "id": request.get("id"),
            "ok": False,
            "code": "internal",
            "error": f"{type(error).__name__}: {error}",
        }


def _carry_out(session: Session, request: dict[str, Any]) -> dict[str, Any]:
    do = request.get("do")
    if do == "configure":
        known = ("mode", "store", "notebook", "shadow", "distrusted", "tags")
        session.configure(**{key: request[key] for key in known if key in request})
        return {"mode": session.mode, "store": session.history.path if session.history else None}
    if do == "restore":
        run = restore.find_run(
            session, request.get("cell"), request.get("run"), request.get("number")
        )
        return {"report": restore.restore(session, run)}
    if do == "plan":
        return {"plan": repeat.plan(session, request["cells"])}
    if do == "flush":
        session.settle()
        if session.history is not None:
            session.history.flush()
        return {}
    if do == "undo-restore":
        return {"undone": restore.undo_restore(session)}
    if do == "status":
        return {
            "mode": session.mode,
            "store": session.history.path if session.history else None,
            "reports": session.reports,
            "names": sorted(session.state.bound),
            "pending": sorted(session.state.pending()),
        }
    raise ValueError(f"unknown request {do!r}")


def open_target(session: Session) -> None:
    """Register the comm target with the kernel."""
    manager = getattr(session.kernel, "comm_manager", None)
    if manager is None:
        return

    def opened(comm: Any, message: dict[str, Any]) -> None:
        def tell(report: dict[str, Any]) -> None:
            comm.send({"event": "run", **report})

        def asked(message: dict[str, Any]) -> None:
            comm.send(answer(session, message["content"]["data"]))

        def closed(message: dict[str, Any]) -> None:
            if tell in session.listeners:
                session.listeners.remove(tell)

        session.listeners.append(tell)
        comm.on_msg(asked)
        comm.on_close(closed)
        first = message["content"].get("data") or {}
        if first.get("do"):
            comm.send(answer(session, first))

    manager.register_target(TARGET, opened)

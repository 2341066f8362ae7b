"""What can go wrong behind a route, and the one place that says which HTTP status that is."""

from __future__ import annotations

from typing import Any

from tornado.web import HTTPError

from nbrewind._native import StoreError
from nbrewind.client import KernelError

# Codes are what callers branch on; they are the kernel protocol's and a few of ours.
STATUS = {
    "bad-request": 400,
    "forbidden": 403,
    "outside-root": 403,
    "no-job": 404,
    "no-kernel": 404,
    "no-notebook": 404,
    "not-found": 404,
    "unknown-run": 404,
    "not-allowed": 405,
    "cancelled": 409,
    "cell-failed": 409,
    "no-extension": 409,
    "restart-needed": 409,
    "store": 409,
    "internal": 500,
    "kernel-died": 502,
    "busy": 503,
}

# What others raise as a bare status.
_CODES = {400: "bad-request", 403: "forbidden", 404: "not-found", 405: "not-allowed"}


class Trouble(Exception):
    """A request that cannot be carried out, with one of the codes of `STATUS`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def describe(error: BaseException | None, status: int = 500) -> dict[str, Any]:
    """`{code, message}` of any error, and `reasons` for a restart. What we do not know is only named."""
    match error:
        case KernelError(code="restart-needed"):
            reasons = error.answer.get("restart", [])
            return {"code": error.code, "message": str(error), "reasons": reasons}
        case Trouble() | KernelError():
            return {"code": error.code, "message": str(error)}
        case StoreError():
            return {"code": "store", "message": str(error)}
        case HTTPError():
            status = error.status_code
            code = _CODES.get(status, "bad-request" if status < 500 else "internal")
            return {"code": code, "message": error.log_message or error.reason or code}
        case None:
            code = _CODES.get(status, "bad-request" if status < 500 else "internal")
            return {"code": code, "message": code}
        case _:
            return {
                "code": "internal",
                "message": f"{type(error).__name__}; the server's log has the details",
            }


def status_of(code: str) -> int:
    """The HTTP status of a code; a code that a newer kernel sent is an internal error."""
    return STATUS.get(code, 500)

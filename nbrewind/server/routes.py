"""The routes under `{base_url}nbrewind/`: requests in, JSON out. Every one is authenticated and authorised.

A route that changes something in a kernel also needs what the server asks for executing code there, and one that takes
a notebook what it asks for reading (or, when outputs are saved, writing) contents. A route that only looks at a kernel
loads nothing into it: where NBRewind is not loaded, the code is `no-extension`.
"""

from __future__ import annotations

import json
import math
from typing import Any

from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web

from nbrewind import __version__
from nbrewind.server import kernels, notebooks, work
from nbrewind.server.errors import Trouble, describe, status_of
from nbrewind.server.jobs import Job, Jobs
from nbrewind.server.notebooks import Place

# Of the routes and of the kernel protocol together; a client that knows only older ones can say so.
PROTOCOL = 1

# How long a route that only looks waits for a kernel that cannot answer beside a running cell, and how long one that
# sets the mode waits for the cell to end.
LOOK_SECONDS = 10.0
MODE_SECONDS = 60.0
MAX_POLL_SECONDS = 60.0


class Handler(APIHandler):
    """What all our routes share: authorisation beyond the route itself, arguments, and errors."""

    auth_resource = "nbrewind"

    @property
    def jobs(self) -> Jobs:
        """The server's jobs."""
        found: Jobs = self.settings["nbrewind_jobs"]
        return found

    def reply(self, value: Any, status: int = 200) -> None:
        """Send JSON."""
        self.set_status(status)
        self.finish(json.dumps(value))

    def body(self, **kinds: type | tuple[type, ...]) -> dict[str, Any]:
        """The request's JSON object; what is there has the types given."""
        body = self.get_json_body() or {}
        if not isinstance(body, dict):
            raise Trouble("bad-request", "the body is a JSON object")
        for name, value in body.items():
            if name not in kinds:
                raise Trouble("bad-request", f"`{name}` is not known here")
            is_number = isinstance(value, bool) and kinds[name] is int
            if value is not None and (is_number or not isinstance(value, kinds[name])):
                raise Trouble("bad-request", f"`{name}` has the wrong type")
        return {name: value for name, value in body.items() if value is not None}

    def number(self, name: str, default: float) -> float:
        """A number from the query."""
        text = self.get_query_argument(name, None)
        try:
            found = default if text is None else float(text)
        except ValueError:
            found = math.nan
        if not math.isfinite(found):
            raise Trouble("bad-request", f"`{name}` is a number")
        return found

    async def require(self, action: str, resource: str) -> None:
        """Refuse a user whom the server itself would not let do this."""
        is_allowed = await ensure_async(
            self.authorizer.is_authorized(self, self.current_user, action, resource)
        )
        if not is_allowed:
            raise Trouble("forbidden", f"you may not {action} {resource}")

    async def kernel(self, kernel_id: str, action: str = "execute") -> str:
        """The id of a running kernel that this user may use."""
        await self.require(action, "kernels")
        kernels.check_kernel(self.kernel_manager, kernel_id)
        return kernel_id

    async def place(self, path: object, action: str = "read") -> Place:
        """The notebook of a request."""
        await self.require(action, "contents")
        return await notebooks.place_of(self.contents_manager, path)

    def start(self, job: Job, task: work.Work) -> None:
        """Queue a job and answer with it."""
        self.reply(self.jobs.submit(job, task).to_json(), 202)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """What we can name is no news for the log."""
        if describe(value)["code"] == "internal":
            super().log_exception(typ, value, tb)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """The only place where an error becomes a status and a body."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        told = describe(error, status_code)
        # A status that someone else chose stays; ours follows from the code.
        if not isinstance(error, web.HTTPError) and error is not None:
            status_code = status_of(told["code"])
        self.set_status(status_code)
        self.finish(json.dumps(told))


class StatusHandler(Handler):
    """Is the extension there, and which one."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """`{version, protocol}`."""
        self.reply({"version": __version__, "protocol": PROTOCOL})


class RunsHandler(Handler):
    """What was recorded of a notebook."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """`{runs, trusted, why_not_trusted}`; needs no kernel.

        Records are text that is shown, so those of a store that others could have written are listed as well; what
        would load values from there (mode, restore, replay) is refused.
        """
        place = await self.place(self.get_query_argument("path", None))
        cell = self.get_query_argument("cell", None)
        why = await notebooks.why_untrusted(place)
        found = await notebooks.runs(place, cell)
        self.reply({"runs": found, "trusted": why is None, "why_not_trusted": why})


class KernelStatusHandler(Handler):
    """What a kernel's session is doing."""

    @web.authenticated
    @authorized
    async def get(self, kernel_id: str) -> None:
        """The answer of the kernel protocol's `status`."""
        talk = kernels.attach(self.kernel_manager, await self.kernel(kernel_id, "read"))
        try:
            await talk.open(LOOK_SECONDS, loads=False)
            self.reply(_answer(talk.status))
        finally:
            await talk.close()


class KernelLogHandler(Handler):
    """What a kernel executed."""

    @web.authenticated
    @authorized
    async def get(self, kernel_id: str) -> None:
        """The answer of the kernel protocol's `log`."""
        talk = kernels.attach(self.kernel_manager, await self.kernel(kernel_id, "read"))
        try:
            await talk.open(LOOK_SECONDS, loads=False)
            self.reply(_answer(await talk.ask("log", patience=LOOK_SECONDS)))
        finally:
            await talk.close()


class ModeHandler(Handler):
    """Audit, repeat or off."""

    @web.authenticated
    @authorized
    async def post(self, kernel_id: str) -> None:
        """Takes `{mode, path?}`; the answer of the kernel protocol's `configure`."""
        body = self.body(mode=str, path=str)
        if body.get("mode") not in {"audit", "repeat", "off"}:
            raise Trouble("bad-request", "`mode` is audit, repeat or off")
        await self.kernel(kernel_id)
        place = await self.place(body["path"]) if "path" in body else None
        if place is not None and body["mode"] != "off":
            await notebooks.check_trust(place)
        talk = kernels.attach(self.kernel_manager, kernel_id)
        try:
            await talk.open(MODE_SECONDS)
            answer = await kernels.configure(
                self.kernel_manager, kernel_id, talk, place, body["mode"], MODE_SECONDS
            )
            self.reply(_answer(answer))
        finally:
            await talk.close()


class RestoreHandler(Handler):
    """Restore the state after a run."""

    @web.authenticated
    @authorized
    async def post(self, kernel_id: str) -> None:
        """Takes `{path, cell, number?}` or `{path, run}`; 202 and a job."""
        body = self.body(path=str, cell=str, run=str, number=int)
        if ("cell" in body) == ("run" in body):
            raise Trouble("bad-request", "give either `cell` or `run`")
        await self.kernel(kernel_id)
        place = await self.place(body.pop("path", None))
        await notebooks.check_trust(place)
        self.start(
            Job("restore", kernel_id, place.path), work.restore(self.kernel_manager, place, body)
        )


class UndoRestoreHandler(Handler):
    """Bring back what was there before the last restore."""

    @web.authenticated
    @authorized
    async def post(self, kernel_id: str) -> None:
        """202 and a job."""
        self.body()
        await self.kernel(kernel_id)
        self.start(Job("undo-restore", kernel_id, None), work.undo_restore(self.kernel_manager))


class ReplayHandler(Handler):
    """Bring a cell and those after it up to date."""

    @web.authenticated
    @authorized
    async def post(self, kernel_id: str) -> None:
        """Takes `{path, from, restart?, save?}`; 202 and a job."""
        body = self.body(path=str, restart=bool, save=bool, **{"from": str})
        if "from" not in body:
            raise Trouble("bad-request", "`from` is the id of a cell")
        await self.kernel(kernel_id)
        place = await self.place(body.get("path"))
        await notebooks.check_trust(place)
        is_saved = body.get("save", True)
        if is_saved:
            await self.require("write", "contents")
        task = work.replay(
            self.kernel_manager,
            self.contents_manager,
            place,
            body["from"],
            may_restart=body.get("restart", False),
            is_saved=is_saved,
        )
        self.start(Job("replay", kernel_id, place.path), task)


class JobsHandler(Handler):
    """All jobs."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """`{jobs}`, oldest first."""
        self.reply({"jobs": [job.to_json() for job in self.jobs.all()]})


class JobHandler(Handler):
    """One job."""

    @web.authenticated
    @authorized
    async def get(self, job_id: str) -> None:
        """The job; with `wait=SECONDS`, once it has changed more than `since` times (default: since now)."""
        job = self.jobs.get(job_id)
        seconds = min(self.number("wait", 0.0), MAX_POLL_SECONDS)
        if seconds > 0:
            await job.wait(int(self.number("since", job.changes)), seconds)
        self.reply(job.to_json())

    @web.authenticated
    @authorized
    async def delete(self, job_id: str) -> None:
        """Cancel it: 202 while it still has to stop, 200 once it has ended."""
        job = self.jobs.get(job_id)
        # Its kernel may be gone by now.
        await self.require("execute", "kernels")
        await self.jobs.cancel(job)
        self.reply(job.to_json(), 200 if job.ended is not None else 202)


def _answer(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key not in {"id", "ok"}}


HANDLERS: list[tuple[str, type[Handler]]] = [
    (r"status", StatusHandler),
    (r"runs", RunsHandler),
    (r"kernels/([^/]+)/status", KernelStatusHandler),
    (r"kernels/([^/]+)/log", KernelLogHandler),
    (r"kernels/([^/]+)/mode", ModeHandler),
    (r"kernels/([^/]+)/restore", RestoreHandler),
    (r"kernels/([^/]+)/undo-restore", UndoRestoreHandler),
    (r"kernels/([^/]+)/replay", ReplayHandler),
    (r"jobs", JobsHandler),
    (r"jobs/([^/]+)", JobHandler),
]


def add_routes(application: web.Application) -> None:
    """Add all routes to a server's application."""
    settings = application.settings
    manager = settings["kernel_manager"]

    async def interrupt(kernel_id: str) -> None:
        if kernel_id in manager:
            await ensure_async(manager.interrupt_kernel(kernel_id))

    settings["nbrewind_jobs"] = Jobs(interrupt, manager.log)
    base = settings["base_url"]
    application.add_handlers(
        ".*$",
        [(url_path_join(base, "nbrewind", pattern), handler) for pattern, handler in HANDLERS],
    )

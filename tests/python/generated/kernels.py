"""Kernels by the dozen: each is a new process to the notebook, and costs a fork instead of a start.

`python -m tests.python.generated.kernels [warm]` imports what every kernel imports (`warm`: numpy and pandas too) and
forks for each job that comes as a line of JSON on its standard input. The child makes an ipykernel without sockets and
hands it execute requests, so that cells take the way that they take in any kernel: `execute_request`,
`run_cell_async` with our seam, the displayhook, the streams.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
from pathlib import Path
from typing import Any

from tests.python.generated import describe

ROOT = Path(__file__).parents[3]
# Seconds that a kernel may take for one notebook.
LIMIT = 60.0


# Imported by kernels as they go.
_LATER = """IPython.core.application IPython.core.completerlib IPython.core.oinspect asttokens executing pure_eval
    nbrewind.tasks.cache nbrewind.tasks.worker pygments.formatters.terminal256 pygments.styles stack_data.core
    tornado.platform.asyncio""".split()


# Words by which a cell asks for files, and for settings.
_FILES = frozenset("open listdir glob exists getsize read_csv read_text remove copy extra".split())
_SETTINGS = {
    "random": "random",
    "numpy random": "random",
    "environment": "environ",
    "decimal": "Decimal",
    "warnings": "warn",
    "working directory": "getcwd",
}


class Zygote:
    """One process that kernels are forked from; its children order sets by `hash_seed`."""

    def __init__(self, hash_seed: int, *, warm: bool) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="nbrewind-ipython-")
        environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("NBREWIND", "NB_"))
        }
        environment |= {
            "PYTHONHASHSEED": str(hash_seed),
            "PYTHONDONTWRITEBYTECODE": "1",
            "IPYTHONDIR": self._folder.name,
            # Threads do not survive a fork.
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            # The debugger would warn of frozen modules.
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.python.generated.kernels", *(["warm"] if warm else [])],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, **job: Any) -> dict[str, Any]:
        """Run cells in a new kernel; see `_work` for what a job is."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the process that kernels are forked from is gone")
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()
        self._folder.cleanup()


# --- In the process that kernels are forked from ------------------------------------------------------------------


def _serve() -> None:
    import ipykernel.debugger
    import ipykernel.inprocess.ipkernel  # noqa: F401

    import nbrewind.cli.driver
    import nbrewind.kernel.extension
    import nbrewind.tasks  # noqa: F401
    from nbrewind.fingerprint.library import distributions

    # What every kernel would work out anew: which packages are installed, and how tracebacks look.
    distributions()
    for name in _LATER:
        importlib.import_module(name)

    if "warm" in sys.argv:
        import pandas  # noqa: F401

    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.modules.pop("__main__", None)
    # As in a kernel, the working directory is on the path.
    sys.path[0] = ""
    for line in sys.stdin:
        replies.write(_forked(json.loads(line)) + "\n")
        replies.flush()


def _forked(job: dict[str, Any]) -> str:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        code = 1
        try:
            found = _work(job)
            with os.fdopen(writing, "w") as file:
                json.dump(found, file)
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writing)
    parts: list[bytes] = []
    end = time.monotonic() + LIMIT
    is_late = False
    while True:
        left = end - time.monotonic()
        ready = select.select([reading], [], [], max(left, 0))[0] if left > 0 else []
        if not ready:
            is_late = True
            os.kill(child, signal.SIGKILL)
            break
        part = os.read(reading, 1 << 16)
        if not part:
            break
        parts.append(part)
    os.close(reading)
    _, status = os.waitpid(child, 0)
    if is_late or status != 0:
        what = "took too long" if is_late else f"ended with {status}"
        return json.dumps({"broken": f"the kernel {what}"})
    return b"".join(parts).decode()


# --- In the kernel ------------------------------------------------------------------------------------------------


def _work(job: dict[str, Any]) -> dict[str, Any]:
    """Run `cells` ([id, source] each) in `folder`.

    `mode` is "plain" (no NBRewind), "audit" or "repeat", with `store` and `distrusted`. With `looks`, the answer has
    a digest of each cell's inputs, for the names that `looks` gives per cell. The state is described at the end.
    """
    import asyncio
    import random

    os.chdir(job["folder"])
    # A forked process would draw what its parent would draw.
    random.seed()
    if "numpy.random" in sys.modules:
        import numpy as np

        np.random.seed(None)
    sys.stdin = open(os.devnull)
    return asyncio.run(_run(job))


async def _run(job: dict[str, Any]) -> dict[str, Any]:
    from ipykernel.inprocess.ipkernel import InProcessKernel
    from traitlets.config import Config

    from nbrewind.kernel import comm, extension

    config = Config()
    config.HistoryManager.enabled = False
    config.HistoryManager.hist_file = ":memory:"
    kernel = InProcessKernel(config=config)
    taken: list[tuple[str, dict[str, Any]]] = []

    def send(stream: Any, message: Any, content: Any = None, *args: Any, **kwargs: Any) -> Any:
        if isinstance(message, dict):
            taken.append((message["header"]["msg_type"], message["content"]))
            return message
        # As over the wire: what is changed afterwards was sent as it was.
        taken.append((message, json.loads(json.dumps(content, default=repr))))
        return {"content": content}

    kernel.session.send = send
    # Asked for only to tell whether a cell runs on the main thread.
    kernel.shell_channel_thread = types.SimpleNamespace(parent_thread=threading.current_thread())
    kernel.stdout.echo = kernel.stderr.echo = None
    kernel.start()
    shell = kernel.shell
    session = None
    if job["mode"] != "plain":
        session = extension.load(shell)
        # No kernel has these modules: what their texts speak of is nothing that a notebook arranges for.
        session.quiet.disregard(session.base_modules_of_user)
        asked = {
            "id": 0,
            "do": "configure",
            "mode": job["mode"],
            "store": job["store"],
            "notebook": "book.ipynb",
            "distrusted": job.get("distrusted", []),
        }
        answer = comm.answer(session, asked)
        assert answer["ok"], answer

    found: dict[str, Any] = {"outputs": [], "inputs": [], "restart": []}
    for number, (cell_id, source) in enumerate([*job["cells"], ["", "assert globals()"]]):
        is_cell = number < len(job["cells"])
        if is_cell and job.get("looks"):
            found["inputs"].append(_inputs(shell.user_ns, job["looks"][number], source))
        taken.clear()
        message = kernel.session.msg(
            "execute_request",
            {
                "code": source,
                "silent": False,
                "store_history": True,
                "user_expressions": {},
                "allow_stdin": False,
                "stop_on_error": False,
            },
            metadata={"cellId": cell_id},
        )
        kernel.set_parent([], message)
        await kernel.execute_request(kernel.shell_stream, [], message)
        reports = session.reports if session is not None else []
        if reports and reports[-1].get("restart_without"):
            found["restart"] = reports[-1]["restart_without"]
            comm.answer(session, {"id": 1, "do": "take-back"})
            found["why_restart"] = [reports[-1]["cell_id"], reports[-1]["why"]]
            break
        if is_cell:
            found["outputs"].append(_shown(taken))
    if session is not None:
        comm.answer(session, {"id": 1, "do": "flush"})
        kept = ("cell_id", "status", "why", "why_not", "seconds", "run_id")
        found["reports"] = [
            {key: report[key] for key in kept if key in report}
            for report in session.reports
            if report["cell_id"]
        ]
    if not found["restart"]:
        found["state"], found["sharing"] = describe.describe(shell.user_ns)
        found["settings"] = describe.settings()
    return found


def _inputs(namespace: dict[str, Any], names: list[str], source: str) -> Any:
    """What the cell about to run could read."""
    used = describe.names_in_use(namespace, set(names))
    words = {*re.findall(r"\w+", source), *describe.words_of(namespace, used)}
    found: list[Any] = [sorted(used), describe.describe(namespace, sorted(used))]
    if words & _FILES:
        files = sorted(path for path in Path().rglob("*") if path.is_file())
        found.append([[str(path), path.read_bytes().hex()] for path in files])
    state = describe.settings()
    found.append({key: state.get(key) for key, word in _SETTINGS.items() if word in words})
    return found


_STREAMS = ("stderr", "stdout")


def _shown(taken: list[tuple[str, dict[str, Any]]]) -> list[Any]:
    """What a reader sees of a cell."""
    shown: list[Any] = []
    for kind, content in taken:
        if kind == "stream":
            # Of two streams each is sent now and then: which comes first is a matter of time.
            name, text = content["name"], describe.masked(content["text"])
            n_streams = 0
            while n_streams < min(2, len(shown)) and shown[-1 - n_streams][0] in _STREAMS:
                n_streams += 1
            streams = dict(shown[len(shown) - n_streams :])
            streams[name] = streams.get(name, "") + text
            shown[len(shown) - n_streams :] = [[one, streams[one]] for one in sorted(streams)]
        elif kind == "error":
            shown.append(["error", content["ename"], describe.masked(content["evalue"])])
        elif kind in {"execute_result", "display_data"}:
            shown.append([kind, describe.masked(json.dumps(content["data"], sort_keys=True))])
    return shown


if __name__ == "__main__":
    _serve()

"""A worker of TaskVine that serves the managers of one trial, one after the other, as a batch system's would."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

# Folder of TaskVine's programs, when they are not on the PATH.
_VARIABLE = "NBREWIND_VINE_PATH"


def why_not() -> str | None:
    """Why TaskVine cannot be used here; None: it can."""
    if importlib.util.find_spec("ndcctools") is None:
        return "ndcctools is not installed"
    if _program() is None:
        return f"vine_worker is neither on the PATH nor in the folder that {_VARIABLE} names"
    return None


def free_port() -> int:
    """A port that no manager listens to."""
    with socket.socket() as free:
        free.bind(("", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def worker(port: int, folder: Path) -> Iterator[Callable[[], float]]:
    """A worker with all cores, which goes on asking for managers at `port` until the end.

    Gives what tells the CPU seconds of the worker and of the tasks that it has ended.
    """
    program = _program()
    assert program is not None, why_not()
    folder.mkdir(parents=True, exist_ok=True)
    # Its tasks are programs of Python's: those of the environment that runs the bench.
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    options = ["--connect-timeout=3600", "--idle-timeout=3600", "--max-backoff=1", "--parent-death"]
    with open(folder / "worker.log", "wb") as log:
        process = subprocess.Popen(
            [
                program,
                *options,
                f"--workspace={folder / 'workspace'}",
                f"--cores={os.cpu_count() or 1}",
                "localhost",
                str(port),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PATH": path},
        )
        try:
            yield lambda: _cpu_of(process.pid)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _cpu_of(pid: int) -> float:
    """CPU seconds of a process and of its children that have ended, as Linux tells them; 0 elsewhere."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    # Behind the name of the program, which may hold anything.
    ticks = told.rpartition(")")[2].split()[11:15]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def _program() -> str | None:
    return shutil.which("vine_worker", path=os.environ.get(_VARIABLE, os.environ.get("PATH", "")))

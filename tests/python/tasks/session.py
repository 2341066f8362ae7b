"""One session in a process of its own: cells run one after the other under a task cache; the outcome is JSON.

`run_session` is the only way in for tests; this file is also the program that the process runs. Importing Dask and
pandas takes most of a short session's time, so sessions are children of a process that has imported them and has done
nothing else. Those that need another hash seed or environment are started from nothing.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

_SECONDS = 120
_MODULES = (
    "dask.array dask.bag dask.dataframe dask.delayed dask.multiprocessing dask.threaded distributed pyarrow.parquet"
    " nbrewind.tasks.cache nbrewind.tasks.wrapped"
).split()


@dataclass
class Cell:
    value: str
    error: str | None
    n_hit: int
    n_run: int
    n_pruned: int
    why: dict
    executed: list
    not_captured: list
    files: dict
    unfinished: list

    @property
    def ran(self) -> list[str]:
        """Names of the tasks that were executed."""
        return sorted(entry["task"] for entry in self.executed)


def run_session(
    store, *cells, engine="sync", replay=True, hash_seed=0, cwd=None, env=None
) -> list[Cell]:
    """Run the cells (each binds `result`) in a new process and return what happened in each."""
    request = {
        "store": str(store),
        "cells": list(cells),
        "engine": engine,
        "replay": replay,
        "cwd": str(cwd or Path(store).parent),
    }
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONWARNINGS": "ignore"}
    if hash_seed or env:
        out, err = _run_alone(request, {**environment, **(env or {})})
    else:
        out, err = _server().run({**request, "env": environment})
    marked = [line for line in out.splitlines() if line.startswith("OUTCOME ")]
    assert marked, f"the session died:\n{out[-2000:]}\n{err[-4000:]}"
    return [Cell(**cell) for cell in json.loads(marked[-1].removeprefix("OUTCOME "))]


def _run_alone(request, environment) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        cwd=request["cwd"],
        env=environment,
        timeout=_SECONDS,
    )
    return done.stdout, done.stderr


class _Server:
    """A process whose children are sessions."""

    _one = None

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONWARNINGS": "ignore"}
        self.process = subprocess.Popen(
            [sys.executable, __file__, "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def run(self, request) -> tuple[str, str]:
        with tempfile.TemporaryDirectory() as folder:
            places = [os.path.join(folder, name) for name in ("out", "err")]
            self.process.stdin.write(json.dumps({**request, "places": places}) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
            out, err = (Path(place).read_text() for place in places)
            assert answer.strip() == "ended", f"the session {answer}:\n{out[-2000:]}\n{err[-4000:]}"
            return out, err


def _server() -> _Server:
    # Workers of a parallel test run are processes of their own, and so are their servers.
    if _Server._one is None:
        _Server._one = _Server()
    return _Server._one


def _serve() -> None:
    for name in _MODULES:
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            for place, descriptor in zip(request["places"], (1, 2), strict=True):
                os.dup2(os.open(place, os.O_WRONLY | os.O_CREAT), descriptor)
            # With its children, which inherit this: when it takes too long, all of them say where they are.
            os.setsid()
            faulthandler.register(signal.SIGUSR1, all_threads=True, chain=False)
            os.environ.clear()
            os.environ.update(request["env"])
            os.chdir(request["cwd"])
            _run(request)
            # Ends as any process does.
            return
        print(_wait(child), flush=True)


def _wait(child: int) -> str:
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        if os.waitpid(child, os.WNOHANG)[0]:
            return "ended"
        time.sleep(0.01)
    os.killpg(child, signal.SIGUSR1)
    time.sleep(2)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return f"took more than {_SECONDS} s"


def _run(request) -> None:
    from nbrewind import tasks

    cache = tasks.TaskCache(request["store"], replay=request["replay"])
    tasks.install(cache)
    namespace = sys.modules["__main__"].__dict__
    namespace["cache"] = cache
    engine = request["engine"]
    close = []
    if engine == "distributed":
        from distributed import Client, LocalCluster

        cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
        client = Client(cluster)
        namespace.update(cluster=cluster, client=client)
        close = [client, cluster]
    elif engine is not None:
        import dask

        dask.config.set(scheduler=engine)
    outcome = []
    for source in request["cells"]:
        namespace["result"] = None
        cache.begin_run()
        error = None
        try:
            exec(compile(source, "<cell>", "exec", dont_inherit=True), namespace)
        except Exception as raised:
            error = f"{type(raised).__name__}: {raised}"
        report = cache.end_run()
        outcome.append(
            {
                "value": repr(namespace["result"]),
                "error": error,
                **{
                    name: getattr(report, name)
                    for name in (
                        "n_hit",
                        "n_run",
                        "n_pruned",
                        "why",
                        "executed",
                        "not_captured",
                        "files",
                        "unfinished",
                    )
                },
            }
        )
    print("OUTCOME " + json.dumps(outcome), flush=True)
    for one in close:
        one.close()


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        _serve()
    else:
        _run(json.loads(sys.stdin.read()))

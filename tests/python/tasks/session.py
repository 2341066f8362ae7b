"""One session in a process of its own: cells run one after the other under a task cache; the outcome is JSON.

`run_session` is the only way in for tests; this file is also the program that the process runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


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
    request = {"store": str(store), "cells": list(cells), "engine": engine, "replay": replay}
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        cwd=cwd or Path(store).parent,
        env={
            **os.environ,
            "PYTHONHASHSEED": str(hash_seed),
            "PYTHONWARNINGS": "ignore",
            **(env or {}),
        },
        timeout=120,
    )
    marked = [line for line in done.stdout.splitlines() if line.startswith("OUTCOME ")]
    assert marked, f"the session died:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return [Cell(**cell) for cell in json.loads(marked[-1].removeprefix("OUTCOME "))]


def _main() -> None:
    request = json.loads(sys.stdin.read())
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
            exec(compile(source, "<cell>", "exec"), namespace)
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
    _main()

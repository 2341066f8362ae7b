"""What changes between two cells, by whatever means, is no effect of the cell that comes next."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbrewind.kernel.history import History

from .live import Live

# What a cell arranges for, after `x = [1]`; `DONE` tells that it has happened.
DONE = "open('done', 'w').close()"
LATER = {
    "a thread": """
import threading, time
def later():
    time.sleep(0.2)
    x.append(2)
    DONE
threading.Thread(target=later).start()
""",
    "a pool of threads": """
import time
from concurrent.futures import ThreadPoolExecutor
def later():
    time.sleep(0.2)
    x.append(2)
    DONE
pool = ThreadPoolExecutor(1)
pool.submit(later)
""",
    "the end of what a pool of threads does": """
import threading, time
from concurrent.futures import ThreadPoolExecutor
def later(future):
    time.sleep(0.2)
    x.append(2)
    DONE
pool = ThreadPoolExecutor(1)
begun, go = threading.Event(), threading.Event()
future = pool.submit(lambda: begun.set() or go.wait())
begun.wait()
future.add_done_callback(later)
go.set()
""",
    "a callback of the event loop": """
import asyncio
def later():
    x.append(2)
    DONE
asyncio.get_running_loop().call_later(0.2, later)
""",
    "a task of the event loop": """
import asyncio
async def later():
    await asyncio.sleep(0.2)
    x.append(2)
    DONE
task = asyncio.ensure_future(later())
""",
    "a timer's signal": """
import signal
def later(number, frame):
    x.append(2)
    DONE
signal.signal(signal.SIGALRM, later)
signal.setitimer(signal.ITIMER_REAL, 0.2)
""",
    "a function of the shell": """
def later(result):
    x.append(2)
    DONE
get_ipython().events.register('post_run_cell', later)
""",
}


def audit(kernel: Live) -> None:
    kernel.ask("configure", mode="audit", notebook="book.ipynb")


def check(folder: Path) -> None:
    """The cell `b` touched nothing, and began with what had changed."""
    runs = [run for run in History(str(folder / ".nbrewind")).all_runs() if run["cell_id"] == "b"]
    assert len(runs) == 1
    assert runs[0]["inputs"]["touched"] == []
    with Live(folder) as kernel:
        assert kernel.ask("restore", cell="b")["ok"]
        assert kernel.show("print(x)") == "[1, 2]\n"


@pytest.mark.parametrize("how", LATER)
def test_what_a_cell_arranged_for(tmp_path: Path, how: str) -> None:
    with Live(tmp_path) as kernel:
        audit(kernel)
        kernel.run("x = [1]" + LATER[how].replace("DONE", DONE), "a")
        kernel.until((tmp_path / "done").exists)
        kernel.run("y = 1", "b")
    check(tmp_path)


@pytest.mark.parametrize("how", ["silent", "expression", "comm", "subshell"])
def test_what_somebody_asks_for(tmp_path: Path, how: str) -> None:
    with Live(tmp_path) as kernel:
        audit(kernel)
        kernel.run(
            "x = [1]\ndef heard(comm, message):\n    x.append(2)\n"
            "get_ipython().kernel.comm_manager.register_target('mine', heard)",
            "a",
        )
        content = {"code": "x.append(2)", "silent": False, "store_history": False}
        if how == "silent":
            kernel.silently("x.append(2)")
        elif how == "expression":
            content = {"code": "z = 1", "silent": False, "store_history": True}
            content["user_expressions"] = {"one": "x.append(2)"}
            kernel._wait_idle(kernel._send("execute_request", content))
        elif how == "comm":
            opening = {"comm_id": "one", "target_name": "mine", "data": {}}
            kernel._wait_idle(kernel._send("comm_open", opening))
        else:
            kernel.make_subshell()
            kernel._wait_idle(kernel._send("execute_request", content, kernel.subshell))
        kernel.run("y = 1", "b")
    check(tmp_path)


def test_without_a_disturbance_the_namespace_is_walked_once_a_cell(tmp_path: Path) -> None:
    count = (
        "state = get_ipython()._nbrewind_session.state\nn = 0\nsweep = state.sweep\n"
        "def counted(*args, **kwargs):\n    global n\n    n += 1\n    return sweep(*args, **kwargs)\n"
        "state.sweep = counted"
    )
    with Live(tmp_path) as kernel:
        audit(kernel)
        kernel.run("x = [1]", "a")
        # Outside the namespace, so that the counting is no state of the notebook's.
        kernel.silently(
            f"exec({count!r}, globals().setdefault('__counter__', {{'get_ipython': get_ipython}}))"
        )
        kernel.run("import numpy as np", "b")
        kernel.run("print(x)", "c")
        kernel.run("y = np.arange(3)", "d")
        kernel.ask("status")
        kernel.run("z = 1", "e")
        # Twice for the first cell, which comes after a silent request, and once for each of the others.
        assert kernel.show("print(__counter__['n'])") == "5\n"


def test_threads_of_a_pool_that_wait_for_work_disturb_nothing(tmp_path: Path) -> None:
    count = (
        "state = get_ipython()._nbrewind_session.state\nn = 0\nsweep = state.sweep\n"
        "def counted(*args, **kwargs):\n    global n\n    n += 1\n    return sweep(*args, **kwargs)\n"
        "state.sweep = counted"
    )
    with Live(tmp_path) as kernel:
        audit(kernel)
        kernel.run("import dask", "a")
        kernel.silently(
            f"exec({count!r}, globals().setdefault('__counter__', {{'get_ipython': get_ipython}}))"
        )
        kernel.run("x = dask.compute([dask.delayed(divmod)(n, 2) for n in range(9)])", "b")
        kernel.run("y = 1", "c")
        kernel.run("z = 1", "d")
        threads = kernel.show("import threading; print(threading.active_count())")
        # Six where the threads count; five when one of them is on its way back when its cell ends.
        assert int(kernel.show("print(__counter__['n'])")) < 6
    assert int(threads) > 1


def test_memory_of_a_file_that_somebody_else_writes_to(tmp_path: Path) -> None:
    with Live(tmp_path) as kernel:
        audit(kernel)
        kernel.run(
            "import numpy as np\nm = np.memmap('m.bin', dtype='u1', mode='w+', shape=(100_000,))\nm.flush()",
            "a",
        )
        with (tmp_path / "m.bin").open("r+b") as file:
            file.write(b"\x07")
        kernel.run("y = 1", "b")
    runs = [run for run in History(str(tmp_path / ".nbrewind")).all_runs() if run["cell_id"] == "b"]
    assert runs[0]["inputs"]["touched"] == []

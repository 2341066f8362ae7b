# ruff: noqa: E501 - a cell is one line here
"""The kernel protocol, through real kernels: what is answered at once, what waits, and what every request leaves."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.python.gate import Gate
from tests.python.kernel.live import Live, as_cells


def shape(runs: list[dict[str, Any]]) -> list[tuple[str, str, str, bool]]:
    """The log, as far as a reader cares."""
    return [(run["cell"], run["how"], run["status"], run["undone"]) for run in runs]


def audit(kernel: Live) -> dict[str, Any]:
    return kernel.ask("configure", mode="audit", notebook="book.ipynb")


# --- The log --------------------------------------------------------------------------------------------------------


def test_the_log_has_what_was_sent_and_how_it_ended(tmp_path: Path) -> None:
    with Live(tmp_path) as kernel:
        kernel.run("x = 1", "a")
        audit(kernel)
        kernel.run("y  =  x  # why", "b")
        kernel.run("1 / 0", "c")
        kernel.run("z = 3")
        kernel.silently("hidden = 1")
        log = kernel.ask("log")
        assert shape(log["runs"]) == [
            ("a", "executed", "ok", False),
            ("b", "executed", "ok", False),
            ("c", "executed", "failed", False),
            ("", "executed", "ok", False),
        ]
        assert [run["number"] for run in log["runs"]] == [1, 2, 3, 4]
        assert log["runs"][1]["source"] == "y  =  x  # why"
        assert log["runs"][0]["run_id"] is None and log["runs"][1]["run_id"]
        event = kernel.report_of("b")
        assert (event["number"], event["source"]) == (2, "y  =  x  # why")
        assert event["run_id"] == log["runs"][1]["run_id"]
        assert kernel.report_of("a")["status"] == "executed"
        assert kernel.ask("status")["running"] is None


def test_an_asynchronous_cell_and_an_interrupted_one(tmp_path: Path) -> None:
    with Live(tmp_path) as kernel:
        audit(kernel)
        kernel.run("import asyncio\nawait asyncio.sleep(0.1)\nx = 1", "a")
        message = kernel.reach("import time", "time.sleep(60)", "b")
        kernel.interrupt()
        kernel.end_run(message)
        message = kernel.reach("", "await asyncio.sleep(60)", "c")
        kernel.interrupt()
        # ipykernel acts on it at the next turn of its event loop; without a message that may be long after.
        kernel.send("status")
        kernel.end_run(message)
        kernel.run("y = x", "d")
        log = kernel.ask("log")["runs"]
        assert [run["status"] for run in log] == ["ok", "interrupted", "interrupted", "ok"]
        assert all(run["run_id"] for run in log)


def test_a_restore_makes_the_log_and_undo_puts_it_back(tmp_path: Path) -> None:
    with Live(tmp_path) as kernel:
        kernel.run("w = 0", "z")
        audit(kernel)
        kernel.run_all({"a": "x = [1]", "b": "x.append(2)", "c": "y = x"})
        before = kernel.ask("log")["runs"]
        other = kernel.open()
        found = kernel.ask("restore", cell="a")
        assert shape(found["runs"]) == [
            ("z", "restored", "ok", False),
            ("a", "restored", "ok", False),
            *((cell, how, status, True) for cell, how, status, _ in shape(before)),
        ]
        assert [run["number"] for run in found["runs"][:2]] == [1, 2]
        kernel.pump(0.3)
        told = [data for comm, data in kernel.heard if comm == other]
        assert [e["runs"] for e in told if e.get("event") == "state"] == [found["runs"]]
        assert not any("ok" in data for data in told)
        assert not any(event["event"] == "state" for event in kernel.events)
        assert kernel.show("print(x, 'y' in globals(), w)") == "[1] False 0\n"
        kernel.run("q = 1", "d")
        assert kernel.ask("status")["can_undo"]
        undone = kernel.ask("undo-restore")
        assert undone["undone"]
        assert undone["runs"][: len(before)] == before
        assert [run["undone"] for run in undone["runs"][len(before) :]] == [True, True]
        assert kernel.show("print(x, y is x, 'q' in globals())") == "[1, 2] True False\n"
        assert not kernel.ask("undo-restore")["undone"]


def test_a_restore_in_a_new_kernel_tells_how_the_state_came_about(tmp_path: Path) -> None:
    cells = {"a": "x = [1]", "b": "x.append(2)", "c": "t = 1", "d": "x.append(t)"}
    with Live(tmp_path) as kernel:
        audit(kernel)
        kernel.run_all(cells)
        cells["c"] = "t = 5"
        kernel.replay(cells, "c")
    with Live(tmp_path) as kernel:
        found = kernel.ask("restore", cell="d")
        # Off, and without a history until now.
        assert kernel.ask("status")["mode"] == "off"
        assert shape(found["runs"]) == [(cell, "restored", "ok", False) for cell in cells]
        assert found["runs"][2]["source"] == "t = 5"
        assert found["report"]["names"][0]["how"] == "loaded"
        assert [event["event"] for event in kernel.events].count("progress") >= 2
        assert kernel.show("x.append(9)\nprint(x, t)") == "[1, 2, 5, 9] 5\n"
        assert kernel.ask("undo-restore")["undone"]
        assert kernel.show("print('x' in globals())") == "False\n"


def test_what_the_session_ran_later_is_ahead_of_the_restored_state(tmp_path: Path) -> None:
    with Live(tmp_path) as kernel:
        audit(kernel)
        kernel.run_all({"a": "x = [1]", "b": "x.append(2)", "c": "print(x)"})
    with Live(tmp_path) as kernel:
        found = kernel.ask("restore", cell="a")
        assert shape(found["runs"]) == [
            ("a", "restored", "ok", False),
            ("b", "restored", "ok", True),
            ("c", "restored", "ok", True),
        ]
        assert kernel.show("print(x)") == "[1]\n"


def test_a_replay_ends_when_whoever_began_it_is_gone(tmp_path: Path) -> None:
    cells = {"a": "x = 1", "b": "print(x)"}
    with Live(tmp_path) as kernel:
        audit(kernel)
        kernel.run_all(cells)
        mine, kernel.comm = kernel.comm, kernel.open()
        kernel.ask("begin-replay", cells=as_cells(cells), **{"from": "a"})
        assert kernel.ask("status", comm=mine)["replaying"]
        kernel._wait_idle(kernel._send("comm_close", {"comm_id": kernel.comm, "data": {}}))
        kernel.comm = mine
        status = kernel.ask("status")
        assert (status["replaying"], status["mode"]) == (False, "audit")
        # Also when it goes before the replay has begun.
        kernel.make_subshell()
        kernel.comm = kernel.open()
        gate = Gate(tmp_path / "gate")
        message = kernel.reach("", gate.wait)
        kernel.send("begin-replay", cells=as_cells(cells), **{"from": "a"})
        closing = {"comm_id": kernel.comm, "data": {}}
        kernel._wait_idle(kernel._send("comm_close", closing, kernel.subshell))
        kernel.comm = mine
        gate.open()
        kernel.end_run(message)
        kernel.ask("settle")
        kernel.ask("settle")
        status = kernel.ask("status")
        assert (status["replaying"], status["mode"]) == (False, "audit")
        # The comm that did not begin a replay ends none.
        kernel.ask("begin-replay", cells=as_cells(cells), **{"from": "a"})
        other = kernel.open()
        kernel._wait_idle(kernel._send("comm_close", {"comm_id": other, "data": {}}))
        assert kernel.ask("status")["replaying"]


def test_runs_are_listed_newest_first(tmp_path: Path) -> None:
    with Live(tmp_path) as kernel:
        audit(kernel)
        kernel.run("x = 1", "a")
        kernel.run("x = 2", "a")
        kernel.run("y = 2", "b")
        runs = kernel.ask("runs", cell="a")["runs"]
        assert [run["source"] for run in runs] == ["x = 2", "x = 1"]
        assert len(kernel.ask("runs")["runs"]) == 3
        first = runs[1]
        assert (first["number"], first["n_names"], first["notebook"]) == (1, 1, "book.ipynb")
        assert first["status"] == "ok" and first["replayable"] and first["n_bytes"] > 0
        kernel.ask("restore", cell="a", number=1)
        assert kernel.show("print(x)") == "1\n"
        kernel.ask("restore", run=runs[0]["run_id"])
        assert kernel.show("print(x)") == "2\n"
        refused = kernel.try_ask("restore", cell="nowhere")
        assert refused["code"] == "unknown-run"
        assert kernel.try_ask("restore")["code"] == "bad-request"
        assert kernel.try_ask("dance")["code"] == "bad-request"
        assert kernel.try_ask("configure", mode="sideways")["code"] == "bad-request"


def test_a_restore_takes_back_what_lies_outside_the_names(tmp_path: Path) -> None:
    with Live(tmp_path) as kernel:
        audit(kernel)
        kernel.run("import os, random\nos.makedirs('sub', exist_ok=True)", "a")
        kernel.run("os.chdir('sub')\nos.environ['NB_LIVE'] = '1'\nrandom.seed(4)", "b")
        first = kernel.run("print(random.random())", "c")
        show = "print(os.path.basename(os.getcwd()), os.environ.get('NB_LIVE'))"
        kernel.ask("restore", cell="a")
        assert kernel.show(show) == f"{tmp_path.name} None\n"
        kernel.ask("restore", cell="b")
        assert kernel.run("print(random.random())") == first
        kernel.ask("undo-restore")
        assert kernel.show(show) == f"{tmp_path.name} None\n"


# --- The baseline ---------------------------------------------------------------------------------------------------

HOUR = {
    "a": "import numpy as np\nimport pandas as pd\nimport socket, threading, random\nrandom.seed(3)",
    "b": "df = pd.DataFrame({'x': [1.5, 2.5]})\nw = df['x'].to_numpy()\narr = np.arange(6)\nv = arr[2:4]",
    "c": "k = 2\ndef f(x):\n    return x * k\nl = [1]\nm = {'l': l}",
    "d": "g = (i for i in range(5))\nnext(g)\ns = socket.socket()\nlock = threading.Lock()\nbound = [lock]",
}


def test_turning_audit_on_late_takes_a_baseline(tmp_path: Path) -> None:
    with Live(tmp_path) as kernel:
        kernel.run_all(HOUR)
        baseline = audit(kernel)["baseline"]
        assert set(baseline["taken"]) >= {"df", "w", "arr", "v", "k", "f", "l", "m"}
        assert {item["name"] for item in baseline["not_taken"]} == {"g", "s"}
        assert all(item["why"] for item in baseline["not_taken"])
        assert baseline["n_bytes"] > 0 and baseline["seconds"] > 0
        kernel.run("l.append(f(3))\nlater = 1", "e")
        first = kernel.run("print(random.random())")
        # Nothing is new: no second baseline.
        kernel.ask("configure", mode="off")
        assert "baseline" not in audit(kernel)
        runs = kernel.ask("runs")["runs"]
    assert [run["kind"] for run in runs] == ["cell", "cell", "baseline"]
    assert not runs[-1]["replayable"]
    with Live(tmp_path) as kernel:
        report = kernel.ask("restore", cell="e")["report"]
        how = {item["name"]: item["how"] for item in report["names"]}
        assert {name for name, found in how.items() if found == "stub"} == {"g", "s"}
        assert kernel.show("print(bound[0] is lock)") == "True\n"
        probe = (
            "k = 10\ndf.iloc[0, 0] = 9\narr[2] = 99\nprint(l, m['l'] is l, f(2), w[0], v[0], later)"
        )
        assert kernel.show(probe) == "[1, 6] True 20 9.0 99 1\n"
        assert "was not restored" in str(kernel.run("next(g)"))
        assert kernel.run("import random\nprint(random.random())") == first
        found = kernel.ask("restore", run=runs[-1]["run_id"])
        assert [run["cell"] for run in found["runs"][:4]] == ["a", "b", "c", "d"]
        assert kernel.show("print(l, 'later' in globals(), f(2))") == "[1] False 4\n"


@pytest.mark.parametrize("how", ["request", "magic", "store"])
def test_a_baseline_that_is_broken_off_is_taken_again(tmp_path: Path, how: str) -> None:
    names = [f"v{number}" for number in range(12)]
    go = tmp_path / "go"
    with Live(tmp_path) as kernel:
        kernel.make_subshell()
        kernel.ask("configure", notebook="book.ipynb")
        kernel.run("import numpy as np, time", "a")
        # Whoever stores one waits for the test.
        kernel.run(
            "class Slow:\n    def __getstate__(self):\n        import os, sys, time\n        print('slow', flush=True)\n"
            "        above, frame = set(), sys._getframe()\n"
            "        while frame is not None:\n            above.add(frame.f_code.co_name)\n            frame = frame.f_back\n"
            f"        while 'store_version' in above and not os.path.exists({str(go)!r}):\n            time.sleep(0.01)\n"
            "        return {}"
        )
        kernel.run(
            f"for name in {names!r}:\n    globals()[name] = [name, np.arange(100_000) + ord(name[-1])]"
        )
        kernel.run("slow = [Slow() for _ in range(2)]\ng = (i for i in range(3))\nnext(g)", "c")
        if how == "store":
            go.touch()
            kernel.silently(
                "from nbrewind.kernel.history import History\n"
                "from nbrewind._native import StoreError\n"
                "real = History.append_run\n"
                "def broken(*args):\n    raise StoreError('the disk is full')\n"
                "History.append_run = broken"
            )
            assert kernel.try_ask("configure", mode="audit")["code"] == "store"
            kernel.silently("History.append_run = real\ndel real, broken, History, StoreError")
        elif how == "request":
            request = kernel.send("configure", mode="audit")
            kernel.until(lambda: any("slow" in it.get("what", "") for it in kernel.events))
            kernel.interrupt()
            go.touch()
            assert kernel.answer(request)["code"] == "cancelled"
        else:
            message = kernel.begin_run("%nbrewind audit")
            kernel.until(lambda: any("slow" in str(it) for it in kernel._outputs.get(message, [])))
            kernel.interrupt()
            go.touch()
            assert any("KeyboardInterrupt" in item for item in kernel.end_run(message))
        assert kernel.ask("status")["mode"] == "off"
        assert not any(event["event"] == "mode" for event in kernel.events)
        assert kernel.show("import sys\nprint(v3[0])") == "v3\n"
        found = kernel.ask("configure", mode="audit")["baseline"]
        assert set(names) <= set(found["taken"])
        assert [item["name"] for item in found["not_taken"]] == ["g"]
        kernel.run("later = v3[1][:2]", "z")
        kinds = [run["kind"] for run in kernel.ask("runs")["runs"]]
        assert kinds == ["cell", "baseline"]
    with Live(tmp_path) as kernel:
        report = kernel.ask("restore", cell="z")["report"]
        assert {item["name"] for item in report["names"] if item["how"] == "stub"} == {"g"}
        assert kernel.show("print(v11[0], v11[1][0], v0[1][5], later)") == "v11 49 53 [51 52]\n"


def test_runs_on_a_baseline_stand_on_content_alone(tmp_path: Path) -> None:
    """A value of unknown origin is as good as its content; a setting that nobody recorded is not."""
    with Live(tmp_path) as kernel:
        kernel.run("x = [1, 2]", "a")
        audit(kernel)
        kernel.run("y = sum(x)", "b")
    with Live(tmp_path) as kernel:
        kernel.ask("configure", mode="repeat", notebook="book.ipynb")
        kernel.run("x = [1, 2]", "a")
        kernel.run("y = sum(x)", "b")
        kernel.run("x = [1, 3]", "a")
        kernel.run("y = sum(x)", "b")
        assert [e["status"] for e in kernel.events if e.get("cell_id") == "b"] == [
            "replayed",
            "executed",
        ]
    with Live(tmp_path) as kernel:
        kernel.run("import math\nmath.kk = 1", "p")
        audit(kernel)
        kernel.run("print(hasattr(math, 'kk'))", "q")
    with Live(tmp_path) as kernel:
        kernel.ask("configure", mode="repeat", notebook="book.ipynb")
        kernel.run("import math", "p")
        assert kernel.run("print(hasattr(math, 'kk'))", "q") == [("stdout", "False\n")]


def test_a_kernel_that_ran_before_the_extension_came(tmp_path: Path) -> None:
    with Live(tmp_path, is_loaded=False) as kernel:
        kernel.run("import random\nrandom.seed(1)\nx = [1]")
        kernel.load()
        kernel.load()
        assert "x" in audit(kernel)["baseline"]["taken"]
        kernel.run("y = x", "b")
        assert shape(kernel.ask("log")["runs"]) == [("b", "executed", "ok", False)]
        plan = kernel.plan({"b": "y = x"}, "b")
        assert "is not known" in plan["restart"][0]
        refused = kernel.try_ask("begin-replay", cells=as_cells({"b": "y = x"}), **{"from": "b"})
        assert refused["code"] == "restart-needed" and refused["restart"] == plan["restart"]
        assert kernel.show("print(x, y is x)") == "[1] True\n"


def test_jupyterlab_s_hint_names_the_notebook(tmp_path: Path) -> None:
    hint = tmp_path / "work" / "hinted.ipynb"
    with Live(tmp_path / "work", JPY_SESSION_NAME=str(hint)) as kernel:
        kernel.ask("configure", mode="audit")
        kernel.run("x = 1", "a")
        assert kernel.ask("status")["store"] == str(tmp_path / "work" / ".nbrewind")
        assert kernel.ask("runs")["runs"][0]["notebook"] == "hinted.ipynb"


# --- Threads --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("waiting", ["wait", "wait_in_loop"])
def test_requests_beside_a_running_cell(tmp_path: Path, waiting: str) -> None:
    gate = Gate(tmp_path / "gate")
    with Live(tmp_path) as kernel:
        kernel.make_subshell()
        audit(kernel)
        kernel.run("x = [1]", "a")
        kernel.run("x.append(2)", "b")
        message = kernel.reach("", f"{getattr(gate, waiting)}\nx.append(3)", "c")
        assert kernel.ask("status")["running"] == "c"
        assert kernel.ask("log")["runs"][-1]["status"] == "running"
        assert len(kernel.ask("runs", cell="a")["runs"]) == 1
        restore = kernel.send("restore", cell="a")
        other = kernel.send("restore", cell="b")
        queued = kernel.ask("status")["queued"]
        assert queued == [{"id": restore, "do": "restore"}, {"id": other, "do": "restore"}]
        assert kernel.ask("cancel", request=other)["cancelled"]
        assert not kernel.ask("cancel", request="nobody")["cancelled"]
        assert kernel.answer(other)["code"] == "cancelled"
        assert message not in kernel._idle
        following = kernel.begin_run("print(x)", "d")
        gate.open()
        assert kernel.answer(restore)["ok"]
        # The restore was carried out right after the cell, before the one that waited longer in the queue of cells.
        assert kernel.end_run(following) == [("stdout", "[1]\n")]
        kernel.end_run(message)
        order = [event["event"] for event in kernel.events if event.get("id") == restore]
        assert order[:2] == ["queued", "started"]
        assert kernel.ask("status")["queued"] == []
        assert kernel.ask("runs", cell="c")["runs"][0]["status"] == "ok"


def test_looking_beside_a_cell_is_not_among_what_it_read(tmp_path: Path) -> None:
    with Live(tmp_path) as kernel:
        kernel.make_subshell()
        audit(kernel)
        kernel.run("import time\nx = [1]", "a")
        message = kernel.reach("", "time.sleep(0.5)\nx.append(3)", "b")
        kernel.ask("status")
        kernel.ask("runs", cell="a")
        kernel.end_run(message)
        run = kernel.ask("runs", cell="b")["runs"][0]
        assert (run["status"], run["replayable"]) == ("ok", True)


def test_figures_of_a_running_cell_stay_its_own(tmp_path: Path) -> None:
    with Live(tmp_path) as kernel:
        kernel.make_subshell()
        audit(kernel)
        kernel.run("%matplotlib inline\nimport matplotlib.pyplot as plt", "a")
        gate = Gate(tmp_path / "gate")
        rest = f"{gate.wait}\nprint(len(plt.get_fignums()))"
        message = kernel.reach("plt.plot([1, 2])", rest, "b")
        kernel.ask("status")
        gate.open()
        shown = kernel.end_run(message)
        assert ("stdout", "reached\n1\n") in shown
        assert [item[0] for item in shown] == ["execute_result", "stdout", "display_data"] or [
            item[0] for item in shown
        ] == ["stdout", "display_data"]


def test_an_interrupt_leaves_the_state_as_before_the_request(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    slow = f"class Slow:\n    def __init__(self, n):\n        self.n = n\n    def __setstate__(self, state):\n        {gate.wait.replace(chr(10), chr(10) + ' ' * 8)}\n        self.__dict__.update(state)"
    cells = {"a": slow, "b": "p = Slow(1)\nq = [1]", "c": "q.append(2)\nz = 5\np.n = 3"}
    with Live(tmp_path) as kernel:
        kernel.make_subshell()
        audit(kernel)
        gate.open()
        kernel.run_all(cells)
        gate.close()
        before = kernel.ask("log")["runs"]
        for do in ("direct", "queued"):
            if do == "direct":
                kernel.subshell, subshell = None, kernel.subshell
            else:
                kernel.subshell = subshell
            request = kernel.send("restore", cell="b")
            kernel.until_begun(request)
            kernel.interrupt()
            found = kernel.answer(request)
            assert found["code"] == "cancelled", found
            assert kernel.ask("log")["runs"] == before
            assert not kernel.ask("status")["can_undo"]
            assert kernel.show("print(q, z, p.n)") == "[1, 2] 5 3\n"
            before = kernel.ask("log")["runs"]
        gate.open()
        assert kernel.ask("restore", cell="b")["ok"]
        assert kernel.show("print(q, 'z' in globals(), p.n)") == "[1] False 1\n"


def test_what_a_recipe_shows_is_not_shown_again(tmp_path: Path) -> None:
    make = "import socket\ndef make():\n    print('made')\n    display('seen')\n    return socket.socket()"
    cells = {"a": make, "b": "sock = make()", "c": "x = 1"}
    with Live(tmp_path) as kernel:
        audit(kernel)
        assert ("stdout", "made\n") in kernel.run_all(cells)["b"]
    with Live(tmp_path) as kernel:
        audit(kernel)
        report = kernel.ask("restore", cell="c")["report"]
        assert {item["name"]: item["how"] for item in report["names"]}["sock"] == "rebuilt"
        assert kernel.show("print(sock.fileno() > 0)") == "True\n"
        assert kernel.all_outputs() == [("stdout", "True\n")]


# --- Replay ---------------------------------------------------------------------------------------------------------


def test_what_is_live_and_equal_stays_loaded(tmp_path: Path) -> None:
    cells = {
        "a": "import numpy as np\nbig = np.arange(100_000)\nl = [1]",
        "b": "t = 10",
        "c": "u = big[:3] * t\nl.append(t)",
        "d": "print(u, l, id(big) == before_id)",
    }
    with Live(tmp_path) as kernel:
        audit(kernel)
        kernel.run_all({name: cells[name] for name in "abc"})
        kernel.run("import os\nos.environ['NB_ID'] = str(id(big))")
        number = kernel.show("print(id(big), id(l))").split()
        cells["b"] = "t = 5"
        cells["d"] = "print(u, l)"
        found = kernel.replay(cells, "b")
        assert found["shown"]["d"] == [("stdout", "[ 0  5 10] [1, 5]\n")]
        assert (found["executed"], found["replayed"]) == (3, 1)
        now = kernel.show("print(id(big), id(l))").split()
        assert now[0] == number[0]
        assert now[1] != number[1]
        status = kernel.ask("status")
        assert status["mode"] == "audit" and not status["replaying"] and not status["pending"]


def test_a_replay_of_what_is_fresh_shows_everything_and_executes_nothing(tmp_path: Path) -> None:
    cells = {"a": "x = 1", "b": "x + 1", "c": "print(x)"}
    with Live(tmp_path) as kernel:
        audit(kernel)
        first = kernel.run_all(cells)
        plan = kernel.plan(cells, "b")
        assert [item["status"] for item in plan["plan"]] == ["replay"] * 3
        assert [item["above"] for item in plan["plan"]] == [True, False, False]
        assert plan["restart"] == [] and plan["seconds"] == 0
        found = kernel.replay(cells, "b")
        assert found["next"] == "b"
        assert found["shown"] == {cell: first[cell] for cell in "bc"}
        assert (found["executed"], found["replayed"], found["failed"]) == (0, 3, None)
        assert kernel.try_ask("end-replay")["code"] == "bad-request"
        missing = kernel.try_ask("plan-replay", cells=as_cells(cells), **{"from": "nowhere"})
        assert missing["code"] == "bad-request"


def test_replay_to_off_leaves_no_name_missing(tmp_path: Path) -> None:
    cells = {"a": "x = [1]\ny = x", "b": "z = {'x': x}", "c": "t = 1"}
    with Live(tmp_path) as kernel:
        audit(kernel)
        kernel.run_all(cells)
    with Live(tmp_path) as kernel:
        kernel.ask("configure", mode="off", notebook="book.ipynb")
        cells["c"] = "t = 2"
        found = kernel.replay(cells, "c")
        assert found["mode"] == "off" and found["executed"] == 1
        assert kernel.show(
            "print(x is y is z['x'], sorted(globals().keys() & {'x', 'y', 'z'}))"
        ) == ("True ['x', 'y', 'z']\n")
    # Turned off in the middle: what was replayed is loaded when it is used.
    with Live(tmp_path) as kernel:
        kernel.ask("configure", mode="repeat", notebook="book.ipynb")
        kernel.run_all(cells)
        assert kernel.ask("status")["pending"] == ["t", "x", "y", "z"]
        kernel.ask("configure", mode="off")
        assert kernel.show("x.append(2)\nprint(y)") == "[1, 2]\n"
        assert kernel.show("print(z)") == "{'x': [1, 2]}\n"


def test_a_replay_that_fails_and_goes_on(tmp_path: Path) -> None:
    cells = {"a": "x = [1]", "b": "t = 1", "c": "x.append(t)", "d": "print(x)"}
    with Live(tmp_path) as kernel:
        audit(kernel)
        kernel.run_all(cells)
        cells["c"] = "x.append(t)\n1 / 0"
        found = kernel.replay(cells, "b")
        assert found["failed"] == "c" and "d" not in found["shown"]
        cells["c"] = "x.append(t + 1)"
        found = kernel.replay(cells, "c")
        assert found["failed"] is None
        assert found["shown"]["d"] == [("stdout", "[1, 2]\n")]


def test_a_replay_that_is_interrupted_and_begun_again(tmp_path: Path) -> None:
    cells = {"a": "import time\nx = [1]", "b": "t = 1", "c": "x.append(t)", "d": "print(x)"}
    with Live(tmp_path) as kernel:
        audit(kernel)
        kernel.run_all(cells)
        cells["b"] = "t = 7"
        cells["c"] = "x.append(t)\nprint('reached', flush=True)\ntime.sleep(20)"
        asked = {"cells": as_cells(cells), "from": "b"}
        assert kernel.ask("begin-replay", **asked)["next"] == "b"
        assert kernel.ask("status")["replaying"]
        kernel.run(cells["b"], "b")
        message = kernel.begin_run(cells["c"], "c")
        kernel.until(lambda: ("stdout", "reached\n") in kernel._outputs.get(message, []))
        kernel.interrupt()
        kernel.end_run(message)
        cells["c"] = "x.append(t)"
        found = kernel.replay(cells, "b")
        assert found["shown"]["d"] == [("stdout", "[1, 7]\n")]
        # What this replay executed before it was broken off counts as executed.
        assert (found["executed"], found["replayed"]) == (3, 1)


def test_a_begin_that_is_interrupted_changes_nothing(tmp_path: Path) -> None:
    cells = {f"c{i}": f"x{i} = [{i}]" for i in range(60)}
    with Live(tmp_path) as kernel:
        kernel.make_subshell()
        audit(kernel)
        kernel.run_all(cells)
        kernel.run("loose = 5")
        before = kernel.ask("log")["runs"]
        # It goes on no further than its third step, so that the interrupt always finds it at work.
        held = (
            "import time\n"
            "real = session.progress\n"
            "def progress(done, total, what):\n"
            "    real(done, total, what)\n"
            "    while done >= 2:\n"
            "        session.interrupts.check()\n"
            "        time.sleep(0.001)\n"
            "session.progress = progress"
        )
        kernel.silently(f"exec({held!r}, {{'session': get_ipython()._nbrewind_session}})")
        for do in ("plan-replay", "begin-replay"):
            kernel.events.clear()
            request = kernel.send(do, cells=as_cells(cells), **{"from": "c59"})
            kernel.until(lambda: any(event["event"] == "progress" for event in kernel.events))
            kernel.interrupt()
            assert kernel.answer(request)["code"] == "cancelled"
            status = kernel.ask("status")
            assert (status["mode"], status["replaying"]) == ("audit", False)
            assert len(status["names"]) == 61 and status["pending"] == []
            assert kernel.ask("log")["runs"] == before
        assert kernel.show("print(x3, loose)") == "[3] 5\n"


def test_modes_are_told_to_the_others(tmp_path: Path) -> None:
    with Live(tmp_path) as kernel:
        other = kernel.open()
        audit(kernel)
        kernel.run("x = 1", "a")
        kernel.ask("status", comm=other)
        told = [data for comm, data in kernel.heard if comm == other and "event" in data]
        assert {"event": "mode", "mode": "audit"} in told
        assert any(event["event"] == "run" and event["cell_id"] == "a" for event in told)
        assert not any(event["event"] == "mode" for event in kernel.events)


def test_configure_without_a_mode_changes_none(tmp_path: Path) -> None:
    cells = {"a": "x = 1", "b": "print(x)"}
    store = str(tmp_path / "elsewhere")
    with Live(tmp_path) as kernel:
        found = kernel.ask("configure", notebook="book.ipynb", store=store)
        assert (found["mode"], found["store"]) == ("off", None)
        assert kernel.ask("status")["notebook"] == "book.ipynb"
        assert kernel.ask("configure", mode="audit")["store"] == store
        kernel.run_all(cells)
        kernel.ask("begin-replay", cells=as_cells(cells), **{"from": "b"})
        assert kernel.ask("configure", notebook="book.ipynb")["mode"] == "repeat"
        assert kernel.ask("end-replay")["mode"] == "audit"
        assert kernel.ask("configure")["mode"] == "audit"


def test_a_mode_that_comes_during_a_replay_is_the_one_after_it(tmp_path: Path) -> None:
    cells = {"a": "x = [1]", "b": "x.append(2)", "c": "print(x)"}
    with Live(tmp_path) as kernel:
        audit(kernel)
        first = kernel.run_all(cells)
        other = kernel.open()
        kernel.ask("begin-replay", cells=as_cells(cells), **{"from": "b"})
        assert kernel.ask("configure", comm=other, mode="off")["mode"] == "off"
        assert kernel.try_ask("configure", mode="sideways")["code"] == "bad-request"
        status = kernel.ask("status")
        assert (status["mode"], status["replaying"]) == ("repeat", True)
        n_before = len(kernel.events)
        assert kernel.run(cells["b"], "b") == first["b"]
        assert "audit once the replay has ended" in kernel.show("%nbrewind audit")
        assert kernel.run(cells["c"], "c") == first["c"]
        found = kernel.statuses(n_before)
        assert (found["b"], found["c"]) == ("replayed", "replayed")
        kernel.ask("configure", comm=other, mode="off")
        assert kernel.ask("end-replay")["mode"] == "off"
        assert kernel.ask("status")["mode"] == "off"


def test_a_replay_belongs_to_whoever_began_it(tmp_path: Path) -> None:
    cells = {"a": "x = [1]", "b": "x.append(2)", "c": "print(x)"}
    with Live(tmp_path) as kernel:
        audit(kernel)
        kernel.run_all(cells)
        asked: dict[str, Any] = {"cells": as_cells(cells), "from": "b"}
        other = kernel.open()
        kernel.ask("begin-replay", **asked)
        # Nobody can say that he is someone else.
        for do, more in {
            "restore": {"cell": "a"},
            "undo-restore": {},
            "begin-replay": asked,
            "end-replay": {"comm": kernel.comm},
        }.items():
            message = {"id": do, "do": do, **more}
            kernel._send("comm_msg", {"comm_id": other, "data": message})
            kernel._sent[do] = other
            refused = kernel.answer(do)
            assert (refused["ok"], refused["code"]) == (False, "busy"), refused
            assert "another page or program" in refused["error"]
        status = kernel.ask("status")
        assert (status["replaying"], status["mode"]) == (True, "repeat")
        # What only looks, and what the owner asks, is answered.
        assert kernel.ask("plan-replay", comm=other, **asked)["plan"]
        kernel.ask("begin-replay", **asked)
        # By force another takes it over; then it is his, and goes with him.
        kernel.ask("begin-replay", comm=other, force=True, **asked)
        assert kernel.try_ask("end-replay")["code"] == "busy"
        mine = kernel.comm
        kernel._wait_idle(kernel._send("comm_close", {"comm_id": mine, "data": {}}))
        kernel.comm = kernel.open()
        assert kernel.ask("status")["replaying"]
        assert kernel.ask("end-replay", force=True)["mode"] == "audit"
        assert kernel.ask("restore", comm=other, cell="a")["report"]["cell_id"] == "a"


def test_the_magics_tell_everybody(tmp_path: Path) -> None:
    with Live(tmp_path) as kernel:
        kernel.run("%nbrewind audit")
        kernel.run("x = [1]", "a")
        kernel.run("x.append(2)", "b")
        kernel.run("%nbrewind audit")
        kernel.run("%nbrewind goto a")
        kernel.run("%nbrewind undo")
        kernel.run("%nbrewind undo")
        kernel.run("%nbrewind off")
        log = kernel.ask("log")["runs"]
        kernel.pump(0.3)
        told = [event for event in kernel.events if event["event"] in {"mode", "state"}]
        assert [event.get("mode", "state") for event in told] == ["audit", "state", "state", "off"]
        assert shape(told[1]["runs"])[1] == ("a", "restored", "ok", False)
        assert [run["cell"] for run in told[2]["runs"]][:3] == [run["cell"] for run in log][:3]


def test_a_plan_names_what_will_be_lost(tmp_path: Path) -> None:
    cells = {
        "a": "x = [1]\nold = 1",
        "b": "def f():\n    return 1",
        "c": "y = f()\ndel old",
        "d": "z = y",
    }
    with Live(tmp_path) as kernel:
        kernel.run("before = 1")
        audit(kernel)
        kernel.run_all(cells)
        kernel.run("loose = 5\nfor i in range(3):\n    pass")
        kernel.silently("hidden = 1")
        assert kernel.plan(cells, "c")["lost"] == ["before", "hidden", "i", "loose"]
        # Cells that will execute make what they write.
        cells["c"] = "y = f() + 1\nnew = loose"
        assert kernel.plan(cells, "c")["lost"] == ["before", "hidden", "i", "loose"]
        del cells["d"]
        assert kernel.plan(cells, "a")["lost"] == ["before", "hidden", "i", "loose", "z"]
        kernel.ask("begin-replay", cells=as_cells(cells), **{"from": "c"})
        assert kernel.show("print(sorted({'loose', 'z'} & {*globals()}))") == "[]\n"


def test_a_status_carries_no_more_than_the_latest_reports(tmp_path: Path) -> None:
    with Live(tmp_path) as kernel:
        audit(kernel)
        for number in range(55):
            kernel.begin_run(f"x = {number}", f"c{number}")
        kernel.run("y = 1", "last")
        reports = kernel.ask("status")["reports"]
        assert len(reports) == 50 and reports[-1]["cell_id"] == "last"


DASK = {
    "a": "from dask.distributed import Client\nimport dask.array as da\nclient = Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None)",
    "b": "base = [float(i) for i in range(4)]",
    "c": "threshold = 10.0\nx = da.from_array([1.0, 12.0, 30.0], chunks=1)\nn = int((x > threshold).sum().compute())",
    "d": "print(n, client.status)",
}


def test_a_dask_client_lives_through_a_replay(tmp_path: Path) -> None:
    with Live(tmp_path) as kernel:
        audit(kernel)
        shown = kernel.run_all(DASK)
        assert shown["d"] == [("stdout", "2 running\n")]
        before = kernel.show("print(id(client), client.id)")
        cells = {**DASK, "c": DASK["c"].replace("10.0", "20.0")}
        plan = kernel.plan(cells, "c")
        assert plan["restart"] == []
        found = kernel.replay(cells, "c")
        assert found["next"] == "c" and not found["restarts"]
        assert found["shown"]["d"] == [("stdout", "1 running\n")]
        assert kernel.show("print(id(client), client.id)") == before
        assert found["tasks"]["run"] > 0
        # A restore keeps it, too.
        kernel.ask("restore", cell="b")
        assert kernel.show("print(id(client), client.id)") == before


def test_what_a_cluster_keeps_is_right_after_a_replay(tmp_path: Path) -> None:
    cells = {
        "a": DASK["a"],
        "b": "kept = (da.arange(8, chunks=4) + 1).persist()\nlazy = kept * 2",
        "c": "t = 1",
        "d": "print(int(kept.sum().compute()) * t, int(lazy.sum().compute()))",
    }
    with Live(tmp_path) as kernel:
        audit(kernel)
        assert kernel.run_all(cells)["d"] == [("stdout", "36 72\n")]
        cells["c"] = "t = 10"
        found = kernel.replay(cells, "c")
        assert found["shown"]["d"] == [("stdout", "360 72\n")]
        cells["b"] = cells["b"].replace("+ 1", "+ 2")
        found = kernel.replay(cells, "b")
        assert found["shown"]["d"] == [("stdout", "440 88\n")]


def test_a_store_that_cannot_be_written_can_be_restored_from(tmp_path: Path) -> None:
    with Live(tmp_path / "one") as kernel:
        audit(kernel)
        kernel.run("x = [1]", "a")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    with Live(tmp_path / "two") as kernel:
        assert kernel.ask("restore", cell="a")["report"]["cell_id"] == "a"
        assert kernel.show("print(x)") == "[1]\n"

"""The five workloads at a small size: audited, edited, repeated in new processes, and held against plain runs.

The notebooks run without their figures, which `python -m bench.workloads --small` has, too.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.workloads import vine
from bench.workloads.cases import WORKLOADS, reformatted
from bench.workloads.run import Trial

NEEDS = {"dv5": ("uproot", "awkward", "hist")}


def trial_of(name: str, engine: str, folder: Path) -> Trial:
    missing = [module for module in NEEDS.get(name, ()) if importlib.util.find_spec(module) is None]
    if missing:
        pytest.skip(f"{name} needs {', '.join(missing)}")
    return Trial(WORKLOADS[name], engine, folder, small=True, without=("figure",))


@pytest.mark.parametrize("name", WORKLOADS)
def test_only_what_the_change_touches_runs_and_nothing_is_wrong(name: str, tmp_path: Path) -> None:
    trial = trial_of(name, "threads", tmp_path / "trial")
    trial.check_change()
    assert not trial.broken


def test_an_unchanged_notebook_runs_no_task_on_a_cluster(tmp_path: Path) -> None:
    trial = trial_of("mapreduce", "distributed", tmp_path / "trial")
    trial.check_unchanged()
    assert not trial.broken


def test_reformatting_keeps_what_a_cell_says() -> None:
    source = "def f(a,\n      b): # sum\n  'Adds.'\n\n  return a+b\nf(1, 2)"
    text = reformatted(source)
    assert text != source
    assert "# sum" not in text
    found: dict[str, object] = {}
    exec(text, found)
    assert found["f"](3, 4) == 7  # type: ignore[operator]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux tells it")
def test_what_a_worker_has_ended_counts_with_it() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    before = vine._cpu_of(os.getpid())
    subprocess.run([sys.executable, "-c", burn], check=True)
    assert vine._cpu_of(os.getpid()) - before > 0.2
    assert vine._cpu_of(0) == 0.0

# ruff: noqa: E501 - cells and edits read better on one line
"""Which edits change a task's fingerprint. Every case is fingerprinted in fresh processes with several hash seeds."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

BASE = """
K = 10
def helper(x):
    return x + K
def work(x, y=1):
    "What it does."
    names = {"a", "b", "c"}
    return helper(x) * y if x not in names else 0
task = dask.delayed(work)(3)
"""


def edited(old: str, new: str) -> str:
    assert old in BASE
    return BASE.replace(old, new)


SAME = {
    "a comment": (BASE, edited("return x + K", "return x + K  # the offset")),
    "blank lines": (BASE, "\n\n\n" + BASE),
    "layout": (BASE, edited("return x + K", "return (\n        x\n        + K\n    )")),
    "another unused function": (BASE, "def unused():\n    return 1\n" + BASE),
    "another unused global": (BASE, "OTHER = 5\n" + BASE),
    "order of definitions": (
        BASE,
        BASE.replace("K = 10\n", "").replace("task =", "K = 10\ntask ="),
    ),
    "where a lambda stands": (
        "task = dask.delayed(lambda x: x + 1)(1)",
        "\n\npass\ntask = dask.delayed(lambda x: x + 1)(1)",
    ),
    "equal literals made apart": (
        "task = dask.delayed(sum)([1, 2])",
        "task = dask.delayed(sum)(list((1, 2)))",
    ),
    "another module": (BASE, "__name__ = 'elsewhere'\n" + BASE),
    "keys": (BASE, BASE.replace("(work)(3)", "(work)(3, dask_key_name='my-own-name')")),
}

DIFFERENT = {
    "the body": (BASE, edited("* y", "+ y")),
    "a helper": (BASE, edited("x + K", "x - K")),
    "a global that a helper reads": (BASE, edited("K = 10", "K = 11")),
    "a default": (BASE, edited("y=1", "y=2")),
    "the function's name": (BASE, BASE.replace("work", "job")),
    "the docstring": (BASE, edited("What it does.", "Something else.")),
    "an element of a set": (BASE, edited('"c"', '"d"')),
    "an argument": (BASE, edited("(work)(3)", "(work)(4)")),
    "int and float": ("task = dask.delayed(abs)(1)", "task = dask.delayed(abs)(1.0)"),
    "int and bool": ("task = dask.delayed(abs)(1)", "task = dask.delayed(abs)(True)"),
    "the sign of zero": ("task = dask.delayed(abs)(0.0)", "task = dask.delayed(abs)(-0.0)"),
    "str and bytes": ("task = dask.delayed(len)('a')", "task = dask.delayed(len)(b'a')"),
    "list and tuple": ("task = dask.delayed(len)([1])", "task = dask.delayed(len)((1,))"),
    "the order of arguments": ("task = dask.delayed(max)(1, 2)", "task = dask.delayed(max)(2, 1)"),
    "a keyword": ("task = dask.delayed(dict)(a=1)", "task = dask.delayed(dict)(b=1)"),
    "a closure": (
        "def make(n):\n    return lambda x: x + n\ntask = dask.delayed(make(1))(1)",
        "def make(n):\n    return lambda x: x + n\ntask = dask.delayed(make(2))(1)",
    ),
    "a decorated body": (
        "import functools\ndef d(f):\n    @functools.wraps(f)\n    def g(*a):\n        return f(*a)\n    return g\n@d\ndef h(x):\n    return x\ntask = dask.delayed(h)(1)",
        "import functools\ndef d(f):\n    @functools.wraps(f)\n    def g(*a):\n        return f(*a)\n    return g\n@d\ndef h(x):\n    return -x\ntask = dask.delayed(h)(1)",
    ),
    "a method of a class": (
        "class A:\n    def f(self):\n        return 1\ntask = dask.delayed(lambda: A().f())()",
        "class A:\n    def f(self):\n        return 2\ntask = dask.delayed(lambda: A().f())()",
    ),
    "the state of an instance": (
        "class A:\n    def __init__(self, n):\n        self.n = n\ntask = dask.delayed(lambda a: a.n)(A(1))",
        "class A:\n    def __init__(self, n):\n        self.n = n\ntask = dask.delayed(lambda a: a.n)(A(2))",
    ),
    "mutual recursion": (
        "def f(n):\n    return n and g(n - 1)\ndef g(n):\n    return n and f(n - 1)\ntask = dask.delayed(f)(3)",
        "def f(n):\n    return n and g(n - 1)\ndef g(n):\n    return n or f(n - 1)\ntask = dask.delayed(f)(3)",
    ),
    "a global array": (
        "import numpy as np\nA = np.arange(3)\ntask = dask.delayed(lambda: A.sum())()",
        "import numpy as np\nA = np.arange(3) + 1\ntask = dask.delayed(lambda: A.sum())()",
    ),
    "an array argument's type": (
        "import numpy as np\ntask = dask.delayed(np.sum)(np.zeros(2, 'f4'))",
        "import numpy as np\ntask = dask.delayed(np.sum)(np.zeros(2, 'f8'))",
    ),
    "an upstream task": (
        "task = dask.delayed(abs)(dask.delayed(len)([1]))",
        "task = dask.delayed(abs)(dask.delayed(sum)([1]))",
    ),
    "a partial": (
        "import functools\ntask = dask.delayed(functools.partial(max, 1))(2)",
        "import functools\ntask = dask.delayed(functools.partial(max, 3))(2)",
    ),
}

PROGRAM = """
import json, sys, dask
from nbrewind.tasks.graph import build
from nbrewind.tasks.fingerprint import Fingerprinter
found = []
for source in json.load(sys.stdin):
    scope = {"__name__": "__main__", "dask": dask}
    exec(compile(source, "<cell>", "exec"), scope)
    task = scope["task"]
    graph = build(task.dask, [task.key])
    facts = Fingerprinter(graph).run()
    fact = facts[graph.outputs[task.key].idx]
    found.append(fact.fp or ("opaque: " + "; ".join(fact.opaque)))
print(json.dumps(found))
"""


def fingerprints(sources: list[str], hash_seed: int) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(sources),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        check=True,
    )
    found: list[str] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def table() -> dict[str, list[list[str]]]:
    cases = {**SAME, **DIFFERENT}
    before = [fingerprints([pair[0] for pair in cases.values()], seed) for seed in (0, 1, 2)]
    after = [fingerprints([pair[1] for pair in cases.values()], seed) for seed in (3, 4)]
    return {
        name: [[one[at] for one in before], [one[at] for one in after]]
        for at, name in enumerate(cases)
    }


@pytest.mark.parametrize("name", SAME)
def test_this_does_not_change_a_fingerprint(table, name):
    before, after = table[name]
    assert len({*before, *after}) == 1 and len(before[0]) == 64, (before, after)


@pytest.mark.parametrize("name", DIFFERENT)
def test_this_changes_a_fingerprint(table, name):
    before, after = table[name]
    assert len(set(before)) == 1 and len(set(after)) == 1, (before, after)
    assert len(before[0]) == 64 and len(after[0]) == 64
    assert before[0] != after[0]


def test_fusing_does_not_change_a_fingerprint():
    program = (
        PROGRAM.split("found = []")[0]
        + """
import pandas as pd, dask.dataframe as dd
frame = dd.from_pandas(pd.DataFrame({"v": range(10)}), npartitions=2)
frame = (frame + 1)[["v"]].map_partitions(lambda part: part * 2).rename(columns={"v": "w"})
found = []
for fuse in (False, True):
    expr = frame.expr.optimize(fuse=fuse)
    keys = list(dask.core.flatten(expr.__dask_keys__()))
    graph = build(expr, keys)
    facts = Fingerprinter(graph).run()
    kinds = {node.kind for node in graph.nodes}
    found.append([("fused" in kinds), *(facts[graph.outputs[key].idx].fp for key in keys)])
print(json.dumps(found))
"""
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, input="[]"
    )
    plain, fused = json.loads(done.stdout)
    assert (plain[0], fused[0]) == (False, True)
    assert plain[1:] == fused[1:] and len(plain[1]) == 64


def test_lazy_values_made_of_each_other_are_looked_at_only_so_far() -> None:
    import dask

    import nbrewind.tasks.lazy  # noqa: F401 - knows lazy values
    from nbrewind.fingerprint import walk

    steps = [dask.delayed(len)("a")]
    for _ in range(150):
        steps.append(dask.delayed(abs)(steps[-1]))
    assert walk(steps[:50]).opaque == []
    # Their graphs together have 11,476 tasks.
    assert any("more than 10000 tasks" in reason for reason in walk(steps).opaque)


def test_what_records_a_task_looks_for_no_packages():
    # A task of TaskVine is a process of its own, which imports all of this.
    imports = "import sys, nbrewind.tasks.content, nbrewind.tasks.worker"
    ask = f"{imports}; print('importlib.metadata' in sys.modules)"
    asked = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert asked.stdout == "False\n"

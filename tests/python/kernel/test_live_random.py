# ruff: noqa: E501 - a cell is one line here
"""A long life: many edits, restores, changes from a console and replays in one kernel, each held against the truth."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.python.generated.check import Lab
from tests.python.kernel.live import Live

CELLS = [
    "x = [1]\ny = x",
    "import random\nrandom.seed(3)\nimport numpy as np\nimport pandas as pd\nrng = np.random.default_rng(1)",
    "t = 1",
    "x.append(t)",
    "z = {'x': x, 'r': random.random()}",
    "def f(v):\n    return v * t + len(x)",
    "a = np.arange(12.0)\nv = a[3:6]\nm = a.reshape(3, 4)",
    "y = list(y)",
    "w = f(2)",
    "df = pd.DataFrame({'i': a, 'j': rng.random(12)})\ncol = df['i']",
    "v[:] = t\ndf.iloc[0, 0] = t",
    "class P:\n    k = []\np = P()\np.k.append(t)",
    "q = [p, x]",
    "import os\nos.environ['NB_T'] = str(t)\npd.set_option('display.precision', t)",
    "x.clear() if t > 3 else x.append(0)",
    "g = (n * t for n in range(9))\nfirst = next(g)",
    "print(x, y, z, w, p.k, q[1] is x, random.random(), a.sum(), m[0, 3], df['j'].sum(), next(g))",
    "print(df.head(2))\ndel col",
]
EDITS = {
    1: ["import random\nrandom.seed(3)\nimport numpy as np\nimport pandas as pd\nrng = np.random.default_rng(1)", "import random\nrandom.seed(4)\nimport numpy as np\nimport pandas as pd\nrng = np.random.default_rng(2)"],
    2: ["t = 1", "t = 2", "t = 5"],
    3: ["x.append(t)", "x.insert(0, t)", "pass"],
    4: ["z = {'x': x, 'r': random.random()}", "z = {'x': list(x), 'r': 1}"],
    6: ["a = np.arange(12.0)\nv = a[3:6]\nm = a.reshape(3, 4)", "a = np.arange(12.0)\nv = a[3:6].copy()\nm = a.reshape(3, 4)"],
    7: ["y = list(y)", "y = y", "y = x"],
    8: ["w = f(2)", "w = 3"],
    10: ["v[:] = t\ndf.iloc[0, 0] = t", "df.loc[2, 'j'] = t", "pass"],
    11: ["class P:\n    k = []\np = P()\np.k.append(t)", "class P:\n    k = [9]\np = P()\np.k = [t]"],
    13: ["import os\nos.environ['NB_T'] = str(t)\npd.set_option('display.precision', t)", "import os"],
}  # fmt: skip
PROBE = """
import os
print([(n, repr(globals().get(n))) for n in 'x y z t w a v m first'.split()], x is y, z['x'] is x, q[1] is x, q[0] is p, isinstance(p, P), p.k is P.k)
print(v.base is a, np.shares_memory(v, a), np.shares_memory(m, a), f(1), random.random(), rng.random(), next(g), os.environ.get('NB_T'), pd.get_option('display.precision'), 'col' in globals())
print(df)
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_long_life_is_always_right(tmp_path: Path, seed: int, lab: Lab) -> None:
    draw = random.Random(seed)
    cells = {f"c{i}": source for i, source in enumerate(CELLS)}
    # The truth runs in forked kernels without NBRewind, each a process of its own.
    (tmp_path / "there").mkdir()
    with Live(tmp_path / "here") as kernel:
        kernel.ask("configure", mode="audit", notebook="book.ipynb")
        kernel.run_all(cells)
        for step in range(10):
            edited = draw.choice(list(EDITS))
            cells[f"c{edited}"] = draw.choice(EDITS[edited])
            if draw.random() < 0.3:
                kernel.run("x.append(100)\na[0] = 50\nrandom.random()")
            if draw.random() < 0.3:
                kernel.ask("restore", cell=f"c{draw.randrange(len(CELLS))}")
            found = kernel.replay(cells, f"c{draw.randrange(len(CELLS))}")
            state = kernel.show(PROBE)
            job = {"folder": str(tmp_path / "there"), "mode": "plain"}
            ran = lab.kernel("repeat", warm=True).run(cells=[*cells.items(), ("", PROBE)], **job)
            shown = dict(zip(cells, ran["outputs"], strict=False))
            then = {cell: list(map(list, outputs)) for cell, outputs in found["shown"].items()}
            assert then == {cell: shown[cell] for cell in then}, step
            assert state == "".join(str(item[-1]) for item in ran["outputs"][-1]), step

# ruff: noqa: E501 - cells and edits read better on one line
"""What decides on a result besides arguments, globals and files that are opened: a change of it is never a hit."""

from __future__ import annotations

from tests.python.tasks.session import run_session

ASK = "\nresult = dask.delayed(task)(1).compute()"

# Name -> cell, in which X stands for the first and then for the second text.
CASES = {
    "a name in a query": (
        "import pandas as pd\nLIMIT = X\ndef task(frame):\n    return frame.query('a > @LIMIT').a.tolist()\nresult = dask.delayed(task)(pd.DataFrame({'a': [1, 5, 9]})).compute()",
        "3",
        "6",
    ),
    "a query that is an argument": (
        "import pandas as pd\nLIMIT = X\ndef task(frame, text):\n    return frame.query(text).a.tolist()\nresult = dask.delayed(task)(pd.DataFrame({'a': [1, 5, 9]}), 'a > @LIMIT').compute()",
        "3",
        "6",
    ),
    "a method added to a library's class": (
        "import pandas as pd\npd.DataFrame.nb_total = lambda self: X\ndef task(frame):\n    return frame.nb_total()\nresult = dask.delayed(task)(pd.DataFrame({'a': [1]})).compute()\ndel pd.DataFrame.nb_total",
        "10",
        "20",
    ),
    "an accessor": (
        "import pandas as pd\n@pd.api.extensions.register_dataframe_accessor('nb_geo')\nclass Geo:\n    def __init__(self, frame):\n        self.n = len(frame)\n    def far(self):\n        return self.n + X\ndef task(frame):\n    return frame.nb_geo.far()\nresult = dask.delayed(task)(pd.DataFrame({'a': [1]})).compute()",
        "10",
        "20",
    ),
    "a function of a library that was replaced": (
        "import numpy as np\nkept, np.mean = np.mean, lambda values: X\ndef task(x):\n    return np.mean([x, 2])\ntry:\n    result = dask.delayed(task)(1).compute()\nfinally:\n    np.mean = kept",
        "10",
        "20",
    ),
    "what reads the environment under another name": (
        "import os\nfrom os import getenv as setting\nos.environ['NB_SETTING'] = 'X'\ndef task(x):\n    return setting('NB_SETTING')"
        + ASK,
        "10",
        "20",
    ),
    "a variable inside a path": (
        "import os\nos.environ['NB_SETTING'] = 'X'\nresult = dask.delayed(os.path.expandvars)('$NB_SETTING').compute()",
        "10",
        "20",
    ),
    "the time zone": (
        "import os, time, datetime\nos.environ['TZ'] = 'X'\ntime.tzset()\ndef task(x):\n    return datetime.datetime(2020, 1, 1).timestamp()"
        + ASK
        + "\ndel os.environ['TZ']\ntime.tzset()",
        "UTC",
        "EST5",
    ),
    "the precision of decimals": (
        "import decimal\ndef task(x):\n    return str(decimal.Decimal(1) / 3)\nwith decimal.localcontext() as context:\n    context.prec = X\n    result = dask.delayed(task)(1).compute()",
        "5",
        "9",
    ),
    "how numpy prints": (
        "import numpy as np\ndef task(x):\n    return str(np.array([1 / 3]))\nwith np.printoptions(precision=X):\n    result = dask.delayed(task)(1).compute()",
        "3",
        "5",
    ),
    "what numpy does with errors": (
        "import numpy as np\ndef task(x):\n    try:\n        return float(np.float64(1) / np.float64(0))\n    except FloatingPointError:\n        return 'raised'\nwith np.errstate(all='X'):\n    result = dask.delayed(task)(1).compute()",
        "ignore",
        "raise",
    ),
    "an option of pandas": (
        "import pandas as pd\ndef task(x):\n    return str(pd.DataFrame({'a': range(20)}))\nwith pd.option_context('display.max_rows', X):\n    result = dask.delayed(task)(1).compute()",
        "4",
        "6",
    ),
    "warnings that raise": (
        "import warnings\ndef task(x):\n    try:\n        warnings.warn('hm')\n    except UserWarning:\n        return 'raised'\nwith warnings.catch_warnings():\n    warnings.simplefilter('X')\n    result = dask.delayed(task)(1).compute()",
        "ignore",
        "error",
    ),
    "Dask's configuration": (
        "dask.config.set({'nb.key': X})\ndef task(x):\n    return dask.config.get('nb.key')" + ASK,
        "5",
        "9",
    ),
    "annotations": (
        "def helper(x: X):\n    return helper.__annotations__['x'](x)\ndef task(x):\n    return helper(x)"
        + ASK,
        "int",
        "str",
    ),
    "heirs of a class": (
        "class Base: pass\nclass One(Base): pass\nX\ndef task(x):\n    return sorted(cls.__name__ for cls in Base.__subclasses__())"
        + ASK,
        "",
        "class Two(Base): pass",
    ),
    "classes that count as heirs": (
        "import abc\nclass Base(abc.ABC): pass\nBase.register(X)\ndef task(x):\n    return isinstance(x, Base)"
        + ASK,
        "int",
        "str",
    ),
    "the order of keywords": (
        "def task(**given):\n    return list(given)\nresult = dask.delayed(task)(X).compute(), dask.delayed(dict)(X).compute()",
        "a=1, b=2",
        "b=2, a=1",
    ),
    "a seed of numpy's": (
        "import numpy as np\nnp.random.seed(X)\ndef task(x):\n    return float(np.random.normal())"
        + ASK
        + "\nresult = result, float(np.random.normal())",
        "1",
        "2",
    ),
    "a seed of Python's, and what is drawn afterwards": (
        "import random\nrandom.seed(1)\ndef task(x):\n    return random.random()"
        + ASK
        + "\nresult = result, random.random(), X",
        "1",
        "2",
    ),
    "a generator that is an argument": (
        "import numpy as np\nrng = np.random.default_rng(1)\ndef task(rng):\n    return float(rng.poisson(1000))\nresult = [dask.delayed(task)(rng).compute() for _ in range(2)], X",
        "1",
        "2",
    ),
    "an array that is changed in place": (
        "import numpy as np\ngiven = np.ones(3)\ndef task(array):\n    array *= 2\nresult = dask.delayed(task)(given).compute(), given.tolist(), X",
        "1",
        "2",
    ),
    "a method that changes its object": (
        "import collections\ngiven = collections.deque([3, 1])\nresult = dask.delayed(given).append(5).compute(), list(given), X",
        "1",
        "2",
    ),
    "a result that others have": (
        "import numpy as np\nKEPT = np.zeros(3)\ndef task(x):\n    return KEPT[1:]"
        + ASK
        + "\nresult[:] = 5\nresult = KEPT.tolist(), X",
        "1",
        "2",
    ),
    "two results that share": (
        "def make():\n    return [1]\ndef same(x):\n    return x\na = dask.delayed(make)()\nb = dask.delayed(same)(a)\none, two = dask.compute(a, b)\none.append(2)\nresult = two, X",
        "1",
        "2",
    ),
}
# What is changed between the sessions: files that are looked for, not opened.
FILES = {
    "a pattern that matches nothing": "import glob\ndef task(x):\n    return glob.glob('d*/' + 'new.txt')",
    "a reader that looks first": "import numpy as np\ndef task(x):\n    try:\n        return float(np.loadtxt('n' + 'ew.txt'))\n    except OSError:\n        return None",
    "lines of a file": "import linecache\ndef task(x):\n    linecache.clearcache()\n    return linecache.getline('ol' + 'd.txt', 1)",
    "a thread that reads": "import threading\ndef task(x):\n    read = []\n    thread = threading.Thread(target=lambda: read.append(open('ol' + 'd.txt').read()))\n    thread.start()\n    thread.join()\n    return read",
}


def test_no_hit_when_something_around_a_task_has_changed(store, tmp_path):
    def write(text: str, *names: str) -> None:
        for name in names:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)

    def cells(at: int) -> list[str]:
        edited = [source.replace("X", pair[at]) for source, *pair in CASES.values()]
        return [
            "import dask\n" + source for source in edited + [one + ASK for one in FILES.values()]
        ]

    write("1\n", "old.txt", "d1/other.txt")
    run_session(store, *cells(0), engine="sync", replay=False)
    write("2\n", "old.txt", "d1/new.txt", "new.txt")
    found = run_session(store, *cells(1), engine="sync")
    right = run_session(store.with_name("other"), *cells(1), engine="sync", replay=False)
    for name, cell, plain in zip([*CASES, *FILES], found, right, strict=True):
        assert (cell.value, cell.error) == (plain.value, None), (name, cell, plain)
        assert cell.n_run >= 1, (name, cell)


def test_unseeded_draws_are_replayed_until_somebody_seeds(store):
    draw = "import dask, numpy as np\ndef task(x):\n    return float(np.random.normal())\nresult = dask.delayed(task)(1).compute()"
    [first] = run_session(store, draw, engine="sync", replay=False)
    same, seeded = run_session(
        store, draw, "import numpy as np\nnp.random.seed(1)\n" + draw, engine="sync"
    )
    assert (same.value, same.n_run) == (first.value, 0), same
    assert (seeded.value, seeded.n_run) == ("1.6243453636632417", 1), seeded


def test_results_are_not_known_by_the_content_that_they_had_before_somebody_changed_them(store):
    source = "import dask, numpy as np\ndef make(n):\n    return np.ones({n})\ndef total(array):\n    return float(array.sum())\n"
    change = "kept = dask.delayed(make)(600_000).persist()\nkept.compute()[:] = 2\nresult = dask.delayed(total)(kept).compute()"
    run_session(store, source.format(n="n") + change, engine="sync", replay=False)
    plain = "result = dask.delayed(total)(dask.delayed(make)(600_000)).compute()"
    [cell] = run_session(store, source.format(n="n + 0") + plain, engine="sync")
    assert cell.value == "600000.0", cell


CLUSTER = """
import numpy as np
def total(array):
    return float(array.sum())
array = np.ones(1_000_000)
future = client.submit(total, array)
array[:] = 100
future.result()
"""
MODULE = """
import importlib, mine
client.run(importlib.import_module, "mine")
def g(x):
    return mine.K
mine.K = 50
"""
VARIABLE = """
from distributed import Variable
Variable("nb", client=client).set({k})
def ask(x):
    return Variable("nb").get()
result = client.submit(ask, 1).result()
"""
STATE = """
def prepare():
    import builtins
    builtins.NB_STATE = {k}
client.run(prepare)
def ask(x):
    return NB_STATE
result = client.submit(ask, 1).result()
"""


def test_what_clusters_hold_besides_tasks(store, tmp_path):
    (tmp_path / "mine.py").write_text("K = 1\n")
    run_session(
        store,
        "import os, sys\ndef look(path):\n    sys.path.insert(0, path)\nlook(os.getcwd())\nclient.run(look, os.getcwd())",
        CLUSTER,
        MODULE + "result = client.submit(g, 1).result()",
        VARIABLE.format(k=5),
        STATE.format(k=5),
        engine="distributed",
        replay=False,
    )
    _, changed, named, variable, state = run_session(
        store,
        "import os, sys\ndef look(path):\n    sys.path.insert(0, path)\nlook(os.getcwd())\nclient.run(look, os.getcwd())",
        # What was sent is what was planned, whatever happened to the array meanwhile.
        CLUSTER.replace("array[:] = 100\nfuture.result()", "result = future.result()"),
        # The workers have a module of the same name, with another content.
        MODULE + "import dask\nresult = dask.delayed(g)(1).compute(scheduler='sync')",
        VARIABLE.format(k=9),
        STATE.format(k=9),
        engine="distributed",
    )
    assert changed.value == "1000000.0", changed
    assert named.value == "50", named
    assert (variable.value, state.value) == ("9", "9"), (variable, state)


FRAMES = """
import dask, pandas as pd
frame = pd.DataFrame({"a": [1, 2, 3]})
def one(part):
    return part.assign(b=part.a * 2)
def two(part):
    return part[["a"]]
result = len(dask.compute(dask.delayed(one)(frame), dask.delayed(two)(frame)))
"""
INSTANCES = """
import dask, enum
class Color(enum.Enum):
    RED = 1
class Point:
    def __init__(self, at):
        self.at, self.color = [at], Color.RED
result = len(dask.compute(dask.delayed(Point)(1), dask.delayed(Point)(2)))
"""


def test_results_that_nobody_can_tell_to_share_are_replayed(store):
    run_session(store, FRAMES, INSTANCES, engine="threads", replay=False)
    for cell in run_session(store, FRAMES, INSTANCES, engine="threads"):
        assert (cell.value, cell.n_run, cell.n_hit) == ("2", 0, 2), cell

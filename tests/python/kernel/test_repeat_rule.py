# ruff: noqa: E501 - a case is one line of a table
"""The repeat rule: every case is a notebook, an edit, and the cells that must execute then.

The outputs of every repeat, and the state at its end, are held against a run from scratch of the edited notebook.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.python.books import Book
from tests.python.generated.cases import Case as Notebook
from tests.python.generated.cases import Step
from tests.python.generated.check import Lab, write_files


@dataclass
class Case:
    title: str
    cells: dict[str, str]
    edit: dict[str, str]
    executed: str
    may: str = ""
    files: dict[str, str] = field(default_factory=dict)
    file_edit: dict[str, str | None] = field(default_factory=dict)

    def generated(self) -> Notebook:
        """As the lab of generated notebooks takes it."""
        cells = list(self.cells.items())
        edited = {**self.cells, **self.edit}
        return Notebook(
            seed=-1,
            warm=any(word in str(self.cells) for word in ("numpy", "pandas", "dask", "pyarrow")),
            cells=cells,
            files=dict(self.files),
            audit=list(self.cells),
            steps=[
                Step(
                    [(cell, text) for cell, text in sorted(edited.items()) if text], self.file_edit
                )
            ],
        )


# A module of the user's: instances that change by themselves, what they have in common, and what is in the module.
BOX = """
NOTES, K = [], 3
def scale(x): return x * K
class Box:
    made = 0
    def __init__(self, v): self.v = v
    def up(self): self.v += K
    def count(self): Box.made += 1; self.v += 1
    def note(self): NOTES.append(self.v); self.v += 1
    def notes(self): return NOTES
"""

CASES = [
    Case("an unchanged notebook is replayed whole", {"a": "x = [1]", "b": "y = x\ny.append(2)", "c": "print(x, y is x)"}, {}, ""),
    Case("a constant reaches what reads it", {"a": "x = 1", "b": "y = x + 1", "c": "print(y)", "d": "print('other')"}, {"a": "x = 2"}, "a b c"),
    Case("a comment and another layout change nothing", {"a": "x = 1", "b": "print(x)"}, {"a": "# why\nx  =  (1)"}, ""),
    Case("a semicolon hides the display", {"a": "x = 1", "b": "x"}, {"b": "x;"}, "b"),
    Case("a docstring is content", {"a": "def f():\n    'one'", "b": "print(f.__doc__)"}, {"a": "def f():\n    'two'"}, "a b"),
    Case("equal content ends the spread", {"a": "x = 1", "b": "y = x > 0", "c": "print(y)"}, {"a": "x = 2"}, "a b"),
    Case("a function is called with what it reads now", {"a": "def f():\n    return k", "b": "k = 1", "c": "print(f())"}, {"b": "k = 2"}, "b c"),
    Case("an edited helper of a helper", {"a": "def g(): return 1", "b": "def f(): return g()", "c": "print(f())"}, {"a": "def g(): return 2"}, "a c"),
    Case("a method reads a global", {"a": "k = 1", "b": "class P:\n    def go(self):\n        return k", "c": "p = P()", "d": "print(p.go())"}, {"a": "k = 2"}, "a d", may="c"),
    Case("a folder that the cell itself puts on the module path", {"a": "import sys\nsys.path.insert(0, 'here')\nimport beside_a", "b": "print(beside_a.k)", "c": "x = 1"}, {"c": "x = 2"}, "c", files={"here/beside_a.py": "k = 1\n"}),
    Case("what an import finds first on the path that the cell makes", {"a": "import sys\nsys.path.insert(0, 'first')\nimport beside_b", "b": "print(beside_b.k)"}, {}, "a b", files={"beside_b.py": "k = 1\n", "first/other.txt": ""}, file_edit={"first/beside_b.py": "k = 2\n"}),
    Case("a change through an alias", {"a": "x = [1]", "b": "y = x", "c": "y.append(2)", "d": "print(x)"}, {"c": "y.append(3)"}, "c d"),
    Case("a change through a function's parameter", {"a": "x = [1]", "b": "def add(l): l.append(7)", "c": "add(x)", "d": "print(x)"}, {"b": "def add(l): l.append(8)"}, "b c d"),
    Case("a change through a function's global", {"a": "x = [1]", "b": "def add(): x.append(7)", "c": "add()", "d": "print(x)"}, {"b": "def add(): x.append(8)"}, "b c d"),
    Case("np.nan, or a value like it", {"a": "import numpy as np", "b": "values = [np.nan]", "c": "print(np.nan in values)"}, {"b": "values = [float('nan')]"}, "b c"),
    Case("a masked array shares what it was made from", {"a": "import numpy as np\nx = np.arange(4.0)", "b": "m = np.ma.masked_array(x, mask=[0, 1, 0, 0])", "c": "x[0] = 9", "d": "print(m.sum())"}, {"c": "x[0] = 8"}, "c d"),
    Case("a filter of warnings that was there already", {"a": "import warnings\nwarnings.simplefilter('ignore')", "b": "def hush():\n    warnings.simplefilter('ignore')", "c": "hush()", "d": "warnings.warn('x')\nprint(1)"}, {"a": "import warnings"}, "a c", may="d"),
    Case("a name that is bound to what it was", {"a": "x = [1]", "b": "t = 1", "c": "x = x", "d": "print(x)"}, {"b": "t = [x]"}, "b c"),
    Case("a name that is bound to a part of what shares more now", {"a": "e = {'l': [1]}\nx = e['l']", "b": "t = 1", "c": "x = e['l']", "d": "x.append(2)", "e": "print(e, t)"}, {"b": "t = e"}, "b c d e"),
    Case("a metaclass that registers classes", {"a": "known = {}\nclass Meta(type):\n    def __new__(meta, name, bases, body):\n        known[name] = super().__new__(meta, name, bases, body)\n        print('made', name)\n        return known[name]", "b": "class P(metaclass=Meta): pass", "c": "class Q(P): pass", "d": "q = known['Q']()", "e": "print(list(known), type(q) is Q)"}, {"e": "print(list(known), type(q) is Q, 1)"}, "e"),
    Case("a base that hears of new classes", {"a": "known = []\nclass P:\n    def __init_subclass__(cls, rank, **more):\n        super().__init_subclass__(**more)\n        cls.rank = rank\n        known.append(cls)", "b": "class Q(P, rank=2): pass", "c": "class R(P, rank=1): pass", "d": "print([cls.rank for cls in known], P.__init_subclass__.__func__.__qualname__)"}, {"c": "class R(P, rank=3): pass"}, "c d"),
    Case("an abstract base that is generic and counts", {"a": "import abc\nfrom typing import Generic, TypeVar\nT = TypeVar('T')\nn = [0]\nclass Meta(abc.ABCMeta):\n    def __init__(cls, *args, **more):\n        super().__init__(*args)\n        n[0] += 1", "b": "class P(Generic[T], metaclass=Meta):\n    @abc.abstractmethod\n    def f(self): pass", "c": "class Q(P[int]):\n    __slots__ = ('s',)\n    def f(self): return 2", "d": "print(n, Q().f(), Q.__orig_bases__, Q.__parameters__, isinstance(Q(), P))"}, {"d": "print(n, Q().f(), Q.__orig_bases__, Q.__parameters__, isinstance(Q(), P), 1)"}, "d"),
    Case("an instance of a class of a module", {"a": "from extra import Box, scale", "b": "b = Box(2)", "c": "b.up()\nb.more = [scale(b.v)]", "d": "print(b.v, b.more, isinstance(b, Box))"}, {"d": "print(b.v, b.more, isinstance(b, Box), 1)"}, "d", files={"extra.py": BOX}),
    Case("an instance that counts in its class", {"a": "from extra import Box", "b": "b = Box(2)", "c": "b.up()", "d": "b.count()", "e": "print(b.v, Box.made, Box(1).made)"}, {"e": "print(b.v, Box.made, Box(1).made, 1)"}, "d e", files={"extra.py": BOX}),
    Case("an instance that notes something in its module", {"a": "from extra import Box", "b": "b = Box(2)", "c": "b.note()", "d": "c = Box(1)", "e": "print(c.notes())"}, {"e": "print(c.notes(), 1)"}, "c e", may="d", files={"extra.py": BOX}),
    Case("a generator reads what is bound later", {"a": "def h(k):\n    global n\n    n = k", "b": "def series():\n    while True:\n        yield n\ngen = series()", "c": "h(3)", "d": "print(next(gen))"}, {"d": "print(next(gen), 1)"}, "d", may="b"),
    Case("a copy where a shared list was", {"a": "x = [1]", "b": "y = x", "c": "x.append(2)", "d": "print(y)"}, {"b": "y = list(x)"}, "b c d"),
    Case("a pure reader of identity", {"a": "x = [1]", "b": "y = x", "c": "print(x is y)"}, {"b": "y = list(x)"}, "b c"),
    Case("a name that shadows a builtin", {"a": "z = 1", "b": "print(len([1, 2]))"}, {"a": "len = lambda v: 99"}, "a b"),
    Case("a name that was missing", {"a": "z = 1", "b": "try:\n    print(q)\nexcept NameError:\n    print('missing')"}, {"a": "q = 5"}, "a b"),
    Case("a cell is inserted", {"a": "x = [1]", "c": "print(x)"}, {"a": "x = [1]", "b": "x.append(2)", "c": ""}, "b"),
    Case("the same cell twice", {"a": "x = 1", "b": "x += 1", "c": "x += 1", "d": "print(x)"}, {"c": "x += 2"}, "c d"),
    Case("a variable that a replayed cell sets", {"a": "import os\nos.environ['NB_V'] = '1'", "b": "v = os.environ['NB_V']", "c": "os.environ['NB_V'] = '2'", "d": "print(v, os.environ.get('NB_V'))"}, {}, ""),
    Case("a module that says something when it is imported", {"a": "x = 1", "b": "import noisy", "c": "import noisy\nprint(noisy.K)", "d": "print(noisy.K)"}, {"a": "import noisy\nx = 1"}, "a b c", may="d", files={"noisy.py": "print('here')\nK = 1\n"}),
    Case("a module from a folder that a cell puts on the path", {"a": "import sys\nsys.path.insert(0, 'src')", "b": "import late\nk = late.K", "c": "print(k)"}, {}, "", files={"src/late.py": "K = 1\n"}),
    Case("an edited module from a folder on the path", {"a": "import sys\nsys.path.insert(0, 'src')", "b": "import late\nk = late.K", "c": "print(k)"}, {}, "b c", files={"src/late.py": "K = 1\n"}, file_edit={"src/late.py": "K = 2\n"}),
    Case("generic classes share their type variable", {"a": "from typing import Generic, TypeVar\nT = TypeVar('T', bound=int)", "b": "class Box(Generic[T]):\n    def __init__(self, v: T):\n        self.v = v", "c": "b = Box[int](3)\nclass Sub(Box[bool]): pass", "d": "print(b.v, Box.__parameters__[0] is T, T.__bound__, Sub.__orig_bases__)"}, {"d": "print(b.v, Box.__parameters__[0] is T, T.__bound__, Sub.__orig_bases__, 1)"}, "d"),
    Case("another type variable of the same name", {"a": "from typing import Generic, TypeVar\nT = TypeVar('T')", "b": "class Box(Generic[T]): pass", "c": "U = 1", "d": "print(Box.__parameters__[0] is T)"}, {"c": "T = TypeVar('T')"}, "c d"),
    Case("a deleted name", {"a": "x = 1", "b": "del x", "c": "print('x' in dir())"}, {}, ""),
    Case("a default is bound when defined", {"a": "k = 1", "b": "def f(a=k): return a", "c": "print(f())"}, {"a": "k = 2"}, "a b c"),
    Case("a name inside a string", {"a": "import pandas as pd\ndf = pd.DataFrame({'a': [1, 2, 3]})", "b": "thr = 1", "c": "print(len(df.query('a > @thr')))"}, {"b": "thr = 2"}, "b c"),
    Case("a seed reaches the draw", {"a": "import random", "b": "random.seed(1)", "c": "print(random.random())"}, {"b": "random.seed(2)"}, "b c"),
    Case("numpy's global generator", {"a": "import numpy as np\nnp.random.seed(1)", "b": "x = np.random.rand()", "c": "print(x)"}, {"a": "import numpy as np\nnp.random.seed(2)"}, "a b c"),
    Case("a frame changed in place under a view", {"a": "import pandas as pd\ndf = pd.DataFrame({'x': [1.0, 2.0]})", "b": "v = df['x'].to_numpy()", "c": "df.iloc[0, 0] = 9", "d": "print(v)"}, {"c": "df.iloc[0, 0] = 8"}, "c d"),
    Case("a view of an array", {"a": "import numpy as np\na = np.arange(6)", "b": "v = a[2:5]", "c": "v[0] = 77", "d": "print(a)"}, {"c": "v[0] = 78"}, "c d"),
    Case("unseeded draws are replayed as they were", {"a": "import uuid\nrun = uuid.uuid4().hex", "b": "n = len(run)", "c": "print(n)"}, {"c": "print(n + 1)"}, "c"),
    Case("an import of a replayed cell is there", {"a": "import math\nimport numpy as np", "b": "print(math.pi)", "c": "print(np.arange(2))"}, {"c": "print(np.arange(3))"}, "c"),
    Case("an instance keeps its class", {"a": "class P:\n    pass", "b": "p = P()\np.z = [1]", "c": "print(isinstance(p, P), p.z)"}, {"c": "print(isinstance(p, P), p.z, 1)"}, "c"),
    Case("a setting reaches the display", {"a": "import pandas as pd", "b": "pd.set_option('display.precision', 2)", "c": "s = pd.Series([1.23456])", "d": "s"}, {"b": "pd.set_option('display.precision', 4)"}, "b d", may="c"),
    Case("what a class prints when it is looked at", {"a": "import dask\nclass N:\n    def __init__(self):\n        self.x = 1\n    def __getstate__(self):\n        print('looked at')\n        return self.__dict__", "b": "n = N()\ndef f(n):\n    return n.x", "c": "print(dask.delayed(f)(n).compute(scheduler='threads'))"}, {"c": "print('x', dask.delayed(f)(n).compute(scheduler='threads'))"}, "c"),
    Case("a warning that says in which line it is", {"a": "import warnings", "b": "warnings.warn('red')", "c": "x = 1"}, {"b": "# why\nwarnings.warn('red')", "c": "# why\nx = 1"}, "b"),
    Case("an array of a frame that others share", {"a": "import pandas as pd\ndf = pd.DataFrame({'x': [1.0, 2.0]})\nx = df['x']", "b": "v = df['x'].values", "c": "df.loc[0, 'x'] = 9", "d": "print(v)\ndel x"}, {"b": "v = df['x'].values\n1"}, "b", may="c d"),
    Case("a setting that cannot be compared", {"a": "import pandas as pd\nclass Form:\n    def __init__(self, n):\n        self.n, self.tail = n, (i for i in [n])\n    def __call__(self, value):\n        return f'{value:.{self.n}f}'", "b": "pd.set_option('display.float_format', Form(2))", "c": "s = pd.Series([1.23456])", "d": "s"}, {"b": "pd.set_option('display.float_format', Form(4))"}, "b d", may="c"),
    Case("exec is what it executes", {"a": "exec('u = ' + str(1))", "b": "print(u)"}, {}, ""),
    Case("the last result, a number", {"a": "41 + 1", "b": "print(_)"}, {}, ""),
    Case("the last result, another number", {"a": "41 + 1", "b": "print(_)", "c": "print(1)"}, {"a": "40 + 1"}, "a b"),
    Case("the last result, a list", {"a": "[41 + 1]", "b": "print(_)"}, {}, "a b"),
    Case("a generator that goes on", {"a": "g = (i for i in range(9))", "b": "next(g)", "c": "print(next(g))"}, {}, "", may="b c"),
    Case("a file is read again when it changed", {"a": "text = open('in.txt').read()", "b": "print(text)"}, {}, "a b", files={"in.txt": "one"}, file_edit={"in.txt": "two"}),
    Case("a file that was not there", {"a": "import os\nprint(os.path.exists('c.pkl'))"}, {}, "a", file_edit={"c.pkl": "x"}),
    Case("a listing", {"a": "import glob\nnames = sorted(glob.glob('in/*.txt'))", "b": "print(names)"}, {}, "a b", files={"in/a.txt": "1"}, file_edit={"in/b.txt": "2"}),
    Case("a module of the user's own is edited", {"a": "import helpers", "b": "print(helpers.f(2))"}, {}, "a b", files={"helpers.py": "def f(x):\n    return x + 1\n"}, file_edit={"helpers.py": "def f(x):\n    return x + 2\n"}),
    Case("a module that a function imports when called", {"a": "def f():\n    import helpers\n    return helpers.f(2)", "b": "print(f())"}, {}, "b", may="a", files={"helpers.py": "def f(x):\n    return x + 1\n"}, file_edit={"helpers.py": "def f(x):\n    return x + 2\n"}),
    Case("tasks that read by a path they compute", {"a": "import dask", "b": "def read(i):\n    with open(f'in{i}.txt') as file:\n        return file.read()", "c": "print(dask.compute(*[dask.delayed(read)(i) for i in range(2)], scheduler='threads'))"}, {}, "c", files={"in0.txt": "a", "in1.txt": "b"}, file_edit={"in1.txt": "c"}),
    Case("a comment in a module changes nothing", {"a": "import helpers", "b": "print(helpers.f(2))"}, {}, "", files={"helpers.py": "def f(x):\n    return x + 1\n"}, file_edit={"helpers.py": "# why\ndef f(x):\n    return x + 1\n"}),
    Case("a frame from a file", {"a": "import pandas as pd\ndf = pd.read_csv('in.csv')", "b": "print(df.a.sum())"}, {}, "a b", files={"in.csv": "a\n1\n2\n"}, file_edit={"in.csv": "a\n1\n3\n"}),
    Case("a table that native code reads", {"a": "import pyarrow as pa\nimport pyarrow.parquet as pq\npq.write_table(pa.table({'x': [1]}), 'out.parquet')", "b": "import pyarrow.dataset as ds\nn = ds.dataset('in.csv', format='csv').to_table().num_rows", "c": "print(n)"}, {}, "b c", files={"in.csv": "a\n1\n2\n"}, file_edit={"in.csv": "a\n1\n\n\n"}),
    Case("native code that empties a folder first", {"a": "import pandas as pd\nimport os", "b": "pd.DataFrame({'k': [1, 1], 'v': [1, 2]}).to_parquet('out', partition_cols=['k'], basename_template='x{i}.parquet', existing_data_behavior='delete_matching')", "c": "print(sorted(os.listdir('out/k=1')), len(pd.read_parquet('out')))"}, {}, "b", may="c", file_edit={"out/k=1/z.txt": "other"}),
    Case("another program is never replayed", {"a": "import subprocess\nsubprocess.run(['true'])", "b": "print(1)"}, {}, "a"),
    Case("the order of dict and set", {"a": "d = {'b': 1, 'a': 2}\ns = {'x', 'y'}", "b": "print(list(d), sorted(s))"}, {"a": "d = {'a': 2, 'b': 1}\ns = {'y', 'x'}"}, "a b"),
    Case("a closure over a loop variable", {"a": "fs = [lambda i=i: i * k for i in range(3)]", "b": "k = 2", "c": "print([f() for f in fs])"}, {"b": "k = 3"}, "b c"),
    Case("a lambda in a dict", {"a": "ops = {'f': lambda v: v + 1}", "b": "print(ops['f'](1))"}, {"a": "ops = {'f': lambda v: v + 2}"}, "a b"),
    Case("a dataclass and an enum", {"a": "from dataclasses import dataclass\nimport enum\n@dataclass\nclass D:\n    x: int\nclass E(enum.Enum):\n    A = 1", "b": "d = D(1)\ne = E.A", "c": "print(d, e, e is E.A)"}, {"c": "print(d, e, e is E.A, 2)"}, "c"),
    Case("a loop variable leaks", {"a": "for i in range(3):\n    pass", "b": "print(i)"}, {"a": "for i in range(4):\n    pass"}, "a b"),
    Case("a failed import", {"a": "try:\n    import extra_of_mine\nexcept ImportError:\n    print('none')"}, {}, "a", file_edit={"extra_of_mine.py": "x = 1\n"}),
    Case("a class of a library is patched", {"a": "from fractions import Fraction", "b": "Fraction.twice = lambda self: self * 2", "c": "print(Fraction(1, 2).twice())"}, {"b": "Fraction.twice = lambda self: self * 3"}, "b c", may="a"),
    Case("a setting nobody looks after", {"a": "import sys", "b": "sys.setswitchinterval(0.01)", "c": "print(sys.getswitchinterval())"}, {"b": "sys.setswitchinterval(0.02)"}, "b c"),
    Case("a level of logging", {"a": "import logging\nlog = logging.getLogger('mine')", "b": "log.setLevel('INFO')", "c": "print(log.isEnabledFor(logging.INFO))"}, {"b": "log.setLevel('ERROR')"}, "b c", may="a"),
    Case("numpy's handling of errors", {"a": "import numpy as np", "b": "np.seterr(all='raise')", "c": "try:\n    print(np.float64(1) / np.float64(0))\nexcept FloatingPointError:\n    print('raised')"}, {"b": "np.seterr(all='ignore')"}, "b c", may="a"),
    Case("an accessor that is registered", {"a": "import pandas as pd", "b": "@pd.api.extensions.register_series_accessor('mine')\nclass Mine:\n    def __init__(self, s): self.s = s\n    def n(self): return len(self.s)", "c": "print(pd.Series([1]).mine.n())", "d": "print('end')"}, {"c": "print(pd.Series([1]).mine.n() + 1)"}, "b c", may="d"),
    Case("a secret in the environment", {"a": "import os\nos.environ['MY_TOKEN'] = 'abc'", "b": "print(len(os.environ['MY_TOKEN']))"}, {"b": "print(len(os.environ['MY_TOKEN']) + 1)"}, "a b"),
    Case("a mutable default", {"a": "def f(x, acc=[]):\n    acc.append(x)\n    return acc", "b": "f(1)", "c": "print(f(2))"}, {"b": "f(7)"}, "b c"),
    Case("a view of an array of objects", {"a": "import numpy as np\na = np.array([7, [1]], dtype=object)", "b": "b = a[:1]", "c": "a[0] = 9", "d": "print(b)"}, {"c": "a[0] = 8"}, "c d"),
    Case("top-level await", {"a": "import asyncio\nasync def get():\n    await asyncio.sleep(0)\n    return k", "b": "k = 1", "c": "x = await get()", "d": "print(x)"}, {"b": "k = 2"}, "b c d"),
    Case("a cell magic with a Python body", {"a": "%%capture out\nprint('hidden')\nx = 1", "b": "print(x)"}, {"b": "print(x + 1)"}, "b", may="a"),
    Case("a name bound to a module and then to a value", {"a": "import json as x", "b": "x = 5", "c": "print(x)"}, {"c": "print(x + 1)"}, "c"),
    Case("a deleted name and a function that used it", {"a": "k = 1\ndef f():\n    return k", "b": "v = f()", "c": "del k", "d": "print(v, 'k' in globals())"}, {"a": "k = 2\ndef f():\n    return k"}, "a b d", may="c"),
    Case("a display that is updated", {"a": "from IPython.display import display\nh = display('one', display_id='fixed')", "b": "h.update('two')"}, {}, "", may="a b"),
    Case("a decorator that calls at once", {"a": "def call(f):\n    f()\n    return f", "b": "k = 1", "c": "@call\ndef g():\n    print(k)"}, {"b": "k = 2"}, "b c"),
    Case("a base class that runs a method", {"a": "class Base:\n    def __init_subclass__(cls):\n        cls.go()", "b": "k = 1", "c": "class Sub(Base):\n    @staticmethod\n    def go():\n        print(k)"}, {"b": "k = 2"}, "b c"),
    Case("a lambda that runs at once", {"a": "k = 1", "b": "y = sorted([3, 1], key=lambda v: v * k)", "c": "print(y)"}, {"a": "k = -1"}, "a b c"),
    Case("a function in a function", {"a": "k = 1", "b": "def f():\n    def g():\n        return k\n    return g", "c": "h = f()", "d": "print(h())"}, {"a": "k = 2"}, "a d", may="c b"),
    Case("an attribute of an object that holds a function", {"a": "class Box: pass\nbox = Box()\nbox.f = lambda: k", "b": "k = 1", "c": "print(box.f())"}, {"b": "k = 2"}, "b c"),
    Case("a partial and a bound method", {"a": "from functools import partial\ndef f(a, b): return a + b + k\ng = partial(f, 1)", "b": "k = 1", "c": "m = [].append\nprint(g(2))"}, {"b": "k = 5"}, "b c"),
    Case("a property of a class", {"a": "class P:\n    @property\n    def v(self): return k", "b": "k = 1", "c": "p = P()", "d": "print(p.v)"}, {"b": "k = 2"}, "b d", may="c"),
    Case("a cell that says it reads a name", {"a": "k = 1", "b": "# nbrewind: reads=k\nprint('b')", "c": "print('c')"}, {"a": "k = 2"}, "a b"),
    Case("state inside a module", {"a": "import math", "b": "math.kk = 1", "c": "print(math.kk)"}, {"b": "math.kk = 2"}, "b c", may="a"),
    Case("state inside a module that stays", {"a": "import math", "b": "math.kk = 1", "c": "print(math.kk)"}, {}, "b", may="a"),
    # Found by generated notebooks (tests/python/generated).
    Case("a name that is bound again as it was", {"a": "x = [1]", "b": "x = [1]", "c": "print(x)"}, {"a": "", "c": "print(x, 2)"}, "c"),
    Case("a name that may be bound again as it was", {"a": "y = 1", "b": "if len('ab') > 1:\n    y = 1", "c": "print(y)"}, {"a": "", "c": "print(y, 2)"}, "b c"),
    Case("a name that the end of `except` takes away", {"a": "z = 1", "b": "try:\n    1 / 0\nexcept ZeroDivisionError as err:\n    print('caught')", "c": "print('err' in dir())"}, {"a": "err = 5"}, "a b", may="c"),
    Case("a filter of warnings that a function sets", {"a": "import warnings\ndef quiet():\n    warnings.simplefilter('ignore')", "b": "quiet()", "c": "warnings.warn('x')\nprint(1)"}, {"c": "warnings.warn('x')\nprint(2)"}, "c"),
    Case("traps of decimal numbers", {"a": "import decimal\ndef strict():\n    decimal.getcontext().traps[decimal.Inexact] = True", "b": "strict()", "c": "try:\n    print(decimal.Decimal(1) / 3)\nexcept decimal.Inexact:\n    print('trapped')"}, {"c": "try:\n    print(decimal.Decimal(1) / 7)\nexcept decimal.Inexact:\n    print('trapped')"}, "c"),
    Case("what a cell magic binds when its body has ended", {"a": "%%capture out\nprint('hidden')", "b": "print(out.stdout)"}, {"b": "print(out.stdout, 1)"}, "b", may="a"),
    Case("the source of a function of a replayed cell", {"a": "def f():\n    return 1", "b": "import inspect\nprint(inspect.getsource(f))"}, {"b": "import inspect\nprint(inspect.getsource(f), 1)"}, "b"),
    Case("two values that cannot be loaded", {"d": "def items(n):\n    try:\n        yield from range(n)\n    finally:\n        pass", "a": "g = items(3)\n_ = next(g)", "b": "h = items(4)\n_ = next(h)", "c": "print(next(g), next(h))"}, {"c": "print(next(h), next(g), 1)"}, "a b c"),
    Case("an object that a module has as well", {"a": "from helpers import SEEN", "b": "from helpers import note", "c": "note(1)\nprint(SEEN)"}, {"c": "note(2)\nprint(SEEN)"}, "a c", may="b", files={"helpers.py": "SEEN = []\n\n\ndef note(x):\n    SEEN.append(x)\n"}),
    Case("a seed that is set again as it was", {"a": "import random\nrandom.seed(2)", "b": "random.seed(8)", "c": "z = random.seed(8)", "d": "print(random.random())"}, {"b": "", "d": "print(random.random(), 1)"}, "c d"),
]  # fmt: skip


# What these draw is another thing in every run: only shadow mode can compare.
DRAWS = {"unseeded draws are replayed as they were"}


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.title not in DRAWS], ids=lambda case: case.title
)
def test_repeat(case: Case, lab: Lab) -> None:
    # Forked kernels; the truth is a run without NBRewind.
    found = lab.check(case.generated())
    assert found.differences == []
    executed, must, may = found.executed[0], set(case.executed.split()), set(case.may.split())
    assert must <= executed, found.missed
    assert executed <= must | may, (executed - must - may, found.missed)


# Every eighth case, and those that forked kernels cannot compare, as the command line runs them.
WITH_SOCKETS = [case for at, case in enumerate(CASES) if at % 8 == 0 or case.title in DRAWS]


@pytest.mark.parametrize("case", WITH_SOCKETS, ids=[case.title for case in WITH_SOCKETS])
def test_repeat_in_kernels_with_sockets(case: Case, tmp_path: Path) -> None:
    book = Book(tmp_path / "here", case.cells)
    write_files(book.folder, dict(case.files))
    book.audit()
    book.edit(**case.edit)
    write_files(book.folder, case.file_edit)
    shown = book.repeat()
    executed = book.executed
    must, may = set(case.executed.split()), set(case.may.split())
    # Shadow mode executes everything: it is the run from scratch, and compares every record with it.
    truth = book.repeat(shadow=True)
    if not any(item.get("marks") for item in book.reports) and "uuid" not in str(case.cells):
        assert shown == truth
    assert book.summary["shadow"]["differences"] == []
    assert must <= executed, book.reports
    assert executed <= must | may, executed - must - may


def test_a_repeat_that_begins_again_finds_the_files_as_they_were(tmp_path: Path) -> None:
    cells = {
        "a": "with open('log.txt', 'a') as file:\n    _ = file.write('x')",
        "b": "import threading\ng = threading.Thread(target=print)",
        "c": "print(open('log.txt').read())\nprint(g.is_alive())",
    }
    book = Book(tmp_path / "here", cells)
    book.audit()
    # The cell that appends executes: its file has another content now. Then the thread turns out to be needed, and
    # the second time the run of the first time stands for it: one x was added. The report tells of both times.
    shown = book.repeat()
    assert book.executed == {"a", "b", "c"}
    assert shown["c"] == [("stdout", "xx\nFalse\n")]
    assert (book.folder / "log.txt").read_text() == "xx"


COMMANDS = {
    "a command": "!echo x >> log.txt",
    "a command with a name in it": "p = 'log.txt'\n!echo x >> {p}",
    "a script": "%%bash\necho x >> log.txt",
    "a program": "import subprocess\n_ = subprocess.run(['sh', '-c', 'echo x >> log.txt'])",
}


@pytest.mark.parametrize("what", COMMANDS)
def test_a_repeat_that_begins_again_finds_files_as_they_were_before_a_program(
    what: str, tmp_path: Path
) -> None:
    cells = {
        "a": COMMANDS[what],
        "b": "import threading\ng = threading.Thread(target=print)",
        "c": "print(open('log.txt').read())\nprint(g.is_alive())",
    }
    book = Book(tmp_path / "here", cells)
    book.audit()
    shown = book.repeat()
    assert book.executed == {"a", "b", "c"}
    assert shown["c"] == [("stdout", "x\nx\n\nFalse\n")]


ELSEWHERE = {
    "a cluster": "from dask.distributed import Client\nclient = Client(n_workers=1, dashboard_address=':0')\n"
    "_ = client.submit(add, 'log.txt').result()",
    "processes": "import dask\n_ = dask.delayed(add)('log.txt').compute(scheduler='processes')",
    "a pool": "from concurrent.futures import ProcessPoolExecutor\nwith ProcessPoolExecutor(1) as pool:\n"
    "    _ = pool.submit(add, 'log.txt').result()",
}


@pytest.mark.parametrize("where", ELSEWHERE)
def test_a_repeat_that_begins_again_finds_files_as_they_were_before_tasks(
    where: str, tmp_path: Path
) -> None:
    cells = {
        "add": "def add(path):\n    with open(path, 'a') as file:\n        return file.write('x')",
        "a": ELSEWHERE[where],
        "b": "import threading\ng = threading.Thread(target=print)",
        "c": "print(open('log.txt').read())\nprint(g.is_alive())",
    }
    book = Book(tmp_path / "here", cells)
    book.audit()
    shown = book.repeat()
    assert book.executed == {"a", "b", "c"}
    assert shown["c"] == [("stdout", "xx\nFalse\n")]


def test_what_a_program_changes_unseen_is_named_when_a_repeat_begins_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cells = {
        "a": "import subprocess, sys\n_ = subprocess.run([sys.executable, 'write.py'])",
        "b": "import threading\ng = threading.Thread(target=print)",
        "c": "print(g.is_alive())",
    }
    book = Book(tmp_path / "here", cells)
    write_files(
        book.folder,
        {"write.py": "with open('lo' + 'g.txt', 'a') as f: f.write('x')", "log.txt": ""},
    )
    book.audit()
    book.repeat()
    assert "log.txt was changed and could not be kept" in capfd.readouterr().err


def test_the_source_of_a_function_that_an_earlier_text_made(tmp_path: Path) -> None:
    function = "def f(one):\n    return one + 8"
    book = Book(tmp_path / "here", {"a": f"{function}\nprint(3)"})
    book.audit()
    book.edit(a=f"k = 1\n{function}")
    book.repeat()
    book.edit(b="import inspect\nprint(inspect.getsource(f))")
    shown = book.repeat()
    assert shown == book.from_scratch()

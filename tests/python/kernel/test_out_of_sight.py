# ruff: noqa: E501 - a case is one line of a table
"""What code reaches without naming it: each notebook once gave, after its edit, what no run from scratch gives.

Written by hand to break the rule, one for each way in which they did. They run as those of `test_repeat_rule.py` do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nbrewind.kernel import hidden, session
from tests.python.books import Book, restore
from tests.python.generated.check import Lab
from tests.python.kernel.test_repeat_rule import Case

P1 = "class P:\n    def m(self): return 1"
P2 = "class P:\n    def m(self): return 2"
CALENDAR = "print(calendar.month(2024, 2))"

CASES = [
    # Names by other ways than by name.
    Case("the notebook as a module", {"a": "x = 1", "b": "def f():\n    import __main__\n    return __main__.x", "c": "print(f())"}, {"a": "x = 2"}, "a c"),
    Case("the notebook as a module by a name", {"a": "x = 1", "b": "import __main__ as m", "c": "print(m.x)"}, {"a": "x = 2"}, "a b c"),
    Case("the globals of a frame", {"a": "import sys\nx1 = 1", "b": "def f(k): return sys._getframe().f_globals['x' + str(k)]", "c": "print(f(1))"}, {"a": "import sys\nx1 = 2"}, "a c", may="b"),
    Case("the globals of a function", {"a": "x1 = 1", "b": "def f(): return f.__globals__['x' + str(1)]", "c": "print(f())"}, {"a": "x1 = 2"}, "a c"),
    Case("the shell's namespace", {"a": "x1 = 1", "b": "def f(k): return get_ipython().user_ns['x' + k]", "c": "print(f('1'))"}, {"a": "x1 = 2"}, "a c", may="b"),
    Case("a query that comes from a value", {"a": "import pandas as pd\ndf = pd.DataFrame({'a': [1, 2, 3]})\nrules = [{'e': 'a > @thr'}]", "b": "thr = 1", "c": "for r in rules:\n    print(len(df.query(r['e'])))"}, {"b": "thr = 2"}, "b c"),
    Case("a text that a function puts together and evaluates", {"a": "import pandas as pd\nd1 = pd.Series([1, 2])", "b": "def ev(n): return pd.eval('d' + n + ' * 2').tolist()", "c": "print(ev('1'))"}, {"a": "import pandas as pd\nd1 = pd.Series([1, 3])"}, "a c"),
    Case("a class that a pickle names", {"a": P1, "b": "import pickle\ns = pickle.dumps(P())", "c": "q = pickle.loads(s)", "d": "print(q.m())"}, {"a": P2}, "a b c d"),
    Case("a class of a pickle that is loaded again", {"a": P1, "b": "from pickle import dumps, loads\ns = dumps(P())", "c": "q = loads(s)", "d": "print(q.m())"}, {"c": "q = [loads(s)][0]"}, "c", may="d"),
    Case("subclasses", {"a": "class Base:\n    @classmethod\n    def kinds(cls): return sorted(c.__name__ for c in cls.__subclasses__())", "b": "class A(Base): pass", "c": "print(Base.kinds())"}, {"b": "class A2(Base): pass"}, "b c"),
    Case("classes that are registered with an abstract one", {"a": "import abc\nclass A(abc.ABC): pass\nclass B: pass", "b": "A.register(B)", "c": "print(isinstance(B(), A))"}, {"c": "print(isinstance(B(), A), 1)"}, "c", may="b"),
    Case("a name in an annotation", {"a": "import typing\ndef f(a: 'K'): pass", "b": "K = int", "c": "print(typing.get_type_hints(f))"}, {"b": "K = str"}, "b c"),
    Case("an annotation", {"a": "def f(a: int): pass", "b": "print(f.__annotations__)"}, {"a": "def f(a: str): pass"}, "a b"),
    Case("magics that show names", {"a": "x = 1", "b": "%who_ls"}, {"a": "y = 1"}, "a b"),
    Case("a function that is called as a magic is", {"a": "def run(v=1): return v", "b": "run()"}, {"b": "run(3)"}, "b"),
    # Names of the shell and of modules.
    Case("an underscore of the user's", {"a": "_ = str.upper", "b": "def t(): return _('x')", "c": "print(t())"}, {"c": "print(t(), 1)"}, "a c", may="b"),
    Case("a name between two underscores", {"a": "__version__ = '1'", "b": "def v(): return __version__", "c": "print(v())"}, {"c": "print(v(), 1)"}, "c"),
    Case("an `open` of the user's", {"a": "def open(p): return 'fake ' + p", "b": "print(open('x'))"}, {"b": "print(open('y'))"}, "b"),
    Case("results that a function reads", {"a": "5", "b": "def last(): return Out[1]", "c": "print(last())"}, {"a": "6"}, "a c", may="b"),
    Case("the order of names", {"a": "zz = 1", "b": "aa = 2", "c": "print([n for n in globals() if len(n) == 2 and n[0] == n[1] and n[0] != '_'])"}, {"c": "print([n for n in globals() if len(n) == 2 and n[0] == n[1] and n[0] != '_'], 1)"}, "c"),
    Case("the order of names that one cell binds", {"a": "zz = 1\naa = 1\nmm = []\nbb = mm", "b": "import json as jj", "c": "print([n for n in globals() if len(n) == 2 and n[0] == n[1] and n[0] != '_'])"}, {"c": "print([n for n in globals() if len(n) == 2 and n[0] == n[1] and n[0] != '_'], 1)"}, "c"),
    Case("the order of names that are bound again", {"a": "zz = 1", "b": "aa = 2", "c": "zz = 5", "d": "print([n for n in globals() if len(n) == 2 and n[0] == n[1] and n[0] != '_'])"}, {"b": "aa = 7"}, "b d"),
    Case("the order of names that came back", {"a": "zz = 1\naa = 1", "b": "del zz", "c": "zz = 5", "d": "print([n for n in globals() if len(n) == 2 and n[0] == n[1] and n[0] != '_'])"}, {"d": "print([n for n in globals() if len(n) == 2 and n[0] == n[1] and n[0] != '_'], 1)"}, "d"),
    Case("the order of names of which some are loaded", {"a": "zz = 1", "b": "import time\naa = 2", "c": "cc = [zz]", "d": "ee = [n for n in globals() if len(n) == 2 and n[0] == n[1] and n[0] != '_']\nprint(ee)"}, {"c": "cc = [zz, 1]"}, "c d"),
    # State of libraries.
    Case("a setting in a function", {"a": "import calendar\ndef setup(n): calendar.setfirstweekday(n)", "b": "setup(6)", "c": CALENDAR}, {"c": CALENDAR + "\nprint(1)"}, "b c"),
    Case("a setting in a loop", {"a": "import calendar", "b": "for n in [6]:\n    calendar.setfirstweekday(n)", "c": CALENDAR}, {"b": "for n in [0]:\n    calendar.setfirstweekday(n)"}, "b c"),
    Case("a setting of which the result is kept", {"a": "import socket", "b": "old = socket.setdefaulttimeout(5)", "c": "print(socket.getdefaulttimeout())"}, {"b": "old = socket.setdefaulttimeout(7)"}, "b c"),
    Case("an attribute of a module that a function sets", {"a": "import math\ndef setup(n): math.kk = n", "b": "setup(1)", "c": "print(math.kk)"}, {"b": "setup(2)"}, "b c"),
    Case("a class of a library that a function patches", {"a": "from fractions import Fraction\ndef patch(n): Fraction.twice = lambda self: self * n", "b": "patch(2)", "c": "print(Fraction(1, 2).twice())"}, {"b": "patch(3)"}, "b c"),
    Case("a name that a patch of a library reads", {"a": "from fractions import Fraction\nFraction.times = lambda self: self * k", "b": "k = 2", "c": "print(Fraction(1, 2).times())"}, {"b": "k = 3"}, "a b c"),
    Case("a table of a library", {"a": "import mimetypes", "b": "mimetypes.types_map['.zz'] = 'a/b'", "c": "print(mimetypes.types_map['.zz'])"}, {"c": "print(mimetypes.types_map['.zz'], 1)"}, "b c"),
    Case("what the import of a module sets", {"a": "import rm", "b": f"import calendar\n{CALENDAR}"}, {}, "a b", files={"rm.py": "import calendar\ncalendar.setfirstweekday(6)\n"}, file_edit={"rm.py": "import calendar\ncalendar.setfirstweekday(0)\n"}),
    Case("the parameters of matplotlib by their own name", {"a": "import matplotlib\nmatplotlib.use('agg')\nfrom matplotlib import rcParams\nimport matplotlib.pyplot as plt", "b": "rcParams['lines.linewidth'] = 3", "c": "rcParams['lines.linewidth'] = 5\nprint(plt.plot([1, 2])[0].get_linewidth())\nplt.close('all')"}, {"c": "rcParams['lines.linewidth'] = 6\nprint(plt.plot([1, 2])[0].get_linewidth())\nplt.close('all')"}, "c", may="a"),
    Case("the environment by its own name", {"a": "from os import environ\nimport os", "b": "environ['NB_Q'] = '1'", "c": "environ['NB_Q'] += '2'\nprint(os.environ['NB_Q'])\ndel environ"}, {"c": "environ['NB_Q'] += '3'\nprint(os.environ['NB_Q'])\ndel environ"}, "c"),
    Case("the module path by its own name", {"a": "from sys import path\nimport sys", "b": "path.append('lib1')", "c": "path.append('lib2')\nprint(sys.path[-2:])\ndel path"}, {"c": "path.append('lib3')\nprint(sys.path[-2:])\ndel path"}, "c"),
    Case("a generator by the name of its function", {"a": "import random as rm\nrm.seed(5)\nfrom random import random", "b": "x = random()", "c": "print(rm.random(), random())"}, {"c": "print(rm.random(), random(), 1)"}, "c"),
    Case("a seed by another name", {"a": "import random\nr = random.seed", "b": "r(1)", "c": "print(random.random())"}, {"b": "r(2)"}, "b c"),
    Case("handlers of logging", {"a": "import logging, sys\ndef setup(form):\n    h = logging.StreamHandler(sys.stdout)\n    h.setFormatter(logging.Formatter(form))\n    logging.getLogger('mine').handlers = [h]", "b": "setup('A %(message)s')", "c": "logging.getLogger('mine').warning('x')"}, {"b": "setup('B %(message)s')"}, "b c"),
    Case("the handler that an import makes", {"a": "import chatty", "b": "import logging\nlogging.getLogger('other').warning('x')", "c": "logging.getLogger('other').warning('y')"}, {"c": "logging.getLogger('other').warning('z')"}, "c", files={"chatty.py": "import logging\nlogging.getLogger('other').addHandler(logging.StreamHandler())\n"}),
    Case("the handler that a first message makes", {"a": "import logging", "b": "logging.warning('x')", "c": "logging.getLogger('mine').warning('y')"}, {"c": "logging.getLogger('mine').warning('z')"}, "c"),
    Case("a setting that is given a name", {"a": "import logging, sys\nlogging.basicConfig(stream=sys.stdout, level=logging.INFO)", "b": "LEVEL = logging.INFO", "c": "logging.disable(LEVEL)", "d": "logging.info('x')"}, {"b": "LEVEL = 0"}, "b c d"),
    Case("a setting that is given a name of its own cell", {"a": "import logging, sys\nLEVEL = logging.INFO\nlogging.disable(LEVEL)", "b": "logging.info('x')"}, {"a": "import logging, sys\nLEVEL = 0\nlogging.disable(LEVEL)"}, "a b"),
    Case("a setting of pandas that is given a name", {"a": "import pandas as pd\nN = 2", "b": "pd.set_option('display.precision', N)", "c": "pd.Series([1.23456])"}, {"a": "import pandas as pd\nN = 3"}, "a b c"),
    Case("an option of pandas that is put back", {"a": "import pandas as pd\nold = pd.options.display.max_rows", "b": "pd.options.display.max_rows = 7", "c": "pd.options.display.max_rows = old", "d": "print(pd.options.display.max_rows)"}, {"a": "import pandas as pd\nold = 9"}, "c d", may="a b"),
    Case("an import that shows something", {"a": "import sys\nsys.path.insert(0, 'site-packages')", "b": "import showing", "c": "print(showing.KIND)"}, {"c": "print(showing.KIND, 1)"}, "c", files={"site-packages/showing.py": "from IPython.display import HTML, display\nKIND = 1\ndisplay(HTML('loaded'))\n"}),
    Case("a setting that shows something", {"a": "import sys\nsys.path.insert(0, 'site-packages')", "b": "import holoviews as hv\nhv.extension('x')", "c": "print(hv.KINDS)"}, {"c": "print(hv.KINDS, 1)"}, "c", files={"site-packages/holoviews.py": "from IPython.display import HTML, display\nKINDS = []\ndef extension(kind):\n    KINDS.append(kind)\n    display(HTML('loaded'))\n"}),
    Case("a library that asks whether it is in a notebook", {"a": "import sys\nsys.path.insert(0, 'site-packages')", "b": "import showy", "c": "print(showy.KIND)"}, {"c": "print(showy.KIND, 1)"}, "c", files={"site-packages/showy.py": "try:\n    KIND = type(get_ipython()).__name__\nexcept NameError:\n    KIND = 'none'\n"}),
    Case("a backend that is given a name", {"a": "import matplotlib\nB = 'agg'", "b": "matplotlib.use(B)", "c": "print(matplotlib.get_backend())"}, {"a": "import matplotlib\nB = 'svg'"}, "a b c"),
    Case("the name of a level", {"a": "import logging", "b": "logging.addLevelName(25, 'NOTE')", "c": "print(logging.getLevelName(25))"}, {"c": "print(logging.getLevelName(25), 1)"}, "b c"),
    Case("warnings that are logged", {"a": "import logging, sys, warnings\nlogging.basicConfig(stream=sys.stdout)", "b": "logging.captureWarnings(True)", "c": "warnings.warn('w')"}, {"b": ""}, "c"),
    Case("colours that are registered", {"a": "import matplotlib as mpl\nfrom matplotlib.colors import ListedColormap\ncm = ListedColormap(['r'], name='mine')", "b": "mpl.colormaps.register(cm)", "c": "print(mpl.colormaps['mine'](0))"}, {"c": "print(mpl.colormaps['mine'](1))"}, "b c"),
    Case("colours that are registered by an object's own name", {"a": "import matplotlib\nfrom matplotlib import colormaps\nfrom matplotlib.colors import ListedColormap", "b": "colormaps.register(ListedColormap(['r'], name='mine'))", "c": "print(matplotlib.colormaps['mine'](0))\ndel colormaps"}, {"c": "print(matplotlib.colormaps['mine'](1))\ndel colormaps"}, "b c"),
    Case("a setting that a file gives", {"a": "import math\ndef setup():\n    with open('c.txt') as f: math.kk = f.read()", "b": "setup()", "c": "print(math.kk)"}, {}, "b c", files={"c.txt": "x"}, file_edit={"c.txt": "y"}),
    Case("a setting that the environment gives", {"a": "import math, os\nos.environ['NB_K'] = '1'", "b": "math.kk = os.environ['NB_K']", "c": "del os.environ['NB_K']", "d": "print(math.kk)"}, {"a": "import math, os\nos.environ['NB_K'] = '2'"}, "a b d", may="c"),
    Case("what a script sets that is executed", {"a": "exec(open('s.py').read())", "b": "import math\nprint(math.kk)"}, {}, "a b", files={"s.py": "import math\nmath.kk = 5\n"}, file_edit={"s.py": "import math\nmath.kk = 6\n"}),
    Case("what a script sets that is run", {"a": "%run s.py", "b": "import math\nprint(math.kk)", "c": "print(k)"}, {}, "a b", may="c", files={"s.py": "import math\nmath.kk = 5\nk = 1\n"}, file_edit={"s.py": "import math\nmath.kk = 6\nk = 1\n"}),
    Case("a magic that is called", {"a": "get_ipython().run_line_magic('precision', '3')", "b": "3.14159265"}, {"a": "get_ipython().run_line_magic('precision', '5')"}, "a b"),
    Case("magics that show something are shown once", {"a": "%%html\n<b>x</b>", "b": "a = 1", "c": "print?", "d": "%%markdown\n# T", "e": "print(a)"}, {"b": "a = 2"}, "b e"),
    Case("another title sets nothing", {"a": "%%markdown\n# T", "b": "x = 1", "c": "print(x)"}, {"a": "%%markdown\n# U"}, "a"),
    Case("what a library gives and keeps", {"a": "import matplotlib.colors as mc\nfrom mimetypes import types_map\ndef add(table, name): table[name] = 'a/b'", "b": "mc.get_named_colors_mapping()['mine'] = '#123456'\ndef use(): mc.get_named_colors_mapping().update(ours='r')", "c": "use()", "d": "types_map['.z1'] = 'a/b'", "e": "import mimetypes\nadd(mimetypes.types_map, '.z2')", "f": "held = {'types': mimetypes.types_map}", "g": "held['types']['.z3'] = 'a/b'", "h": "print(mc.to_hex('mine'), mc.to_hex('ours'), [mimetypes.types_map.get(f'.z{i}') for i in (1, 2, 3)])"}, {"h": "print(1, mc.to_hex('mine'), mc.to_hex('ours'), [mimetypes.types_map.get(f'.z{i}') for i in (1, 2, 3)])"}, "b c d e f g h"),
    Case("what tells a library of itself", {"a": "import yaml, weakref, calendar\nfrom collections.abc import Sequence\nfrom functools import partial\nfirst = partial(calendar.setfirstweekday, 6)\nclass P: pass\np = P()", "b": "class Pt(yaml.YAMLObject):\n    yaml_tag, yaml_loader = '!Pt', yaml.SafeLoader\n    def __repr__(self): return 'Pt'", "c": "yaml.SafeLoader.add_constructor('!j', lambda loader, node: 'J')", "d": "Sequence.register(P)", "e": "_ = weakref.finalize(p, print, 'gone')", "f": "first()", "g": "print(yaml.safe_load('[!Pt {x: 1}, !j x]'), isinstance(p, Sequence), calendar.firstweekday())\np = None"}, {"g": "print(yaml.safe_load('[!Pt {x: 1}, !j x]'), isinstance(p, Sequence), calendar.firstweekday())\np = None\nprint(1)"}, "a b c d e f g"),
    Case("settings by their own objects", {"a": "import decimal, random\ncontext = decimal.getcontext()\nsow = random.Random.seed", "b": "context.prec = 7", "c": "sow(random._inst, 3)", "d": "x = decimal.Decimal(1) / 3\nprint(x, random.random())"}, {"b": "context.prec = 5", "d": "x = decimal.Decimal(1) / 3\nprint(x, random.random(), 1)"}, "b d", may="c"),
    Case("tests in docstrings", {"a": "def f(x):\n    '>>> f(1)\\n2'\n    return x + k", "b": "k = 1", "c": "import doctest\nprint(doctest.testmod())"}, {"c": "import doctest\nprint(doctest.testmod(), 1)"}, "c"),
    # Objects.
    Case("what a cache holds", {"a": "from functools import lru_cache\n@lru_cache\ndef f(x): return x * 2", "b": "f(1)", "c": "print(f(1), f.cache_info())"}, {"b": "f(2)"}, "b c", may="a"),
    Case("an attribute of an enum", {"a": "import enum\nclass E(enum.Enum):\n    A = 1", "b": "E.extra = 5", "c": "print(E.extra)"}, {"b": "E.extra = 6"}, "b c"),
    Case("a value whose end prints", {"a": "class P:\n    def __del__(self): print('gone')", "b": "p = P()", "c": "p = None\nprint('c')"}, {"c": "p = None\nprint('d')"}, "c"),
    Case("a generator with something to do at its end", {"a": "def g():\n    try:\n        yield 1\n    finally:\n        print('closed')", "b": "it = g()\nprint(next(it))", "c": "it = None"}, {}, "b c"),
    Case("a file that was not closed", {"a": "f = open('o.txt', 'w')\n_ = f.write('hello')", "b": "f = None", "c": "print(open('o.txt').read())"}, {"c": "print(open('o.txt').read(), 1)"}, "c"),
    Case("pickling that prints", {"a": "class P:\n    def __init__(self): self.v = [1]\n    def __getstate__(self):\n        print('getstate')\n        return self.__dict__\n    def __setstate__(self, s):\n        print('setstate')\n        self.__dict__.update(s)", "b": "p = P()", "c": "print(p.v)"}, {"c": "print(p.v, 1)"}, "c"),
    Case("the line of an error", {"a": "def f(x):\n    return 1 / x", "b": "import sys\ntry:\n    f(0)\nexcept ZeroDivisionError as e:\n    print(e.__traceback__.tb_next.tb_lineno)"}, {"a": "def f(x):\n    # one\n    return 1 / x"}, "b", may="a"),
    # Files.
    Case("what a listing tells of its files", {"a": "import os\nprint(sorted((e.name, e.stat().st_size) for e in os.scandir('d')))"}, {}, "a", files={"d/a.txt": "x"}, file_edit={"d/a.txt": "longer"}),
    Case("a database in a repeat that begins again", {"a": "import sqlite3\nwith sqlite3.connect('w.db') as con: con.execute('create table if not exists t (x)')\ncon.close()", "b": "with sqlite3.connect('w.db') as con: con.execute('insert into t values (1)')\ncon.close()", "c": "def items():\n    try:\n        yield from 'xyz'\n    finally:\n        pass", "d": "rest = items()\n_ = next(rest)", "e": "with sqlite3.connect('w.db') as con: print(con.execute('select count(*) from t').fetchone(), next(rest))\ncon.close()"}, {"e": "with sqlite3.connect('w.db') as con: print(con.execute('select count(*) from t').fetchone(), next(rest), 1)\ncon.close()"}, "a b d e", may="c"),
    Case("a log that an earlier cell opened", {"a": "import logging, os\nlogging.getLogger('fl').setLevel('INFO')\nlogging.getLogger('fl').addHandler(logging.FileHandler('r.log', mode='w'))", "b": "os.environ.setdefault('NB_D', '1')", "c": "logging.getLogger('fl').info('one')", "d": "print(open('r.log').read(), os.environ['NB_D'])"}, {"d": "print(open('r.log').read(), os.environ['NB_D'], 1)"}, "a c d"),
    Case("a line of a file", {"a": "import linecache\nprint(linecache.getline('a.txt', 1))"}, {}, "a", files={"a.txt": "x\n"}, file_edit={"a.txt": "y\n"}),
    Case("data of a package of the user's", {"a": "import pkgutil\nprint(pkgutil.get_data('mypkg', 'd.txt'))"}, {}, "a", files={"mypkg/__init__.py": "", "mypkg/d.txt": "x"}, file_edit={"mypkg/d.txt": "y"}),
    Case("what may be done with a file", {"a": "_ = open('s.sh', 'w').write('x')", "b": "import os\nos.chmod('s.sh', 0o755)", "c": "print(os.access('s.sh', os.X_OK))"}, {"b": "import os\nos.chmod('s.sh', 0o644)"}, "b c", may="a"),
    Case("where a link leads", {"a": "import os\nos.symlink('one', 'now')", "b": "print(open('now/a.txt').read(), os.readlink('now'))"}, {"a": "import os\nos.remove('now')\nos.symlink('two', 'now')"}, "a b", files={"one/a.txt": "1", "two/a.txt": "2"}),
    Case("a command of the shell", {"a": "!cat d.txt", "b": "x = 1", "c": "%ls"}, {}, "a c", files={"d.txt": "x\n"}, file_edit={"d.txt": "y\n"}),
    Case("a pool of processes", {"a": "import multiprocessing as mp\ndef n(p): return len(open(p).read())", "b": "with mp.get_context('fork').Pool(1) as pool: r = pool.map(n, ['d.txt'])\ndel pool\nprint(r)"}, {}, "b", files={"d.txt": "x\n"}, file_edit={"d.txt": "longer\n"}),
    Case("when a file was changed", {"a": "import os\nfrom pathlib import Path\n_ = open('s', 'w').write('x')\nos.utime('s', (5, 5))", "b": "def when(): return int(Path('s').stat().st_mtime)", "c": "print(when())"}, {"a": "import os\nfrom pathlib import Path\n_ = open('s', 'w').write('x')\nos.utime('s', (6, 6))"}, "a c"),
    Case("a module that is loaded already", {"a": "def get():\n    import importlib\n    return importlib.import_module('l' + 'ate')", "b": "_ = get()", "c": "print(get().K)"}, {}, "b c", may="a", files={"late.py": "K = 1\n"}, file_edit={"late.py": "K = 2\n"}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_what_is_not_named_is_seen_all_the_same(case: Case, lab: Lab) -> None:
    found = lab.check(case.generated())
    assert found.differences == []
    executed, must, may = found.executed[0], set(case.executed.split()), set(case.may.split())
    assert must <= executed, found.missed
    assert executed <= must | may, executed - must - may


ORDINARY = """
def plot(df, ax):
    plt.figure(figsize=(3, 4)); ax.set_title('x'); plt.setp(ax.get_xticklabels(), rotation=45)
    plt.rcParams.update({'lines.linewidth': 2}); plt.rcParams['font.size'] = 8
    plt.savefig('a.png'); plt.show(); plt.close('all')
    pd.options.display.precision = 3; pd.set_option('display.max_rows', 5)
    logging.info('x'); os.makedirs('d', exist_ok=True); os.environ['A'] = '1'; sys.path.append('x')
    np.random.seed(1); random.shuffle([1]); np.fill_diagonal(df, 0)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
    s = set(); s.add(1); d = {}; d['a'] = 1; setattr(ax, 'z', 1)
    print(json.dumps(d)); np.set_printoptions(precision=3); np.seterr(all='ignore')
    df.loc[0, 'a'] = 5; df.columns = list('ab'); df.attrs['x'] = 1
class Model:
    registry = {}
    def __init__(self): self.x = 1; Model.registry['a'] = self; type(self).count = 5
    def fit(self): self.y = np.zeros(3); self.y[0] = 1; return self
"""
CALLS = "plot(1, 2)\nm = Model().fit()\nm.registry['q'] = 1\nModel.z = 3"


def test_what_functions_usually_do_hides_nothing() -> None:
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec("import json, logging, os, random, sys, warnings\nimport numpy as np, pandas as pd", scope)
    exec("import matplotlib\nmatplotlib.use('agg')\nimport matplotlib.pyplot as plt", scope)
    exec(ORDINARY, scope)
    assert hidden.of_cell(CALLS, session.analyze(CALLS), scope, lambda text: text) == []
    exec("def tune(): np.setbufsize(8192); pd.api.extensions.x = 1; json.JSONEncoder.q = 2", scope)
    why = hidden.of_cell("tune()", session.analyze("tune()"), scope, lambda text: text)
    assert len(why) >= 3, why


def test_what_is_shown_or_made_sets_nothing() -> None:
    text = "np.mean([1])\nlen([1])\nFraction(1)\nsorted([2])\nrow = np.r_[1, 2]\nrow[0] = 3"
    scope: dict[str, Any] = {}
    exec("import numpy as np\nfrom fractions import Fraction", scope)
    assert hidden.of_cell(text, session.analyze(text), scope, lambda one: one) == []
    exec("import inspect, platform", scope)
    for text in ("inspect.signature(sorted)", "x = 1\nplatform.system()"):
        assert hidden.of_cell(text, session.analyze(text), scope, lambda one: one) == []


def test_restored_values_belong_to_their_library(tmp_path: Path) -> None:
    cells = {
        "a": "import os, sys, random\nfrom os import environ\nfrom sys import path\nfrom random import seed, random as draw",
        "b": "environ['NB_R'] = '1'\nseed(4)",
    }
    book = Book(tmp_path / "here", cells)
    book.audit()
    probe = "seed(9)\nprint(environ is os.environ, path is sys.path, random.random() == draw.__self__.random(), os.environ['NB_R'])"
    how, shown = restore(book, "b", "import random\n" + probe)
    assert set(how.values()) <= {"loaded", "rebuilt"}
    assert shown == "True True False 1\n"

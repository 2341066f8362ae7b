# ruff: noqa: E501 - a template is one line of a table
"""What generated cells are made of: one template a line, over names of known kinds.

`{list}` is a list that the notebook has, `{list!}` a name that becomes one, `{list.a}` the same list at every place in
the template; `{i}` is a small number, `{w}` a word, `{any}` any name, there or not. A template whose kinds are not there
yet is not drawn. Everything is deterministic: what draws is seeded, what has no order is sorted.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

# Names by kind. Few, so that notebooks rebind, alias and shadow.
NAMES = {
    "int": ["n", "m", "k"],
    "str": ["s", "t"],
    "list": ["xs", "ys", "zs"],
    "dict": ["d", "e"],
    "set": ["st"],
    "tuple": ["tp"],
    "arr": ["a", "b", "v"],
    "frame": ["df", "dg"],
    "ser": ["col"],
    "func": ["f", "g", "h"],
    "klass": ["P", "Q"],
    "obj": ["p", "q", "r"],
    "gen": ["gen"],
    "iter": ["it"],
    "rng": ["rng"],
    "deque": ["dq"],
    "dec": ["dec"],
    "bytes": ["ba"],
    "point": ["pt"],
    "colour": ["c1"],
    "np": ["np"],
    "pd": ["pd"],
    "helpers": ["helpers"],
    "Point": ["Point"],
    "Colour": ["Colour"],
    "mr": ["mv"],
    "sl": ["sl"],
    "err": ["err"],
    "ctx": ["cm"],
}
ALL_NAMES = sorted({name for names in NAMES.values() for name in names} | {"len", "sum", "ghost"})
WORDS = ["red", "blue", "xs", "n", "k", "dark", "d"]

# Weight, template. Statements of one cell; what is shown is drawn apart.
STATEMENTS: list[tuple[int, str]] = [
    # Values and aliases.
    (4, "{int!} = {i}"),
    (2, "{int!} = {int} + {i}"),
    (3, "{int} += {i}"),
    (1, "{int!} = len({list})"),
    (1, "{int!}, {list!} = {i}, [{i}]"),
    (1, "{int!} = {int!} = {i}"),
    (2, "{str!} = '{w}'"),
    (1, "{str!} = f'{{{int}}}-{{{list}}}'"),
    (1, "{str} += str({int})"),
    (4, "{list!} = [{i}, {i}, {i}]"),
    (3, "{list!} = {list}"),
    (2, "{list!} = list({list})"),
    (1, "{list!} = [{list}, {list}]"),
    (1, "{list!} = sorted({list}, key=lambda one: type(one).__name__)"),
    (2, "{list!} = [{func}(one) for one in ({i}, {i})]"),
    (1, "{list!} = [one for one in range({i}) if one != {int}]"),
    (4, "{list}.append({i})"),
    (2, "{list}.append({int})"),
    (1, "{list}.append({list})"),
    (1, "{list}.append({obj})"),
    (1, "{list} += [{i}]"),
    (1, "{list}[:] = [{i}, {int}]"),
    (1, "{list}.sort(key=lambda one: type(one).__name__)"),
    (1, "{list}.reverse()"),
    (1, "{list}.clear()"),
    (1, "del {list}[-1:]"),
    (1, "{list}.insert(0, {dict})"),
    (1, "first, *{list!} = [{i}, {i}, {i}]"),
    (3, "{dict!} = {{'a': {i}, 'b': {list}}}"),
    (2, "{dict!} = {{'f': {func}, 'n': {int}}}"),
    (2, "{dict!} = {{'f': lambda one: one + {i}, 'l': {list}}}"),
    (1, "{dict!} = dict({dict})"),
    (1, "{dict!} = {dict}"),
    (2, "{dict}['{w}'] = {i}"),
    (1, "{dict}['{w}'] = {list}"),
    (1, "{dict}.setdefault('acc', []).append({i})"),
    (1, "{dict}.pop('{w}', None)"),
    (1, "{dict}.update(a={int}, z={list})"),
    (1, "{dict}['self'] = {dict}"),
    (1, "{dict!} = {{key: value for key, value in reversed(list({dict}.items()))}}"),
    (1, "{set!} = {{'x', 'y', '{w}', 'zz'}}"),
    (1, "{set!} = {{{i}, {i}, {int}}}"),
    (1, "{set}.add('{w}')"),
    (1, "{set}.discard('x')"),
    (1, "{tuple!} = ({list}, {int})"),
    (1, "{tuple!} = ({list.a}, {list.a})"),
    (1, "{tuple}[0].append({i})"),
    (1, "import collections\n{deque!} = collections.deque([{i}, {i}], maxlen=3)"),
    (1, "{deque}.append({int})"),
    (1, "import collections\n{dict.a!} = collections.defaultdict(list)\n{dict.b!} = {dict.a}"),
    (1, "{bytes!} = bytearray(b'abcdef')"),
    (1, "{bytes}[{i}:] = b'zz'"),
    (1, "{bytes.a!} = bytearray(b'abcdefgh')\n{mr!} = memoryview({bytes.a})[2:6]"),
    (1, "{sl!} = slice({i}, None)"),
    (1, "for {int!} in range({i}):\n    pass"),
    (1, "for {int!} in {list.a}:\n    {list.a}.append({i}) if len({list.a}) < 9 else None\n    break"),
    (1, "if {int} > {i}:\n    {list!} = [{i}]\nelse:\n    {int!} = {i}"),
    (1, "while {int.a} < {i}:\n    {int.a} += 1"),
    (1, "{int!} = (lambda *a, **kw: len(a) + len(kw))(*{list}, **{{'z': {int}}})"),
    (2, "del {list}"),
    (1, "del {int}"),
    (1, "del {func}"),
    (1, "import copy\n{dict!} = copy.deepcopy({dict})"),
    (1, "import copy\n{obj!} = copy.deepcopy({obj})"),
    (1, "import pickle\n{list!} = pickle.loads(pickle.dumps([one for one in {list} if isinstance(one, int)]))"),
    (1, "_hidden = {list}\n_hidden.append({i})"),
    # Functions and what they reach.
    (4, "def {func!}(one):\n    return one + {i}"),
    (3, "def {func!}(one):\n    return one + {int}"),
    (3, "def {func!}(one):\n    {list}.append(one)\n    return len({list})"),
    (2, "def {func!}(one):\n    return {func}(one) * {i}"),
    (2, "def {func!}(one, acc=[]):\n    acc.append(one)\n    return list(acc)"),
    (2, "def {func!}(one, acc={list}):\n    acc.append(one)\n    return len(acc)"),
    (2, "def {func!}(one):\n    global {int.a!}\n    {int.a} = one + {i}\n    return {int.a}"),
    (1, "def {func!}(one, by={int}):\n    'adds {w}'\n    return one + by"),
    (2, "def make(start):\n    count = start\n    def step(one):\n        nonlocal count\n        count += one\n        return count\n    return step\n{func!} = make({i})"),
    (1, "def make(box):\n    def put(one):\n        box.append(one)\n        return len(box)\n    def get(one):\n        return list(box)\n    return put, get\n{func!}, h = make({list})"),
    (1, "{func!} = lambda one: one * {int}"),
    (1, "{func!} = lambda one, by={i}: (one, by, {int})"),
    (1, "{func!} = [lambda one, at=at: one + at + {int} for at in range(3)][{i} % 3]"),
    (1, "{func!} = {list}.append"),
    (1, "{func!} = {func}"),
    (1, "from functools import partial\n{func!} = partial(lambda a, b: a + b + {int}, {i})"),
    (1, "from functools import partial\n{func!} = partial(lambda box, one: box.append(one) or len(box), {list})"),
    (2, "from functools import lru_cache\n@lru_cache\ndef {func!}(one):\n    return one + {int}"),
    (1, "def {func!}(one):\n    {func.a!}.calls = getattr({func.a}, 'calls', 0) + 1\n    return {func.a}.calls"),
    (1, "def trace(func):\n    def call(one):\n        {list}.append(one)\n        return func(one)\n    return call\n@trace\ndef {func!}(one):\n    return one - {i}"),
    (1, "def {func!}(one):\n    try:\n        return one + ghost\n    except NameError:\n        return 'no ghost'"),
    (1, "def {func!}(one):\n    return eval('one + {i}')"),
    (1, "def {func!}(one):\n    return globals().get('{any}') is None"),
    (1, "def {func!}(one):\n    import helpers\n    return helpers.scale(one)"),
    (1, "def {func!}(one):\n    return [one for one in (lambda: {list})()]"),
    (1, "async def later(one):\n    return one + {int}\n{int!} = await later({i})"),
    (1, "def {func!}(one):\n    def inner():\n        return {int} + one\n    return inner()"),
    (1, "{func}({i})"),
    (2, "{list!} = [{func}({i})]"),
    (1, "{func}({int})\n{func}({i})"),
    (1, "list(map({func}, [{i}, {i}]))"),
    (1, "def {func.a!}(one):\n    return one + {i}\n{dict!} = {{'f': {func.a}}}"),
    (1, "if {int} > {i}:\n    def {func!}(one):\n        return one\nelse:\n    def {func!}(one):\n        return -one"),
    # Classes and instances.
    (3, "class {klass!}:\n    box = []\n    k = {i}\n    def __init__(self, k=0):\n        self.k = k\n    def go(self, one=1):\n        return self.k + one + {int}"),
    (2, "class {klass!}:\n    box = []\n    k = {i}\n    def __init__(self, k=0):\n        self.l = {list}\n    def go(self, one=1):\n        self.box.append(one)\n        return len(self.box) + len(self.l)"),
    (1, "class {klass!}:\n    made = 0\n    k = {i}\n    box = {list}\n    def __init__(self, k=0):\n        type(self).made += 1\n        self.n = type(self).made\n    def go(self, one=1):\n        return self.n"),
    (1, "class {klass!}({klass}):\n    def go(self, one=1):\n        return ('sub', super().go(one))"),
    (1, "class {klass!}:\n    box = []\n    k = {i}\n    __slots__ = ('x', 'y')\n    def __init__(self, k=0):\n        self.x = k\n    def go(self, one=1):\n        return (self.x, hasattr(self, 'y'))"),
    (1, "class {klass!}:\n    box = []\n    k = {i}\n    def __init__(self, k=0):\n        self.k, self.secret = k, {i}\n    def __getstate__(self):\n        return {{'k': self.k, 'secret': 0}}\n    def go(self, one=1):\n        return (self.k, self.secret)"),
    (1, "class {klass!}:\n    box = []\n    k = {i}\n    def __init__(self, k=0):\n        self.k = k\n    @property\n    def twice(self):\n        return self.k * {int}\n    def go(self, one=1):\n        return self.twice"),
    (1, "class {klass!}(list):\n    box = []\n    k = {i}\n    def __init__(self, k=0):\n        super().__init__([k])\n        self.extra = {list}\n    def go(self, one=1):\n        return (list(self), self.extra)"),
    (1, "class {klass!}:\n    box = []\n    k = {i}\n    def __init__(self, k=0):\n        self.k = k\n    def __eq__(self, other):\n        return True\n    def __hash__(self):\n        return 1\n    def go(self, one=1):\n        return self == {list}"),
    (4, "{obj!} = {klass}({i})"),
    (1, "{obj!} = {obj}"),
    (1, "{obj!} = {klass}({int})\n{obj}.other = {obj.b}"),
    (2, "{obj}.k = {i}"),
    (1, "{obj}.l = {list}"),
    (1, "{obj}.me = {obj}"),
    (1, "{obj}.go()"),
    (1, "{klass}.k = {i}"),
    (2, "{klass}.box.append({i})"),
    (1, "{klass}.go = lambda self, one=1: ('patched', {i})"),
    (1, "{func!} = {obj}.go"),
    (1, "{func!} = {klass}().go"),
    (1, "setattr({obj}, '{w}', {i})"),
    (1, "{dict!} = vars({obj})"),
    (1, "{list!} = [{klass}(one) for one in range(2)]"),
    (1, "from dataclasses import dataclass, field\n@dataclass\nclass {Point!}:\n    x: int = {i}\n    l: list = field(default_factory=list)"),
    (1, "{point!} = {Point}({i}, {list})"),
    (1, "{point!} = {Point}()"),
    (1, "{point}.l.append({i})"),
    (1, "from dataclasses import replace\n{point!} = replace({point}, x={i})"),
    (1, "import enum\nclass {Colour!}(enum.Enum):\n    RED = {i}\n    BLUE = 'b'"),
    (1, "{colour!} = {Colour}.RED"),
    (1, "{dict!} = {{{Colour}.BLUE: {list}}}"),
    (1, "from collections import namedtuple\n{Point!} = namedtuple('{Point.a!}', 'x l')\n{point!} = {Point.a}({i}, {list})"),
    (1, "from types import SimpleNamespace\n{obj!} = SimpleNamespace(k={i}, l={list}, go=lambda one=1: {int})"),
    # Generators and iterators.
    (1, "{gen.a!} = (one * {i} for one in range(20))\nnext({gen.a})"),
    (1, "def series(start):\n    total = start\n    while True:\n        total += {int}\n        yield total\n{gen!} = series({i})"),
    (1, "{list}.append(next({gen}))"),
    (1, "{iter.a!} = iter([{i}, {i}, {i}, {i}])\nnext({iter.a})"),
    (1, "{iter!} = iter({list})"),
    (1, "import itertools\n{iter!} = itertools.count({i})"),
    (1, "{iter!} = enumerate({list})"),
    (1, "next({iter}, None)"),
    # numpy.
    (3, "{arr!} = {np}.arange({i} + 6)"),
    (1, "{arr!} = {np}.arange(12.0).reshape(3, 4)"),
    (2, "{arr!} = {arr}[2:5]"),
    (1, "{arr!} = {arr}[::2]"),
    (1, "{arr!} = {arr}.copy()"),
    (1, "{arr!} = {arr}"),
    (1, "{arr!} = {arr}.T"),
    (2, "{arr}[0] = {i}"),
    (1, "{arr}[:] = {int}"),
    (1, "{arr} += {i}"),
    (1, "{arr}.sort()"),
    (1, "{np}.copyto({arr}, {i})"),
    (1, "{np}.add({arr.a}, {i}, out={arr.a})"),
    (1, "{arr}.flags.writeable = False"),
    (1, "{arr!} = {np}.array([{i}, {list}], dtype=object)"),
    (1, "{arr!} = {np}.random.rand({i} + 1)"),
    (1, "{arr!} = {np}.random.permutation({i} + 3)"),
    (1, "{np}.random.seed({i})"),
    (1, "{rng!} = {np}.random.default_rng({i})"),
    (1, "{arr!} = {rng}.integers(0, 9, 4)"),
    (1, "{rng}.shuffle({list})"),
    (1, "{np}.set_printoptions(precision={i})"),
    (1, "{np}.seterr(all='ignore')"),
    (1, "{list!} = [{arr.a}, {arr.a}[1:]]"),
    (1, "{dict!} = {{'a': {arr.a}, 'n': {arr.a}.sum()}}"),
    (1, "{arr!} = {np}.ma.masked_array([{i}, 2, 3], mask=[0, 1, 0])"),
    (1, "{arr.a!} = {np}.zeros(3, dtype=[('x', 'i4'), ('y', 'f8')])\n{arr.a}['x'] = {i}"),
    # pandas.
    (3, "{frame!} = {pd}.DataFrame({{'a': [{i}, {i}, 3], 'b': [1.5, {i}, 2.0]}})"),
    (1, "{frame!} = {pd}.DataFrame({{'a': {arr.a}.ravel()[:3], 's': ['x', '{w}', None][:len({arr.a}.ravel()[:3])]}})"),
    (1, "{frame!} = {frame}"),
    (1, "{frame!} = {frame}.copy()"),
    (1, "{frame!} = {frame}.copy(deep=False)"),
    (1, "{frame!} = {frame.a}[{frame.a}['a'] > {i}]"),
    (1, "{frame!} = {frame}.query('a > @{int}')"),
    (2, "{frame}['c'] = {i}"),
    (2, "{frame}.iloc[0, 0] = {i}"),
    (1, "{frame}.loc[1, 'b'] = {i}"),
    (1, "{frame}.drop(columns=['b'], inplace=True)"),
    (1, "{frame}.sort_values('a', inplace=True)"),
    (1, "{frame}.attrs['note'] = {i}"),
    (1, "{frame}.index.name = '{w}'"),
    (1, "{frame}['b'] *= {int}"),
    (1, "{frame!} = {frame}.groupby('a', as_index=False).agg(b=('a', lambda one: one.sum() + {int}))"),
    (1, "{frame!} = {frame}.assign(z=lambda one: one['a'] + {int})"),
    (1, "{frame!} = {frame}.eval('a2 = a + @{int}')"),
    (2, "{arr!} = {frame}['a'].to_numpy()"),
    (1, "{arr!} = {frame}.values"),
    (1, "{ser!} = {frame}['a']"),
    (1, "{ser!} = {pd}.Series([{i}, {i}], name='{w}')"),
    (1, "{ser}.iloc[0] = {i}"),
    (1, "{ser!} = {ser}.map({func})"),
    (1, "{frame.a}['d'] = {frame.a}['a'].apply({func})"),
    (1, "{ser!} = {pd}.Series(['x', 'y', 'x'], dtype='category')"),
    (1, "{pd}.set_option('display.precision', {i})"),
    (1, "{pd}.options.display.max_rows = {i} + 4"),
    (1, "{frame!} = {pd}.read_csv('in.csv')"),
    (1, "{frame}.to_csv('out.csv', index=False)"),
    (1, "{frame!} = {pd}.read_csv('out.csv')"),
    # Settings and draws.
    (2, "random.seed({i})"),
    (2, "{int!} = random.randrange(100)"),
    (1, "random.shuffle({list})"),
    (1, "{list!} = random.choices(range(9), k={i})"),
    (1, "def {func!}(one):\n    return random.randrange(one + 50)"),
    (2, "os.environ['NB_X'] = '{w}'"),
    (1, "os.environ.pop('NB_X', None)"),
    (1, "{str!} = os.environ.get('NB_X', 'unset')"),
    (1, "def {func!}(one):\n    return os.environ.get('NB_X', one)"),
    (1, "def {func!}(one):\n    os.environ['NB_X'] = str(one)\n    return one"),
    (1, "os.makedirs('sub', exist_ok=True)\nos.chdir('sub')"),
    (1, "os.chdir('..') if os.path.basename(os.getcwd()) == 'sub' else None"),
    (1, "import decimal\ndecimal.getcontext().prec = {i} + 2"),
    (1, "import decimal\n{dec!} = decimal.Decimal({i}) / 7"),
    (1, "def {func!}(one):\n    import decimal\n    decimal.getcontext().prec = 5\n    return one"),
    (1, "import warnings\nwarnings.simplefilter('ignore')"),
    (1, "import warnings\nwarnings.filterwarnings('default')"),
    (1, "import warnings\nwarnings.warn('{w}')"),
    (1, "def {func!}(one):\n    import warnings\n    warnings.simplefilter('ignore')\n    return one"),
    (1, "def {func!}(one):\n    import warnings\n    warnings.warn('f{i}')\n    return one"),
    (1, "import sys\nsys.setrecursionlimit(2000 + {i})"),
    (1, "import logging\nlogging.getLogger('mine').setLevel({i} * 10)"),
    (1, "import math\nmath.kk = {i}"),
    (1, "import sys\nsys.path.insert(0, 'lib{i}')"),
    # Modules of the user's own.
    (3, "import {helpers!}"),
    (1, "from helpers import scale as {func!}"),
    (1, "{helpers}.FACTOR = {i}"),
    (1, "{helpers}.SEEN.append({int})"),
    (1, "{int!} = {helpers}.scale({i})"),
    (1, "{helpers}.note({i})"),
    (1, "{list!} = {helpers}.SEEN"),
    (1, "from helpers import SEEN as {list!}"),
    (1, "{obj!} = {helpers}.Box({i})"),
    (1, "{klass!} = {helpers}.Box"),
    (1, "def {func!}(one):\n    return {helpers}.scale(one) + {helpers}.FACTOR"),
    (1, "import importlib\nimportlib.reload({helpers})"),
    (1, "try:\n    import extra\n    {int!} = extra.V\nexcept ImportError:\n    {int!} = -1"),
    # Files.
    (2, "with open('out.txt', 'w') as file:\n    file.write('{w}' + str({int}))"),
    (1, "with open('out.txt', 'a') as file:\n    file.write('{w}')"),
    (1, "with open('log.txt', 'a') as file:\n    file.write('{i}')"),
    (2, "{str!} = open('in.txt').read()"),
    (1, "if os.path.exists('out.txt'):\n    {str!} = open('out.txt').read()\nelse:\n    {str!} = 'none'"),
    (1, "{list!} = sorted(os.listdir('data'))"),
    (1, "import glob\n{list!} = sorted(glob.glob('data/*'))"),
    (1, "open('data/f{i}.txt', 'w').write('{w}')"),
    (1, "if os.path.exists('data/f{i.a}.txt'):\n    os.remove('data/f{i.a}.txt')"),
    (1, "os.replace('out.txt', 'moved.txt') if os.path.exists('out.txt') else None"),
    (1, "from pathlib import Path\n{str!} = Path('in.txt').read_text()"),
    (1, "from pathlib import Path\nPath('out.txt').write_text(str({list}))"),
    (1, "def {func!}(one):\n    with open('in.txt') as file:\n        return file.read() + str(one)"),
    (1, "def {func!}(one):\n    with open('out.txt', 'a') as file:\n        file.write(str(one))\n    return one"),
    (1, "import json\njson.dump({{'n': {int}}}, open('out.json', 'w'))"),
    (1, "import json\n{dict!} = json.load(open('out.json')) if os.path.exists('out.json') else {{}}"),
    (1, "import pickle\nwith open('c.pkl', 'wb') as file:\n    pickle.dump([{int}], file)"),
    (1, "import pickle\nif os.path.exists('c.pkl'):\n    {list!} = pickle.load(open('c.pkl', 'rb'))"),
    (1, "import shutil\nshutil.copy('in.txt', 'data/copy.txt')"),
    (1, "{int!} = os.path.getsize('in.txt')"),
    # Names: absent, in strings, shadowing, unknown.
    (1, "try:\n    {int!} = ghost\nexcept NameError:\n    {int!} = -1"),
    (1, "ghost = {i}"),
    (1, "len = lambda one: {i}"),
    (1, "del len"),
    (1, "sum = {i}"),
    (1, "{int!} = eval('{int} + {i}')"),
    (1, "exec('{int!} = {i}')"),
    (1, "globals()['{int!}'] = {i}"),
    (1, "{list!} = ['{any}' in globals(), '{any}' in dir()]"),
    (1, "{str!} = '{{}} {{}}'.format({int}, {list})"),
    (1, "{str!} = '%(n)s' % {{'n': {int}}}"),
    (1, "{int!} = getattr({obj}, 'k', 0)"),
    # Failures.
    (1, "{list}.append({i})\nraise ValueError('{w}')"),
    (1, "{list}.append({i})\n{int!} = 1 // ({int} - {i})\n{list}.append({i})"),
    (1, "try:\n    {list}.append({i})\n    raise KeyError('{w}')\nexcept KeyError as {err!}:\n    kept = err.args"),
    (1, "assert {int} != {i}, '{w}'"),
    (1, "try:\n    {dict}['zzz']\nfinally:\n    {list}.append({i})"),
    # The shell.
    (1, "%%capture cap\nprint({int})"),
    (1, "{int!} = _ if isinstance(_, int) else -1"),
    (1, "%precision {i}"),
    (1, "from contextlib import contextmanager\n@contextmanager\ndef {ctx!}(one):\n    {list}.append(one)\n    yield one\n    {list}.append(-one)"),
    (1, "with {ctx}({i}) as {int!}:\n    pass"),
    (1, "import inspect\n{str!} = inspect.getsource({func})"),
    (1, "import weakref\n{func!} = weakref.ref({obj})"),
    (1, "match {int}:\n    case {i}:\n        {str!} = 'hit'\n    case _:\n        {str!} = 'miss'"),
    (1, "{int!} = ({int.b!} := {i}) + 1"),
    (1, "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()) as file:\n    print({int})\n{str!} = file.getvalue()"),
]  # fmt: skip

# What a cell shows, by the kinds it needs.
SHOWN: list[tuple[int, str]] = [
    (3, "{int}"),
    (2, "{str}"),
    (5, "{list}"),
    (3, "{list} is {list}"),
    (2, "len({list})"),
    (3, "{dict}"),
    (1, "list({dict})"),
    (1, "{dict}.get('b') is {list}"),
    (1, "{dict.a}['f']({i}) if 'f' in {dict.a} else None"),
    (2, "sorted({set}, key=str)"),
    (1, "{tuple}"),
    (1, "{tuple}[0] is {list}"),
    (4, "{arr}.tolist()"),
    (1, "{arr.a}.sum() if {arr.a}.dtype.kind in 'if' else None"),
    (2, "{np}.shares_memory({arr}, {arr})"),
    (1, "{arr}.flags.writeable"),
    (1, "{arr}"),
    (4, "{frame}.to_dict('list')"),
    (2, "{frame}"),
    (1, "{frame}.attrs"),
    (1, "{ser}.tolist()"),
    (6, "{func}({i})"),
    (1, "{func.a}.__name__ if hasattr({func.a}, '__name__') else None"),
    (1, "{func.a}.cache_info() if hasattr({func.a}, 'cache_info') else None"),
    (1, "{func.a}.__doc__ if hasattr({func.a}, '__code__') else None"),
    (2, "{klass}.box"),
    (2, "{klass}.k"),
    (3, "{obj}.go()"),
    (3, "{obj.a}.k if hasattr({obj.a}, 'k') else None"),
    (1, "vars({obj.a}) if hasattr({obj.a}, '__dict__') else None"),
    (2, "isinstance({obj}, {klass})"),
    (1, "{obj} is {obj}"),
    (1, "type({obj}).__name__"),
    (2, "next({gen}, None)"),
    (1, "next({iter}, None)"),
    (1, "int({rng}.integers(100))"),
    (1, "list({deque})"),
    (1, "{dec}"),
    (1, "bytes({bytes})"),
    (1, "bytes({mr})"),
    (1, "{point}"),
    (1, "{point} == {point}"),
    (1, "{colour} is {Colour}.RED"),
    (1, "{colour}"),
    (2, "random.randrange(1000)"),
    (1, "os.environ.get('NB_X')"),
    (1, "os.path.basename(os.getcwd()) == 'sub'"),
    (1, "os.path.exists('out.txt')"),
    (1, "'{any}' in globals()"),
    (1, "{helpers}.scale({i})"),
    (1, "{helpers}.SEEN"),
    (1, "{list}[{sl}]"),
    (1, "f'{{{int}}}:{{{list}}}'"),
    (1, "sum([{i}, 2]) if callable(sum) else sum"),
    (1, "{err} if 'err' in globals() else None"),
    (1, "eval('{int}')"),
]  # fmt: skip

HELPERS = """\
FACTOR = {factor}
SEEN = []


def scale(x):
    return x * FACTOR + {offset}


def note(x):
    SEEN.append(x)
    return len(SEEN)


class Box:
    box = []
    k = {offset}

    def __init__(self, k=0):
        self.k = k

    def go(self, one=1):
        self.box.append(one)
        return (self.k, FACTOR, len(self.box))
"""

_DRAWN = frozenset({"i", "w", "any"})
_LAST = NAMES["func"][-1]
_PLACE = re.compile(r"\{(\w+)(?:\.(\w))?(!?)\}")


@dataclass
class Scope:
    """Which names the notebook has, by kind, when its cells run in order."""

    names: dict[str, list[str]] = field(default_factory=dict)

    def copy(self) -> Scope:
        return Scope({kind: list(names) for kind, names in self.names.items()})

    def has(self, template: str) -> bool:
        """True when everything that the template uses is there."""
        made = {(kind, label) for kind, label, binds in _PLACE.findall(template) if binds and label}
        used = [
            (kind, label)
            for kind, label, binds in _PLACE.findall(template)
            if kind not in _DRAWN and not binds and (kind, label) not in made
        ]
        if "{func!}" in template and ("func", "") in used and self.names.get("func") == [_LAST]:
            return False
        return all(self.names.get(kind) for kind, _ in used)

    def bind(self, kind: str, name: str) -> None:
        for names in self.names.values():
            if name in names:
                names.remove(name)
        self.names.setdefault(kind, []).append(name)


def fill(template: str, scope: Scope, draw: random.Random) -> str:
    """The template with its places filled; the scope learns what it binds."""
    labelled: dict[tuple[str, str], str] = {}
    made: list[tuple[str, str]] = []
    callees: list[str] = []
    if "{func!}" in template and "{func}" in template:
        # A function calls only functions before it in the alphabet: nothing calls itself for ever.
        callees = [name for name in scope.names["func"] if name != _LAST]

    def place(found: re.Match[str]) -> str:
        kind, label, binds = found[1], found[2] or "", bool(found[3])
        if label and (kind, label) in labelled:
            return labelled[kind, label]
        if kind == "i":
            name = str(draw.randrange(10))
        elif kind == "w":
            name = draw.choice(WORDS)
        elif kind == "any":
            name = draw.choice(ALL_NAMES)
        elif kind == "func" and callees:
            name = draw.choice([one for one in NAMES["func"] if one > callee]) if binds else callee
        else:
            name = draw.choice(NAMES[kind] if binds else scope.names[kind])
        if binds:
            made.append((kind, name))
        if label:
            labelled[kind, label] = name
        return name

    callee = draw.choice(callees) if callees else ""
    text = _PLACE.sub(place, template).replace("{{", "{").replace("}}", "}")
    for kind, name in made:
        scope.bind(kind, name)
    if template.startswith("del "):
        for names in scope.names.values():
            if text[4:] in names:
                names.remove(text[4:])
    return text


def draw_template(table: list[tuple[int, str]], scope: Scope, draw: random.Random) -> str:
    """One of the templates whose kinds are there."""
    possible = [(weight, text) for weight, text in table if scope.has(text)]
    return draw.choices([text for _, text in possible], [weight for weight, _ in possible])[0]


def draw_cell(scope: Scope, draw: random.Random) -> str:
    """One cell: a few statements, and something that depends on state is shown."""
    parts: list[str] = []
    for _ in range(draw.choice([1, 1, 1, 2, 2, 3])):
        text = fill(draw_template(STATEMENTS, scope, draw), scope, draw)
        if text.startswith("%%"):
            return text
        parts.append(text)
        if parts[-1].startswith(("raise", "assert")):
            break
    shown = []
    for _ in range(draw.choice([1, 1, 2, 3])):
        shown.append(fill(draw_template([*SHOWN, (1, "{i}")], scope, draw), scope, draw))
    if draw.random() < 0.15:
        parts.append(shown[0])
    elif draw.random() < 0.9:
        parts.append(f"print({', '.join(shown)})")
    return "\n".join(parts)

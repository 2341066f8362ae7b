# ruff: noqa: E501 - a case is one line of a table
"""The classes of the coverage table: how to make one object, how to change it, and how to look at all of it.

`$` stands for the object's name. `change` changes the object in place where it can be changed, else it binds another
value to the name. `probe` is an expression that shows whatever a user could see of the object; it is the same for equal
objects in any process.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    library: str
    title: str
    make: str
    change: str
    probe: str = "$"
    # What to know about this row.
    note: str = ""

    @property
    def name(self) -> str:
        """The name that the object has in the notebook."""
        words = re.sub(r"\W+", "_", f"{self.library}_{self.title}").strip("_")
        return f"v_{words}"

    def code(self, text: str) -> str:
        """Code of the case with the object's name in it."""
        return text.replace("$", self.name)


# What a notebook imports before the cases of a library; the first line is the import that must succeed.
SETUP: dict[str, str] = {
    "python": """import functools, types, sys
class Point:
    def __init__(self, a, b):
        self.a, self.b = a, b
    def total(self):
        return self.a + sum(self.b)
class Slotted:
    __slots__ = ('a', 'b', '__dict__')
class Lossy:
    def __init__(self):
        self.kept, self.dropped = 1, [1]
    def __getstate__(self):
        return {'kept': self.kept}
    def __setstate__(self, state):
        self.kept, self.dropped = state['kept'], [1]
class Words(list):
    pass
class Table(dict):
    def __missing__(self, key):
        return key * 2
class Named(str):
    pass
class Meta(type):
    pass
scale = 3""",
    "standard library": """import argparse, array, ast, asyncio, calendar, collections, concurrent.futures, configparser, contextvars, copy
import csv, dataclasses, datetime, decimal, difflib, email.message, enum, fractions, functools, graphlib, hashlib, inspect, io, ipaddress
import itertools, json, logging, mmap, operator, pathlib, queue, random, re, socket, sqlite3, statistics, string, struct, subprocess
import tempfile, textwrap, threading, time, types, typing, unittest.mock, urllib.parse, uuid, weakref, xml.etree.ElementTree, zipfile, zoneinfo
Pair = collections.namedtuple('Pair', 'a b')
@dataclasses.dataclass
class Item:
    name: str
    tags: list = dataclasses.field(default_factory=list)
@dataclasses.dataclass(frozen=True, slots=True)
class Fixed:
    name: str
    n: int = 0
class Colour(enum.Enum):
    RED = 1
    BLUE = 2
class Right(enum.Flag):
    READ = 1
    WRITE = 2
class Typed(typing.TypedDict):
    a: int
class Anchor:
    pass
anchor = Anchor()""",
    "numpy": "import numpy as np",
    "pandas": "import pandas as pd\nimport numpy as np",
    "polars": "import polars as pl",
    "pyarrow": "import pyarrow as pa\nimport pyarrow.compute as pc\nimport pyarrow.dataset as pds",
    "scipy": "import scipy\nimport numpy as np\nimport scipy.sparse, scipy.interpolate, scipy.stats, scipy.spatial, scipy.optimize, scipy.signal, scipy.spatial.transform, scipy.sparse.linalg",
    "scikit-learn": """import sklearn
import numpy as np
import sklearn.linear_model, sklearn.ensemble, sklearn.pipeline, sklearn.preprocessing, sklearn.compose, sklearn.model_selection
import sklearn.cluster, sklearn.decomposition, sklearn.feature_extraction.text, sklearn.svm, sklearn.neural_network, sklearn.tree
import sklearn.neighbors, sklearn.datasets, sklearn.naive_bayes, sklearn.gaussian_process, sklearn.impute, sklearn.calibration, sklearn.dummy
sk_rng = np.random.RandomState(0)
sk_X = sk_rng.rand(40, 3)
sk_y = (sk_X[:, 0] > 0.5).astype(int)""",
    "statsmodels": """import statsmodels.api as sm
import numpy as np
import pandas as pd
import statsmodels.formula.api as smf, statsmodels.tsa.api as tsa
sm_rng = np.random.RandomState(0)
sm_X = sm.add_constant(sm_rng.rand(40, 2))
sm_y = sm_X @ [1, 2, 3] + sm_rng.rand(40)
sm_df = pd.DataFrame({'y': sm_y, 'a': sm_X[:, 1], 'b': sm_X[:, 2]})""",
    "matplotlib": """import matplotlib
import matplotlib.pyplot as plt, matplotlib.figure, matplotlib.lines, matplotlib.colors, matplotlib.transforms, matplotlib.path, matplotlib.gridspec
import matplotlib.patches, matplotlib.text, matplotlib.ticker, io, hashlib
def pixels(figure):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return hashlib.md5(bytes(canvas.buffer_rgba())).hexdigest()""",
    "plotly": "import plotly\nimport json\nimport plotly.graph_objects as go, plotly.express as px, plotly.subplots",
    "networkx": "import networkx as nx",
    "xarray": "import xarray as xr\nimport numpy as np\nimport pandas as pd",
    "PIL": "import PIL.Image, PIL.ImageDraw, PIL.ImageFont, PIL.ImageFilter, PIL.ImagePalette",
    "dask": "import dask\nimport dask.array as da, dask.bag as db, dask.dataframe as dd\nimport pandas as pd\nimport numpy as np",
    "joblib": "import joblib",
    "torch": """import torch
import torch.nn as nn, torch.utils.data, torch.optim
_ = torch.manual_seed(0)
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 2)
        self.register_buffer('count', torch.zeros(1))
    def forward(self, x):
        return torch.relu(self.first(x))""",
}

# How a library is imported to see whether it is installed, when that is not its own name.
MODULES = {"scikit-learn": "sklearn", "standard library": "json", "python": "types"}


def _cases(library: str, *rows: tuple[str, ...]) -> list[Case]:
    return [Case(library, *row) for row in rows]


CASES: list[Case] = [
    *_cases(
        "python",
        ("int", "$ = 10**40", "$ += 1"),
        ("float", "$ = -0.0", "$ = 0.0", "repr($)"),
        ("complex", "$ = complex(0.5, float('nan'))", "$ = complex(0.5, 1)", "repr($)"),
        ("str", "$ = 'naïve \\ud800'", "$ += '!'", "ascii($)"),
        ("bytes", "$ = b'\\x00ab'", "$ += b'c'"),
        ("bytearray", "$ = bytearray(b'abc')", "$[0] = 0"),
        ("list", "$ = [1, [2, 3]]\n$.append($[1])\n$.append($)", "$[1].append(4)", "$[:3], $[1] is $[2], $[3] is $"),
        ("tuple", "$ = (1, [2])", "$[1].append(3)"),
        ("dict", "$ = {'b': 1, 'a': {2: None}}", "$['a'] = $.pop('a'); $['b'] = $.pop('b')", "list($.items())"),
        ("set", "$ = {'x', 'y', (1, 'z')}", "$.add('w')", "sorted($, key=repr), type($)"),
        ("frozenset", "$ = frozenset({'x', 'y', frozenset({'z', 'q'})})", "$ |= {'w'}", "sorted(map(repr, (sorted(i) for i in $)))"),
        ("range", "$ = range(0, 9, 2)", "$ = range(0, 10, 2)"),
        ("slice", "$ = slice(1, None, 2)", "$ = slice(1, 5, 2)"),
        ("memoryview", "$ = memoryview(bytearray(b'abcd'))[1:3]", "$[0] = 0", "bytes($), $.readonly, bytes($.obj)"),
        ("ellipsis and NotImplemented", "$ = [..., NotImplemented, None]", "$.pop()", "repr($)"),
        ("class of the notebook", "class $:\n    limit = 3\n    log = []\n    def over(self, v):\n        return v > self.limit * scale", "$.log.append(1)", "$().over(9), $().over(10), $.limit, $.log, $.__name__"),
        ("class with a metaclass", "class $(metaclass=Meta):\n    n = 1", "$.n = 2", "$.n, type($) is Meta, $.__mro__[1:]"),
        ("instance", "$ = Point(1, [2])", "$.b.append(3)", "$.total(), vars($), type($) is Point"),
        ("instance with slots", "$ = Slotted()\n$.a = [1]\n$.c = 2", "$.a.append(2)", "$.a, hasattr($, 'b'), $.c"),
        ("instance whose pickle drops state", "$ = Lossy()", "$.dropped.append(2)", "$.kept, $.dropped"),
        ("instance whose pickle dropped state", "$ = Lossy()\n$.dropped.append(5)", "$.dropped.append(2)", "$.kept, $.dropped"),
        ("list subclass", "$ = Words(['a'])\n$.note = [1]", "$.note.append(2)", "list($), $.note, type($) is Words"),
        ("dict subclass", "$ = Table(a=1)", "$['b'] = 2", "dict($), $['q'], type($) is Table"),
        ("str subclass", "$ = Named('n')\n$.unit = 'm'", "$.unit = 'km'", "$ + '!', $.unit, type($) is Named"),
        ("function", "def $(v, k=[1], *, q=2):\n    'doc'\n    return v * scale + k[0] + q", "$.__defaults__[0][0] = 5", "$(2), $.__doc__, $.__globals__ is globals(), $.__kwdefaults__"),
        ("closure", "def _outer():\n    n = [0]\n    def step():\n        n[0] += 1\n        return n[0]\n    return step\n$ = _outer()", "$()", "$.__closure__[0].cell_contents"),
        ("lambda", "$ = lambda v: (v, scale)", "$ = lambda v: (v, scale, 1)", "$(2)"),
        ("bound method", "$ = Point(1, [2]).total", "$.__self__.b.append(3)", "$()"),
        ("partial", "$ = functools.partial(max, [3], key=None)", "$.args[0].append(9)", "$.args, $.keywords"),
        ("property and static method", "class $:\n    @property\n    def p(self):\n        return scale\n    @staticmethod\n    def s():\n        return 1\n    @classmethod\n    def c(cls):\n        return cls.__name__", "$.s = staticmethod(lambda: 2)", "$().p, $.s(), $.c()"),
        ("generator", "$ = (i * i for i in range(9))\n_ = next($)", "next($)", "next($)"),
        ("generator that has not begun", "$ = (i * i for i in range(9))", "next($)", "next($)"),
        ("list iterator", "$ = iter([1, 2, 3, 4])\n_ = next($)", "next($)", "$.__length_hint__(), $.__reduce__()"),
        ("zip, map, enumerate", "$ = [zip([1, 2, 3], 'abc'), map(str, [1, 2, 3]), enumerate('abc')]\n_ = next($[0])", "next($[1])", "str([i.__reduce__() for i in $]) and [next(i) for i in $]"),
        ("dict view", "_of_$ = {'a': 1}\n$ = _of_$.items()", "_of_$['b'] = 2", "list($), type($).__name__"),
        ("exception", "$ = ValueError('bad', [1])\n$.extra = 2\n$.add_note('n')", "$.args[1].append(2)", "$.args, $.extra, $.__notes__"),
        ("exception with traceback", "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    $ = error", "$.args = ('other',)", "$.args, type($)", "Its traceback, cause and context are not kept."),
        ("module made in the notebook", "$ = types.ModuleType('mine')\n$.k = [1]", "$.k.append(2)", "$.k, $.__name__"),
        ("type alias", "$ = dict[str, list[int]] | None", "$ = dict[str, list[float]] | None"),
        ("code object", "$ = compile('1 + 2', 'c', 'eval')", "$ = compile('1 + 3', 'c', 'eval')", "eval($)"),
    ),
    *_cases(
        "standard library",
        ("array.array", "$ = array.array('d', [1.0, 2.0])", "$[0] = 5.0"),
        ("ast.AST", "$ = ast.parse('a = 1')", "$.body[0].value.value = 2", "ast.dump($)"),
        ("asyncio.Queue", "$ = asyncio.Queue()\n$.put_nowait(1)", "$.put_nowait(2)", "$.qsize()"),
        ("argparse.ArgumentParser", "$ = argparse.ArgumentParser(prog='p')\n_ = $.add_argument('--n', type=int, default=1)", "$.add_argument('--m')", "$.parse_args([]), $.format_usage()"),
        ("argparse.Namespace", "$ = argparse.Namespace(a=[1])", "$.a.append(2)"),
        ("collections.deque", "$ = collections.deque([1, 2, 3], maxlen=3)", "$.append(4)", "list($), $.maxlen"),
        ("collections.OrderedDict", "$ = collections.OrderedDict(a=1, b=2)", "$.move_to_end('a')", "list($.items()), type($)"),
        ("collections.defaultdict", "$ = collections.defaultdict(list, a=[1])", "$['b']", "dict($), $.default_factory"),
        ("collections.Counter", "$ = collections.Counter('abca')", "$['z'] -= 1", "sorted($.items()), type($)"),
        ("collections.ChainMap", "$ = collections.ChainMap({'a': 1}, {'b': 2})", "$['c'] = 3", "$.maps"),
        ("collections.namedtuple", "$ = Pair(1, [2])", "$.b.append(3)", "$, type($) is Pair"),
        ("collections.UserDict", "$ = collections.UserDict(a=1)", "$['b'] = 2", "$.data"),
        ("concurrent.futures.ThreadPoolExecutor", "$ = concurrent.futures.ThreadPoolExecutor(2)", "$.shutdown()", "$._max_workers", "A compute engine is not content: a running one is as good as another."),
        ("concurrent.futures.Future", "$ = concurrent.futures.Future()\n$.set_result([1])", "$.result().append(2)", "$.result()"),
        ("configparser.ConfigParser", "$ = configparser.ConfigParser()\n$.read_string('[s]\\na = 1')", "$['s']['a'] = '2'", "{s: dict($[s]) for s in $}"),
        ("contextvars.ContextVar", "$ = contextvars.ContextVar('$', default=1)", "$.set(2)", "$.get()"),
        ("csv.reader", "$ = csv.reader(['a,b', 'c,d'])", "next($)", "$.line_num"),
        ("csv.writer", "_of_$ = io.StringIO()\n$ = csv.writer(_of_$)", "$.writerow([1, 2])", "_of_$.getvalue()"),
        ("dataclass", "$ = Item('n', ['t'])", "$.tags.append('u')", "$, type($) is Item"),
        ("frozen dataclass", "$ = Fixed('n', 1)", "$ = dataclasses.replace($, n=2)", "$, type($) is Fixed"),
        ("datetime.datetime", "$ = datetime.datetime(2024, 1, 2, fold=1, tzinfo=zoneinfo.ZoneInfo('Europe/Paris'))", "$ = $.replace(fold=0)", "repr($)"),
        ("datetime.date and time", "$ = datetime.date(2024, 1, 2), datetime.time(3)", "$ = datetime.date(2024, 1, 2), datetime.time(4)"),
        ("datetime.timedelta and timezone", "$ = datetime.timedelta(1, 2, 3), datetime.timezone(datetime.timedelta(hours=1), 'z')", "$ = $[0], datetime.timezone.utc", "repr($)"),
        ("decimal.Decimal", "$ = decimal.Decimal('1.10')", "$ = decimal.Decimal('1.1')", "str($)"),
        ("decimal.Context", "$ = decimal.Context(prec=5)", "$.prec = 6", "$.prec, $.rounding"),
        ("difflib.SequenceMatcher", "$ = difflib.SequenceMatcher(None, 'abcd', 'bcde')", "$.set_seq1('xbcd')", "$.a, $.b, $.autojunk"),
        ("email.message.Message", "$ = email.message.Message()\n$['Subject'] = 'one'", "$['To'] = 'a'", "$.as_string()"),
        ("enum.Enum member", "$ = [Colour.RED]", "$[0] = Colour.BLUE", "$, $[0] in list(Colour)"),
        ("enum.Flag member", "$ = Right.READ | Right.WRITE", "$ &= Right.READ", "$, $ in (Right.READ | Right.WRITE)"),
        ("enum class", "class $(enum.IntEnum):\n    A = 1\n    B = 2", "$.A.note = [1]", "list($), $(1) is $.A, $.A < $.B, getattr($.A, 'note', None)"),
        ("fractions.Fraction", "$ = fractions.Fraction(1, 3)", "$ += 1"),
        ("functools.lru_cache", "@functools.lru_cache(maxsize=8)\ndef $(n):\n    return n * 2\n_ = $(5)", "$(3)", "$.cache_parameters(), $.__wrapped__(4), $.cache_info(), $(5), $.cache_info()"),
        ("functools.cached_property", "class _$:\n    @functools.cached_property\n    def p(self):\n        return [1]\n$ = _$()", "$.p", "dict(vars($))"),
        ("functools.singledispatch", "@functools.singledispatch\ndef $(v):\n    return 'any'\n@$.register\ndef _(v: int):\n    return 'int'", "$.register(str, lambda v: 'str')", "$(1), $('a'), $(1.5)"),
        ("graphlib.TopologicalSorter", "$ = graphlib.TopologicalSorter({'a': ['b']})", "$.add('c', 'a')", "sorted($._node2info)"),
        ("hashlib hash", "$ = hashlib.sha256(b'a')", "$.update(b'b')", "$.hexdigest()"),
        ("inspect.Signature", "$ = inspect.signature(lambda a, b=1: 0)", "$ = inspect.signature(lambda a, b=2: 0)", "str($)"),
        ("io.StringIO", "$ = io.StringIO('ab\\ncd')\n_ = $.read(1)", "$.write('!')", "$.getvalue(), $.tell()"),
        ("io.BytesIO", "$ = io.BytesIO(b'abcd')\n_ = $.read(2)", "$.write(b'!')", "$.getvalue(), $.tell()"),
        ("open file", "pathlib.Path('in.txt').write_text('one\\ntwo\\n')\n$ = open('in.txt')\n_ = $.readline()", "$.readline()", "$.name, $.mode, $.tell()"),
        ("ipaddress.ip_network", "$ = ipaddress.ip_network('10.0.0.0/8')", "$ = ipaddress.ip_network('10.0.0.0/9')"),
        ("itertools.count", "$ = itertools.count(3)\n_ = next($)", "next($)", "repr($)"),
        ("itertools.cycle", "$ = itertools.cycle('abc')\n_ = next($)", "next($)", "next($)"),
        ("itertools.chain", "$ = itertools.chain([1, 2, 3], [4, 5])\n_ = next($)", "next($)", "next($)"),
        ("json.JSONEncoder", "$ = json.JSONEncoder(indent=2)", "$.indent = 4", "$.encode({'a': 1})"),
        ("logging.Logger", "$ = logging.getLogger('coverage.mine')", "$.setLevel('ERROR')", "$.name, $.level", "Its level is ambient state, which is compared and restored on its own."),
        ("mmap.mmap", "pathlib.Path('map.bin').write_bytes(b'abcd')\n_file = open('map.bin', 'r+b')\n$ = mmap.mmap(_file.fileno(), 0)\ndel _file", "$[0] = 0", "bytes($)"),
        ("operator.itemgetter", "$ = operator.itemgetter(1, 'a')", "$ = operator.itemgetter(2)", "repr($)"),
        ("pathlib.Path", "$ = pathlib.Path('a') / 'b'", "$ /= 'c'", "str($), type($).__name__"),
        ("queue.SimpleQueue, empty", "$ = queue.SimpleQueue()", "$.put(1)", "$.qsize()"),
        ("queue.Queue", "$ = queue.Queue()\n$.put(1)", "$.put(2)", "$.qsize()"),
        ("random.Random", "$ = random.Random(3)\n_ = $.gauss(0, 1)", "$.random()", "copy.deepcopy($).random(), copy.deepcopy($).gauss(0, 1)"),
        ("re.Pattern", "$ = re.compile('a+', re.I)", "$ = re.compile('a+')", "repr($)"),
        ("re.Match", "$ = re.match('(a)(b)', 'abc')", "$ = re.match('(a)(b)', 'abd')", "$.groups(), $.string"),
        ("socket.socket", "$ = socket.socket()", "$.close()", "$.fileno() == -1"),
        ("sqlite3.Connection", "$ = sqlite3.connect(':memory:')\n_ = $.execute('create table t(a)')", "$.execute('insert into t values (1)')", "$.execute('select count(*) from t').fetchone()"),
        ("statistics.NormalDist", "$ = statistics.NormalDist(1, 2)", "$ = statistics.NormalDist(1, 3)", "$.mean, $.stdev"),
        ("string.Template", "$ = string.Template('$$a')", "$.template = '$$b'", "$.template"),
        ("struct.Struct", "$ = struct.Struct('<id')", "$ = struct.Struct('<iq')", "$.format, $.size"),
        ("subprocess.CompletedProcess", "$ = subprocess.CompletedProcess(['a'], 0, 'out')", "$.returncode = 1"),
        ("tempfile.TemporaryDirectory", "$ = tempfile.TemporaryDirectory(dir='.')", "$.cleanup()", "pathlib.Path($.name).is_dir()"),
        ("textwrap.TextWrapper", "$ = textwrap.TextWrapper(width=10)", "$.width = 20", "$.fill('aa bb cc dd ee ff')"),
        ("threading.Lock", "$ = threading.Lock()", "$.acquire()", "$.locked()"),
        ("threading.Condition", "$ = threading.Condition()", "$.acquire()", "repr($)[:20]"),
        ("threading.Event", "$ = threading.Event()", "$.set()", "$.is_set()"),
        ("threading.local", "$ = threading.local()\n$.a = [1]", "$.a.append(2)", "$.a"),
        ("types.SimpleNamespace", "$ = types.SimpleNamespace(a=[1])", "$.a.append(2)"),
        ("types.MappingProxyType", "$ = types.MappingProxyType({'a': [1]})", "$['a'].append(2)", "dict($)"),
        ("typing.TypedDict", "$ = Typed(a=1)", "$['a'] = 2"),
        ("unittest.mock.Mock", "$ = unittest.mock.Mock(return_value=3)", "$(1)", "$.call_count, $.return_value"),
        ("urllib.parse.ParseResult", "$ = urllib.parse.urlparse('http://a/b?c=1')", "$ = $._replace(path='/d')"),
        ("uuid.UUID", "$ = uuid.UUID(int=5)", "$ = uuid.UUID(int=6)"),
        ("weakref.ref", "$ = weakref.ref(anchor)", "$ = weakref.ref(Item)", "$() is anchor"),
        ("weakref.WeakValueDictionary", "$ = weakref.WeakValueDictionary(a=anchor)", "$['b'] = anchor", "sorted($.keys())"),
        ("xml.etree.ElementTree.Element", "$ = xml.etree.ElementTree.fromstring('<a b=\"1\"><c>t</c></a>')", "$[0].text = 'u'", "xml.etree.ElementTree.tostring($)"),
        ("zipfile.ZipFile", "$ = zipfile.ZipFile(io.BytesIO(), 'w')\n$.writestr('a', 'b')", "$.writestr('c', 'd')", "$.namelist()"),
        ("zoneinfo.ZoneInfo", "$ = zoneinfo.ZoneInfo('Europe/Paris')", "$ = zoneinfo.ZoneInfo('Europe/Rome')", "$.key"),
    ),
    *_cases(
        "numpy",
        ("ndarray", "$ = np.arange(6.0).reshape(2, 3)", "$[0, 0] = -0.0 if $[0, 0] == 5 else 5", "$.tolist(), $.dtype, $.flags.writeable, $.flags.owndata"),
        ("ndarray, one sign bit", "$ = np.zeros(3)", "$[1] = -0.0", "[np.signbit(v) for v in $]"),
        ("ndarray in Fortran order", "$ = np.asfortranarray(np.arange(6).reshape(2, 3))", "$[1, 1] = 9", "$.tolist(), $.flags.f_contiguous, $.strides"),
        ("ndarray, transposed copy", "$ = np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2).copy(order='K')", "$[0, 0, 0] = 9", "$.tolist(), $.strides"),
        ("ndarray that owns its memory", "$ = np.arange(3)", "$.resize(4)", "$.tolist(), $.flags.owndata, $.base is None"),
        ("view", "$ = np.arange(12)[2:9:3]", "$[0] = 50", "$.tolist(), $.strides, $.base.tolist()"),
        ("read-only array", "$ = np.arange(3)\n$.flags.writeable = False", "$.flags.writeable = True", "$.tolist(), $.flags.writeable"),
        ("broadcast view", "$ = np.broadcast_to(np.arange(3), (2, 3))", "$ = np.broadcast_to(np.arange(3), (3, 3))", "$.tolist(), $.strides, $.flags.writeable"),
        ("array of objects", "$ = np.array([[1], 'a', None], dtype=object)", "$[0].append(2)", "$.tolist()"),
        ("structured array", "$ = np.array([(1, 2.5, b'x')], dtype=[('a', 'i4'), ('b', 'f8'), ('c', 'S2')])", "$['b'][0] = 3", "$.tolist(), $.dtype"),
        ("structured array with padding", "$ = np.zeros(2, dtype=np.dtype([('a', 'i1'), ('b', 'f8')], align=True))", "$['b'][0] = 3", "$.tolist(), $.dtype, $.dtype.isalignedstruct"),
        ("record array", "$ = np.rec.array([(1, 2.5)], names='a,b')", "$.a[0] = 3", "$.tolist(), type($).__name__, $.dtype.names"),
        ("masked array", "$ = np.ma.array([1, 2, 3], mask=[0, 1, 0], fill_value=7)", "$[0] = np.ma.masked", "$.tolist(), $.data.tolist(), $.fill_value, $.mask.tolist(), $.hardmask"),
        ("matrix", "$ = np.matrix([[1, 2]])", "$[0, 0] = 9", "$.tolist(), type($).__name__"),
        ("ndarray subclass", "class Signal(np.ndarray):\n    pass\n$ = np.arange(3).view(Signal)\n$.unit = 'V'", "$.unit = 'A'", "$.tolist(), $.unit, type($) is Signal"),
        ("datetime64 array", "$ = np.array(['2024-01-01', 'NaT'], dtype='M8[D]')", "$[0] += 1", "$.astype(str).tolist(), $.dtype"),
        ("string array", "$ = np.array(['a', 'bc'])", "$[0] = 'z'", "$.tolist(), $.dtype"),
        ("variable-width strings", "$ = np.array(['a', 'b' * 40], dtype=np.dtypes.StringDType())", "$[0] = 'z'", "$.tolist(), $.dtype"),
        ("big-endian array", "$ = np.array([1, 2], dtype='>i4')", "$[0] = 9", "$.tolist(), $.dtype.byteorder"),
        ("0-d array", "$ = np.array(5)", "$[()] = 6", "$.tolist(), $.shape"),
        ("empty array", "$ = np.empty((0, 3), dtype='f4')", "$ = np.empty((0, 4), dtype='f4')", "$.shape, $.dtype"),
        ("scalar", "$ = np.float32(0.1)", "$ = np.float64($)", "repr($)"),
        ("dtype", "$ = np.dtype([('a', 'i4'), ('b', 'f8', (2,))])", "$ = np.dtype([('a', 'i4')])"),
        ("Generator", "$ = np.random.default_rng(5)\n_ = $.integers(10)", "$.random()", "$.bit_generator.state"),
        ("Generator, PCG64DXSM", "$ = np.random.Generator(np.random.PCG64DXSM(5))", "$.random()", "$.bit_generator.state"),
        ("Generator, Philox", "$ = np.random.Generator(np.random.Philox(5))\n_ = $.random()", "$.random()", "str($.bit_generator.state)"),
        ("RandomState", "$ = np.random.RandomState(5)\n_ = $.randn()", "$.rand()", "str($.get_state(legacy=False))"),
        ("SeedSequence", "$ = np.random.SeedSequence(5)", "$.spawn(1)", "$.state"),
        ("poly1d", "$ = np.poly1d([1, 2])", "$.coeffs[0] = 5", "$.coeffs.tolist(), $.variable"),
        ("Polynomial", "$ = np.polynomial.Polynomial([1, 2], domain=[0, 1])", "$.coef[0] = 5", "$.coef.tolist(), $.domain.tolist()"),
        ("memmap", "np.arange(4.0).tofile('mm.bin')\n$ = np.memmap('mm.bin', dtype='f8', mode='r+')", "$[0] = 9", "$.tolist(), type($).__name__"),
        ("vectorize", "$ = np.vectorize(lambda v: v + 1, otypes=[float])", "$.otypes = 'i'", "$.otypes, $.pyfunc(1)"),
        ("ufunc", "$ = [np.add, np.frompyfunc(max, 2, 1)]", "$.pop()", "len($)"),
        ("flatiter", "$ = np.arange(4).flat\n_ = next($)", "next($)", "$.index"),
        ("finfo", "$ = np.finfo('f4')", "$ = np.finfo('f8')", "$.eps, str($.dtype)"),
    ),
    *_cases(
        "pandas",
        ("DataFrame", "$ = pd.DataFrame({'a': [1, 2], 'b': [0.5, None], 'c': ['x', None]})", "$.loc[0, 'a'] = 9", "$.to_dict('split'), $.dtypes.astype(str).tolist(), $.index, $.columns"),
        ("DataFrame with attrs and flags", "$ = pd.DataFrame({'a': [1]})\n$.attrs['unit'] = ['m']\n$.flags.allows_duplicate_labels = False", "$.attrs['unit'].append('km')", "$.attrs, $.flags.allows_duplicate_labels"),
        ("DataFrame with duplicate columns", "$ = pd.DataFrame([[1, 2.5]], columns=['a', 'a'])", "$.iloc[0, 1] = 7", "$.values.tolist(), list($.columns)"),
        ("DataFrame of extension types", "$ = pd.DataFrame({'i': pd.array([1, None], dtype='Int64'), 'b': pd.array([True, None], dtype='boolean'), 's': pd.array(['x', None], dtype='string[python]'), 'd': pd.to_datetime(['2024-01-01', None]).tz_localize('UTC')})", "$.loc[0, 'i'] = 9", "$.to_dict('split'), $.dtypes.astype(str).tolist()"),
        ("DataFrame of arrow columns", "$ = pd.DataFrame({'i': pd.array([1, None], dtype='int64[pyarrow]'), 's': pd.array(['x', 'y'], dtype='string[pyarrow]')})", "$.loc[0, 's'] = 'z'", "$.to_dict('split'), $.dtypes.astype(str).tolist()"),
        ("DataFrame of lists", "$ = pd.DataFrame({'l': [[1], [2, 3]]})", "$['l'][0].append(9)", "$.to_dict('split')"),
        ("DataFrame subclass", "class Sales(pd.DataFrame):\n    _metadata = ['shop']\n    @property\n    def _constructor(self):\n        return Sales\n$ = Sales({'a': [1]})\n$.shop = 'x'", "$.shop = 'y'", "$.to_dict('split'), $.shop, type($) is Sales"),
        ("Series", "$ = pd.Series([1.5, None], index=['a', 'b'], name='s')", "$['a'] = 2", "$.to_dict(), $.name, $.dtype"),
        ("Series view of a frame", "$ = pd.DataFrame({'a': [1, 2], 'b': [3, 4]})['a']", "$.iloc[0] = 9", "$.tolist(), $.name"),
        ("sparse Series", "$ = pd.Series(pd.arrays.SparseArray([0, 0, 3]))", "$ = pd.Series(pd.arrays.SparseArray([0, 0, 4]))", "$.tolist(), str($.dtype)"),
        ("Index", "$ = pd.Index(['a', 'b'], name='i')", "$.name = 'j'", "list($), $.name, $.dtype"),
        ("RangeIndex", "$ = pd.RangeIndex(0, 10, 2, name='r')", "$.name = 'q'", "repr($)"),
        ("MultiIndex", "$ = pd.MultiIndex.from_product([['a', 'b'], [1, 2]], names=['x', 'y'])", "$.names = ['x', 'z']", "$.tolist(), list($.names)"),
        ("DatetimeIndex", "$ = pd.date_range('2024-01-01', periods=3, freq='D', tz='Europe/Paris')", "$.name = 't'", "$.tolist(), $.freq, $.name"),
        ("TimedeltaIndex", "$ = pd.timedelta_range('1D', periods=3)", "$.name = 't'", "$.tolist(), $.freq, $.name"),
        ("PeriodIndex", "$ = pd.period_range('2024-01', periods=3, freq='M')", "$.name = 't'", "$.tolist(), $.freq, $.name"),
        ("IntervalIndex", "$ = pd.interval_range(0, 3, closed='left')", "$.name = 't'", "$.tolist(), $.closed, $.name"),
        ("CategoricalIndex", "$ = pd.CategoricalIndex(['a', 'b', 'a'], ordered=True)", "$.name = 't'", "$.tolist(), $.ordered, list($.categories), $.name"),
        ("Categorical", "$ = pd.Categorical(['a', 'b', None], categories=['b', 'a', 'c'], ordered=True)", "$[0] = 'c'", "list($), list($.categories), $.ordered"),
        ("IntervalArray", "$ = pd.arrays.IntervalArray.from_breaks([0, 1, 2])", "$[0] = pd.Interval(5, 6)", "list($), $.closed"),
        ("BooleanArray", "$ = pd.array([True, None], dtype='boolean')", "$[0] = False", "list($)"),
        ("Timestamp", "$ = pd.Timestamp('2024-01-01 00:00:00.000000001', tz='UTC')", "$ += pd.Timedelta(1, 'ns')", "repr($), $.nanosecond"),
        ("Timedelta", "$ = pd.Timedelta('1D 1ns')", "$ *= 2", "repr($)"),
        ("Period", "$ = pd.Period('2024-01', 'M')", "$ += 1", "repr($)"),
        ("Interval", "$ = pd.Interval(0, 1, 'both')", "$ = pd.Interval(0, 1, 'left')", "repr($)"),
        ("NA and NaT", "$ = [pd.NA, pd.NaT]", "$.pop()", "repr($), $[0] is pd.NA"),
        ("DateOffset", "$ = pd.offsets.BusinessDay(2)", "$ = pd.offsets.BusinessDay(3)", "repr($)"),
        ("CategoricalDtype", "$ = pd.CategoricalDtype(['a'], ordered=True)", "$ = pd.CategoricalDtype(['b'], ordered=True)", "repr($), list($.categories)"),
        ("DataFrameGroupBy", "$ = pd.DataFrame({'a': [1, 1, 2], 'b': [3, 4, 5]}).groupby('a')", "$.obj.loc[0, 'b'] = 9", "$.sum().to_dict(), $.obj.to_dict('split')"),
        ("Rolling", "$ = pd.Series([1.0, 2, 3]).rolling(2)", "$.obj.iloc[0] = 9", "$.sum().tolist()[1:], $.window"),
        ("Styler", "$ = pd.DataFrame({'a': [1]}).style.format('{:.1f}', precision=1)", "$.set_caption('c')", "$.data.to_dict(), $.caption"),
    ),
    *_cases(
        "polars",
        ("DataFrame", "$ = pl.DataFrame({'a': [1, None], 'b': ['x', 'y']})", "$[0, 'a'] = 9", "$.to_dict(as_series=False), $.schema"),
        ("Series", "$ = pl.Series('s', [1, 2])", "$[0] = 9", "$.to_list(), $.name, $.dtype"),
        ("DataFrame, nested and categorical", "$ = pl.DataFrame({'l': [[1], [2, 3]], 'c': pl.Series(['u', 'v'], dtype=pl.Categorical), 's': [{'k': 1}, {'k': 2}]})", "$ = $.reverse()", "$.to_dict(as_series=False), $.schema"),
        ("Series of objects", "$ = pl.Series('o', [[1], {2}], dtype=pl.Object)", "$ = pl.Series('o', [[1], {3}], dtype=pl.Object)", "$.to_list()"),
        ("LazyFrame", "$ = pl.LazyFrame({'a': [1, 2]}).filter(pl.col('a') > 1)", "$ = $.select(pl.col('a') + 1)", "$.collect().to_dict(as_series=False)"),
        ("Expr", "$ = pl.col('a').sum() + 1", "$ = pl.col('a').sum() + 2", "str($)"),
        ("DataType", "$ = pl.Enum(['a', 'b'])", "$ = pl.Enum(['a', 'c'])", "repr($)"),
        ("GroupBy", "$ = pl.DataFrame({'a': [1, 1], 'b': [2, 3]}).group_by('a')", "$ = pl.DataFrame({'a': [1, 1], 'b': [2, 4]}).group_by('a')", "$.sum().to_dict(as_series=False)"),
    ),
    *_cases(
        "pyarrow",
        ("Array", "$ = pa.array([1, None, 3])[1:]", "$ = pa.array([None, 4])", "$.to_pylist(), $.type"),
        ("ChunkedArray", "$ = pa.chunked_array([[1, 2], [3]])", "$ = pa.chunked_array([[1, 2], [4]])", "$.to_pylist(), $.type"),
        ("Table", "$ = pa.table({'a': [1, 2], 'b': ['x', None]}).replace_schema_metadata({'k': 'v'})", "$ = $.replace_schema_metadata({'k': 'w'})", "$.to_pydict(), $.schema.metadata, str($.schema)"),
        ("RecordBatch", "$ = pa.record_batch({'a': [1, 2]})", "$ = pa.record_batch({'a': [1, 3]})", "$.to_pydict(), type($).__name__"),
        ("DictionaryArray", "$ = pa.array(['a', 'b', 'a']).dictionary_encode()", "$ = pa.array(['a', 'b', 'b']).dictionary_encode()", "$.to_pylist(), str($.type)"),
        ("StructArray", "$ = pa.array([{'a': 1}, {'a': 2}])", "$ = pa.array([{'a': 1}, {'a': 3}])", "$.to_pylist(), str($.type)"),
        ("Scalar", "$ = pa.scalar(5, pa.int8())", "$ = pa.scalar(5, pa.int16())", "repr($)"),
        ("Schema and Field", "$ = pa.schema([pa.field('a', pa.int8(), nullable=False, metadata={'k': 'v'})])", "$ = pa.schema([pa.field('a', pa.int8())])", "str($), $.field(0).nullable, $.field(0).metadata"),
        ("DataType", "$ = pa.dictionary(pa.int8(), pa.string(), ordered=True)", "$ = pa.dictionary(pa.int8(), pa.string())", "str($), $.ordered"),
        ("Buffer", "$ = pa.py_buffer(b'abc')", "$ = pa.py_buffer(b'abd')", "$.to_pybytes()"),
        ("compute.Expression", "$ = pc.field('a') > 1", "$ = pc.field('a') > 2", "str($)"),
        ("InMemoryDataset", "$ = pds.dataset(pa.table({'a': [1, 2]}))", "$ = pds.dataset(pa.table({'a': [1, 3]}))", "$.to_table().to_pydict()"),
        ("RecordBatchReader", "$ = pa.table({'a': [1, 2, 3, 4]}).to_reader(max_chunksize=1)\n_ = $.read_next_batch()", "$.read_next_batch()", "$.read_next_batch().to_pydict()"),
    ),
    *_cases(
        "scipy",
        ("sparse.csr_matrix", "$ = scipy.sparse.csr_matrix(np.eye(3))", "$.data[0] = 9", "$.toarray().tolist(), type($).__name__"),
        ("sparse.csc_array", "$ = scipy.sparse.csc_array(np.eye(3))", "$.data[0] = 9", "$.toarray().tolist(), type($).__name__"),
        ("sparse.coo_matrix", "$ = scipy.sparse.coo_matrix(np.eye(3))", "$.data[0] = 9", "$.toarray().tolist(), type($).__name__"),
        ("sparse.lil_matrix", "$ = scipy.sparse.lil_matrix(np.eye(3))", "$[0, 1] = 9", "$.toarray().tolist(), type($).__name__"),
        ("sparse.dok_matrix", "$ = scipy.sparse.dok_matrix(np.eye(3))", "$[0, 1] = 9", "$.toarray().tolist(), type($).__name__"),
        ("sparse.dia_matrix", "$ = scipy.sparse.dia_matrix(np.eye(3))", "$.data[0, 0] = 9", "$.toarray().tolist(), type($).__name__"),
        ("sparse.bsr_matrix", "$ = scipy.sparse.bsr_matrix(np.eye(4), blocksize=(2, 2))", "$.data[0, 0, 0] = 9", "$.toarray().tolist(), $.blocksize"),
        ("interpolate.interp1d", "$ = scipy.interpolate.interp1d([0, 1, 2], [0, 1, 4])", "$.y[0] = 9", "$(0.5).tolist(), $.y.tolist()"),
        ("interpolate.CubicSpline", "$ = scipy.interpolate.CubicSpline([0, 1, 2], [0, 1, 4])", "$.c[0, 0] = 9", "$(0.5).tolist(), $.c.tolist()"),
        ("interpolate.UnivariateSpline", "$ = scipy.interpolate.UnivariateSpline([0, 1, 2, 3, 4], [0, 1, 4, 9, 16], s=0)", "$.set_smoothing_factor(100)", "$(0.5).tolist()"),
        ("interpolate.RBFInterpolator", "$ = scipy.interpolate.RBFInterpolator([[0.0], [1], [2]], [0, 1, 4])", "$.d[0] = 9", "$.d.tolist(), $.y.tolist()"),
        ("stats frozen distribution", "$ = scipy.stats.norm(1, 2)", "$.kwds['scale'] = 3", "$.args, $.kwds, $.dist.name"),
        ("stats.gaussian_kde", "$ = scipy.stats.gaussian_kde([1.0, 2, 4])", "$.set_bandwidth(0.5)", "$([1.5]).tolist()"),
        ("stats test result", "$ = scipy.stats.ttest_ind([1, 2, 3], [2, 3, 5])", "$ = scipy.stats.ttest_ind([1, 2, 3], [2, 3, 6])", "repr($)"),
        ("spatial.KDTree", "$ = scipy.spatial.KDTree(np.arange(6.0).reshape(3, 2))", "$ = scipy.spatial.KDTree(np.arange(8.0).reshape(4, 2))", "$.data.tolist(), $.query([0, 0])"),
        ("spatial.cKDTree", "$ = scipy.spatial.cKDTree(np.arange(6.0).reshape(3, 2))", "$ = scipy.spatial.cKDTree(np.arange(8.0).reshape(4, 2))", "$.data.tolist(), $.query([0, 0])"),
        ("spatial.Rotation", "$ = scipy.spatial.transform.Rotation.from_euler('z', 90, degrees=True)", "$ = $ * $", "$.as_quat().tolist()"),
        ("spatial.ConvexHull", "$ = scipy.spatial.ConvexHull(np.array([[0.0, 0], [1, 0], [0, 1], [0.1, 0.1]]))", "$ = scipy.spatial.ConvexHull(np.array([[0.0, 0], [2, 0], [0, 1]]))", "$.volume, $.vertices.tolist()"),
        ("spatial.Delaunay", "$ = scipy.spatial.Delaunay(np.array([[0.0, 0], [1, 0], [0, 1], [1, 1.1]]))", "$ = scipy.spatial.Delaunay(np.array([[0.0, 0], [2, 0], [0, 1]]))", "$.simplices.tolist()"),
        ("optimize.OptimizeResult", "$ = scipy.optimize.minimize(lambda v: (v[0] - 1) ** 2, [0.0])", "$.nit = 99", "$.x.tolist(), $.nit, $.message"),
        ("signal.TransferFunction", "$ = scipy.signal.TransferFunction([1], [1, 2])", "$.num = [2]", "$.num.tolist(), $.den.tolist()"),
        ("sparse.linalg.LinearOperator", "$ = scipy.sparse.linalg.aslinearoperator(np.eye(2))", "$.A[0, 0] = 5", "$.matvec([1, 2]).tolist()"),
    ),
    *_cases(
        "scikit-learn",
        ("LogisticRegression", "$ = sklearn.linear_model.LogisticRegression().fit(sk_X, sk_y)", "$.coef_[0, 0] = 5", "$.predict_proba(sk_X[:2]).tolist(), $.get_params()"),
        ("an estimator before and after fit", "$ = sklearn.linear_model.Ridge()", "$.fit(sk_X, sk_y)", "sorted(vars($)), $.get_params()"),
        ("RandomForestClassifier", "$ = sklearn.ensemble.RandomForestClassifier(n_estimators=3, random_state=0).fit(sk_X, sk_y)", "$.set_params(n_estimators=4)", "$.predict_proba(sk_X).tolist(), $.get_params()"),
        ("GradientBoostingRegressor", "$ = sklearn.ensemble.GradientBoostingRegressor(n_estimators=3, random_state=0).fit(sk_X, sk_y)", "$.fit(sk_X, sk_y + 1)", "$.predict(sk_X[:3]).tolist()"),
        ("HistGradientBoostingClassifier", "$ = sklearn.ensemble.HistGradientBoostingClassifier(max_iter=3, random_state=0).fit(sk_X, sk_y)", "$.fit(sk_X, 1 - sk_y)", "$.predict(sk_X[:3]).tolist()"),
        ("IsolationForest", "$ = sklearn.ensemble.IsolationForest(n_estimators=3, random_state=0).fit(sk_X)", "$.offset_ = 1", "$.score_samples(sk_X[:3]).tolist(), $.offset_"),
        ("Pipeline", "$ = sklearn.pipeline.make_pipeline(sklearn.preprocessing.StandardScaler(), sklearn.linear_model.Ridge()).fit(sk_X, sk_y)", "$[0].mean_[0] = 7", "$.predict(sk_X[:3]).tolist()"),
        ("ColumnTransformer", "$ = sklearn.compose.ColumnTransformer([('s', sklearn.preprocessing.StandardScaler(), [0])], remainder='passthrough').fit(sk_X)", "$.named_transformers_['s'].mean_[0] = 7", "$.transform(sk_X[:2]).tolist()"),
        ("GridSearchCV", "$ = sklearn.model_selection.GridSearchCV(sklearn.linear_model.Ridge(), {'alpha': [1, 2]}, cv=2).fit(sk_X, sk_y)", "$.best_estimator_.coef_[0] = 7", "$.best_params_, $.best_estimator_.coef_.tolist()"),
        ("KMeans", "$ = sklearn.cluster.KMeans(2, n_init=1, random_state=0).fit(sk_X)", "$.cluster_centers_[0, 0] = 7", "$.predict(sk_X[:3]).tolist(), $.cluster_centers_.tolist()"),
        ("PCA", "$ = sklearn.decomposition.PCA(2).fit(sk_X)", "$.mean_[0] = 7", "$.transform(sk_X[:2]).tolist()"),
        ("TfidfVectorizer", "$ = sklearn.feature_extraction.text.TfidfVectorizer().fit(['a bb cc', 'bb dd'])", "$.vocabulary_['zz'] = 9", "$.get_feature_names_out().tolist(), $.vocabulary_"),
        ("CountVectorizer with a function of the notebook", "def _cut(text):\n    return text.split()\n$ = sklearn.feature_extraction.text.CountVectorizer(tokenizer=_cut, token_pattern=None).fit(['a bb'])", "$.fit(['c'])", "$.vocabulary_"),
        ("SVC", "$ = sklearn.svm.SVC(random_state=0).fit(sk_X, sk_y)", "$.fit(sk_X, 1 - sk_y)", "$.decision_function(sk_X[:3]).tolist()"),
        ("MLPClassifier", "$ = sklearn.neural_network.MLPClassifier((3,), max_iter=2, random_state=0).fit(sk_X, sk_y)", "$.coefs_[0][0, 0] = 7", "$.predict_proba(sk_X[:2]).tolist()"),
        ("SGDClassifier", "$ = sklearn.linear_model.SGDClassifier(random_state=0).fit(sk_X, sk_y)", "$.partial_fit(sk_X, 1 - sk_y)", "$.coef_.tolist(), $.t_"),
        ("DecisionTreeClassifier", "$ = sklearn.tree.DecisionTreeClassifier(max_depth=2, random_state=0).fit(sk_X, sk_y)", "$.tree_.value[0, 0, 0] = 7", "$.tree_.threshold.tolist(), $.tree_.value.tolist()"),
        ("KNeighborsClassifier", "$ = sklearn.neighbors.KNeighborsClassifier(algorithm='kd_tree').fit(sk_X.copy(), sk_y)", "$.fit(sk_X, 1 - sk_y)", "$.predict(sk_X[:3]).tolist()"),
        ("BallTree", "$ = sklearn.neighbors.BallTree(sk_X.copy())", "$ = sklearn.neighbors.BallTree(sk_X[:20])", "$.query(sk_X[:1], k=2)[1].tolist()"),
        ("OneHotEncoder", "$ = sklearn.preprocessing.OneHotEncoder().fit([['a'], ['b']])", "$.categories_[0][0] = 'z'", "[c.tolist() for c in $.categories_]"),
        ("LabelEncoder", "$ = sklearn.preprocessing.LabelEncoder().fit(['a', 'b'])", "$.classes_[0] = 'z'", "$.classes_.tolist()"),
        ("FunctionTransformer", "$ = sklearn.preprocessing.FunctionTransformer(lambda v: v * 2)", "$.func = lambda v: v * 3", "$.transform(2)"),
        ("GaussianNB", "$ = sklearn.naive_bayes.GaussianNB().fit(sk_X, sk_y)", "$.theta_[0, 0] = 7", "$.theta_.tolist()"),
        ("GaussianProcessRegressor", "$ = sklearn.gaussian_process.GaussianProcessRegressor(random_state=0).fit(sk_X, sk_y)", "$.alpha_[0] = 7", "$.alpha_.tolist(), repr($.kernel_)"),
        ("SimpleImputer", "$ = sklearn.impute.SimpleImputer().fit(sk_X)", "$.statistics_[0] = 7", "$.statistics_.tolist()"),
        ("CalibratedClassifierCV", "$ = sklearn.calibration.CalibratedClassifierCV(sklearn.naive_bayes.GaussianNB(), cv=2).fit(sk_X, sk_y)", "$.calibrated_classifiers_.pop()", "$.predict_proba(sk_X[:2]).tolist()"),
        ("KFold", "$ = sklearn.model_selection.KFold(3, shuffle=True, random_state=0)", "$.n_splits = 4", "[t.tolist() for _, t in $.split(sk_X)]"),
        ("Bunch", "$ = sklearn.datasets.load_iris()", "$.data[0, 0] = 99", "$.data[:2].tolist(), $.target_names.tolist(), sorted($)"),
    ),
    *_cases(
        "statsmodels",
        ("OLS", "$ = sm.OLS(sm_y.copy(), sm_X.copy())", "$.exog[0, 0] = 9", "$.endog.tolist(), $.exog.tolist()"),
        ("OLS results", "$ = sm.OLS(sm_y.copy(), sm_X.copy()).fit()", "$.params[0] = 9", "$.params.tolist(), $.rsquared, $.model.endog.tolist()"),
        ("OLS results by formula", "$ = smf.ols('y ~ a + np.log(b + 1)', sm_df.copy()).fit()", "$.df_resid = 1", "$.params.tolist(), list($.params.index), $.df_resid"),
        ("GLM results", "$ = sm.GLM(sm_y.copy(), sm_X.copy(), family=sm.families.Gaussian()).fit()", "$.params[0] = 9", "$.params.tolist(), $.aic"),
        ("Logit results", "$ = sm.Logit((sm_y > sm_y.mean()).astype(int), sm_X.copy()).fit(disp=0)", "$.params[0] = 9", "$.params.tolist(), $.llf"),
        ("ARIMA results", "$ = tsa.ARIMA(sm_y.copy(), order=(1, 0, 0)).fit()", "$.params[0] = 9", "$.params.tolist(), $.aic"),
        ("ExponentialSmoothing results", "$ = tsa.SimpleExpSmoothing(sm_y.copy(), initialization_method='estimated').fit()", "$.params['smoothing_level'] = 9", "$.params['smoothing_level'], $.fittedvalues.tolist()"),
    ),
    *_cases(
        "matplotlib",
        ("figure.Figure", "$ = matplotlib.figure.Figure(figsize=(2, 2))\n$ax = $.subplots()\n_ = $ax.plot([1, 3, 2])\ndel $ax", "$.axes[0].set_title('t')", "pixels($)"),
        ("Figure of pyplot, closed", "$ = plt.figure(figsize=(2, 2))\n_ = $.add_subplot().scatter([1, 2], [3, 4])\nplt.close($)", "$.axes[0].set_xlim(0, 9)", "pixels($)"),
        ("Axes with a legend and an image", "$ = matplotlib.figure.Figure(figsize=(2, 2)).subplots()\n_ = $.imshow([[1, 2], [3, 4]])\n_ = $.plot([0, 1], label='l')\n_ = $.legend()", "$.set_title('t')", "pixels($.figure), $.get_title()"),
        ("Axes on a log scale with bars", "$ = matplotlib.figure.Figure(figsize=(2, 2)).subplots()\n_ = $.bar(['a', 'b'], [1, 100])\n$.set_yscale('log')", "$.patches[0].set_color('red')", "pixels($.figure)"),
        ("grid of Axes", "$ = matplotlib.figure.Figure(figsize=(3, 2)).subplots(1, 2, sharey=True)\n_ = $[0].hist([1, 2, 2])", "$[1].plot([1, 2])", "pixels($[0].figure)"),
        ("lines.Line2D", "$ = matplotlib.lines.Line2D([0, 1], [2, 3], color='red')", "$.set_linewidth(5)", "$.get_color(), $.get_linewidth(), $.get_xydata().tolist()"),
        ("text.Text", "$ = matplotlib.text.Text(0, 1, 'a')", "$.set_text('b')", "$.get_text(), $.get_position()"),
        ("patches.Rectangle", "$ = matplotlib.patches.Rectangle((0, 0), 1, 2)", "$.set_width(3)", "$.get_width(), $.get_facecolor()"),
        ("colors.ListedColormap", "$ = matplotlib.colors.ListedColormap(['red', 'blue'])", "$.colors.append('green')", "$.colors, $.N"),
        ("colors.LinearSegmentedColormap", "$ = matplotlib.colormaps['jet'].copy()", "$.set_bad('red')", "$([0.1, 0.5, float('nan')]).tolist()"),
        ("colors.Normalize", "$ = matplotlib.colors.Normalize(0, 1)", "$.vmax = 2", "$.vmin, $.vmax, $.clip"),
        ("transforms.Affine2D", "$ = matplotlib.transforms.Affine2D().rotate(1)", "$.translate(1, 2)", "$.get_matrix().tolist()"),
        ("path.Path", "$ = matplotlib.path.Path([[0, 0], [1, 1]])", "$.vertices[0, 0] = 5", "$.vertices.tolist()"),
        ("gridspec.GridSpec", "$ = matplotlib.gridspec.GridSpec(2, 3, width_ratios=[1, 2, 3])", "$.set_width_ratios([3, 2, 1])", "$.get_width_ratios(), $.nrows"),
        ("ticker.FuncFormatter", "$ = matplotlib.ticker.FuncFormatter(lambda v, p: f'{v}!')", "$.offset_string = 'o'", "$(1), $.offset_string"),
        ("RcParams", "$ = matplotlib.rcParams.copy()", "$['lines.linewidth'] = 7", "$['lines.linewidth'], type($).__name__"),
    ),
    *_cases(
        "plotly",
        ("graph_objects.Figure", "$ = go.Figure(go.Scatter(x=[1, 2], y=[3, 4]))", "$.update_layout(title='t')", "json.dumps(json.loads($.to_json()), sort_keys=True)"),
        ("graph_objects.Scatter", "$ = go.Scatter(x=[1, 2], y=[3, 4])", "$.marker.color = 'red'", "$.to_plotly_json()"),
        ("express figure", "$ = px.bar(x=['a', 'b'], y=[1, 2], color=['u', 'v'])", "$.data[0].y = [9]", "json.dumps(json.loads($.to_json()), sort_keys=True)"),
        ("subplots", "$ = plotly.subplots.make_subplots(1, 2)\n_ = $.add_scatter(y=[1, 2], row=1, col=2)", "$.add_scatter(y=[1, 2], row=1, col=1)", "json.dumps(json.loads($.to_json()), sort_keys=True)"),
    ),
    *_cases(
        "networkx",
        ("Graph", "$ = nx.Graph([('a', 'b'), ('b', 'c')], kind='k')", "$['a']['b']['w'] = 2", "list($.edges(data=True)), list($.nodes(data=True)), $.graph"),
        ("Graph, looked at", "$ = nx.path_graph(4)\n_ = $.adj, $.edges, $.nodes, $.degree", "$.remove_node(0)", "list($.edges)"),
        ("DiGraph", "$ = nx.DiGraph([(1, 2), (2, 3)])", "$.remove_edge(1, 2)", "list($.edges), list($.pred[2])"),
        ("MultiDiGraph", "$ = nx.MultiDiGraph([(1, 2), (1, 2)])", "$.add_edge(1, 2)", "list($.edges(keys=True))"),
        ("subgraph view", "$ = nx.path_graph(4).subgraph([0, 1, 2])", "$._graph.remove_edge(0, 1)", "list($.edges), list($._graph.edges)"),
        ("frozen graph", "$ = nx.freeze(nx.path_graph(3))", "$.graph['k'] = 1", "list($.edges), $.graph, nx.is_frozen($)"),
    ),
    *_cases(
        "xarray",
        ("DataArray", "$ = xr.DataArray(np.arange(4.0).reshape(2, 2), dims=('x', 'y'), coords={'x': [10, 20]}, attrs={'unit': 'm'}, name='t')", "$[0, 0] = 9", "$.to_dict(), $.name"),
        ("DataArray attributes", "$ = xr.DataArray([1], dims='x')", "$.attrs['k'] = 1", "$.to_dict()"),
        ("Dataset", "$ = xr.Dataset({'t': ('x', [1.0, 2.0])}, coords={'time': ('x', pd.date_range('2024', periods=2))})", "$['u'] = $['t'] * 2", "$.to_dict()"),
        ("Variable", "$ = xr.Variable('x', [1, 2], {'k': 1})", "$[0] = 9", "$.to_dict()"),
        ("DataArrayGroupBy", "$ = xr.DataArray([1, 2, 3], dims='x', coords={'g': ('x', [0, 0, 1])}).groupby('g')", "$ = xr.DataArray([1, 2, 4], dims='x', coords={'g': ('x', [0, 0, 1])}).groupby('g')", "$.sum().to_dict()"),
        ("DataArray over dask", "$ = xr.DataArray(np.arange(4), dims='x').chunk({'x': 2}) + 1", "$ = $ + 1", "$.compute(scheduler='sync').to_dict(), $.chunks"),
        ("DataTree", "$ = xr.DataTree.from_dict({'/a': xr.Dataset({'v': 1})})", "$['/a'].attrs['k'] = 1", "$.to_dict()['/a'].to_dict()"),
    ),
    *_cases(
        "PIL",
        ("Image, RGB", "$ = PIL.Image.new('RGB', (3, 2), 'red')", "$.putpixel((0, 0), (1, 2, 3))", "$.tobytes(), $.size, $.mode"),
        ("Image, palette", "$ = PIL.Image.new('RGB', (3, 2), 'red').quantize(4)", "$.putpixel((0, 0), 1)", "$.tobytes(), $.getpalette(), $.mode"),
        ("Image, with info", "$ = PIL.Image.new('L', (2, 2))\n$.info['dpi'] = (72, 72)", "$.info['dpi'] = (96, 96)", "$.tobytes(), $.info"),
        ("Image, opened from a file", "PIL.Image.new('RGB', (2, 2), 'blue').save('in.png')\n$ = PIL.Image.open('in.png')", "$.rotate(90); $.putpixel((0, 0), (1, 2, 3))", "$.tobytes(), $.size, $.format"),
        ("ImageDraw", "$ = PIL.ImageDraw.Draw(PIL.Image.new('L', (4, 4)))", "$.line((0, 0, 3, 3), fill=255)", "$._image.tobytes()"),
        ("ImageFont", "$ = PIL.ImageFont.load_default(12)", "$ = PIL.ImageFont.load_default(14)", "$.getbbox('abc')"),
        ("ImageFilter", "$ = PIL.ImageFilter.GaussianBlur(2)", "$.radius = (3, 3)", "$.radius"),
    ),
    *_cases(
        "dask",
        ("array", "$ = da.arange(6, chunks=3) + 1", "$ = $ * 2", "$.compute(scheduler='sync').tolist(), $.chunks"),
        ("array over an ndarray", "$ = da.from_array(np.arange(4), chunks=2)", "$[0] = 9", "$.compute(scheduler='sync').tolist()"),
        ("dataframe", "$ = dd.from_pandas(pd.DataFrame({'a': [1, 2, 3]}), npartitions=2)", "$['b'] = $.a + 1", "$.compute(scheduler='sync').to_dict('split'), $.npartitions"),
        ("bag", "$ = db.from_sequence([1, 2, 3], npartitions=2).map(lambda v: v + 1)", "$ = $.filter(lambda v: v > 2)", "$.compute(scheduler='sync')"),
        ("delayed", "$ = dask.delayed(sum)([1, dask.delayed(max)(2, 3)])", "$ = $ + 1", "$.compute(scheduler='sync')"),
    ),
    *_cases(
        "joblib",
        ("Memory", "$ = joblib.Memory('cache', verbose=0)", "$.verbose = 5", "$.verbose, type($.store_backend).__name__"),
        ("Parallel", "$ = joblib.Parallel(n_jobs=1)", "$.verbose = 5", "$.verbose, $.n_jobs"),
    ),
    *_cases(
        "torch",
        ("Tensor", "$ = torch.arange(6.0).reshape(2, 3)", "$[0, 0] = 9", "$.tolist(), $.dtype, $.requires_grad"),
        ("Tensor with a gradient", "$ = torch.ones(2, requires_grad=True)\n($ * 3).sum().backward()", "$.grad.zero_()", "$.tolist(), $.grad.tolist(), $.is_leaf"),
        ("Tensor, bfloat16", "$ = torch.ones(3, dtype=torch.bfloat16)", "$[0] = 2", "$.tolist(), $.dtype"),
        ("Tensor that is a result", "$ = torch.ones(2, requires_grad=True) * 3", "$ = torch.ones(2, requires_grad=True) * 4", "$.tolist(), $.requires_grad, $.is_leaf"),
        ("view of a Tensor", "$ = torch.arange(6.0)[1:5:2]", "$[0] = 9", "$.tolist(), $.stride(), $.untyped_storage().nbytes()", "It shares the memory of its storage; autograd no longer knows it as a view."),
        ("sparse Tensor", "$ = torch.eye(3).to_sparse()", "$ = $ * 2", "$.to_dense().tolist(), $.layout"),
        ("nn.Linear", "$ = nn.Linear(2, 1)", "_ = nn.init.zeros_($.weight)", "{k: v.tolist() for k, v in $.state_dict().items()}, $.training"),
        ("nn.Module of the notebook", "$ = Net()", "$.count += 1", "{k: v.tolist() for k, v in $.state_dict().items()}, type($) is Net, $.training"),
        ("nn.Module in training mode", "$ = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))", "_ = $.eval()", "$.training, [m.training for m in $]"),
        ("nn.Module with a hook", "$ = nn.Linear(2, 1)\n_ = $.register_forward_hook(lambda m, i, o: o * 2)", "$._forward_hooks.clear()", "{k: v.tolist() for k, v in $.state_dict().items()}, len($._forward_hooks)"),
        ("state_dict", "$ = nn.Linear(2, 1).state_dict()", "_ = $['bias'].zero_()", "{k: v.tolist() for k, v in $.items()}"),
        ("optim.Adam", "_net = nn.Linear(2, 1)\n$ = torch.optim.Adam(_net.parameters(), lr=0.1)\n_net(torch.ones(1, 2)).sum().backward()\n$.step()\ndel _net", "$.param_groups[0]['lr'] = 0.2", "$.state_dict()['param_groups'][0]['lr'], [{k: v.tolist() for k, v in s.items()} for s in $.state.values()], [p.tolist() for p in $.param_groups[0]['params']]"),
        ("optim.SGD, one more step", "$ = torch.optim.SGD([torch.ones(2, requires_grad=True)], lr=0.1, momentum=0.9)\n$.param_groups[0]['params'][0].grad = torch.ones(2)", "$.step()", "[p.tolist() for p in $.param_groups[0]['params']], len($.state)"),
        ("lr_scheduler", "$ = torch.optim.lr_scheduler.StepLR(torch.optim.SGD([torch.ones(2, requires_grad=True)], lr=0.1), 2)", "$.optimizer.step(); $.step()", "$.state_dict(), $.optimizer.param_groups[0]['lr']"),
        ("Generator", "$ = torch.Generator().manual_seed(3)", "_ = torch.rand(1, generator=$)", "$.get_state().tolist()[:64], $.initial_seed()"),
        ("TensorDataset", "$ = torch.utils.data.TensorDataset(torch.arange(4.0))", "$.tensors[0][0] = 9", "[t[0].tolist() for t in $]"),
        ("DataLoader", "$ = torch.utils.data.DataLoader([1, 2, 3], batch_size=2)", "$.dataset.append(4)", "[b.tolist() for b in $]"),
        ("dtype and device", "$ = [torch.float16, torch.device('cpu')]", "$[0] = torch.float32", "repr($)"),
        ("ScriptModule", "$ = torch.jit.trace(nn.ReLU(), torch.ones(1))", "$ = torch.jit.trace(nn.Sigmoid(), torch.ones(1))", "$(torch.tensor([-1.0, 2])).tolist()"),
    ),
]  # fmt: skip

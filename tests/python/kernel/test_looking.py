# ruff: noqa: E501 - a case is one line of a table
"""The module path, loggers and numpy's errors are inputs of the runs that could tell a difference, and of no other."""

from __future__ import annotations

from typing import Any

import pytest

from tests.python.generated.check import Lab
from tests.python.kernel.test_repeat_rule import Case

SYS = "import os, sys, logging"
NP = "import numpy as np\nv = np.array([1.0, 0.0])"
# Code of a library that asks once and keeps the answer.
LAZY = "import sys\n_found = []\n\n\ndef f():\n    if not _found:\n        try:\n            import optional_part\n            _found.append(optional_part.K)\n        except ImportError:\n            _found.append(None)\n    return _found[0]\n"
ASKS = "import logging\nlog = logging.getLogger('asks')\n_found = []\n\n\ndef f():\n    if not _found:\n        _found.append(log.getEffectiveLevel())\n    return _found[0]\n"
HEAR = "import logging, sys\nlogging.basicConfig(stream=sys.stdout, format='%(message)s', level=logging.{})"

CASES = [
    # The module path.
    Case("a folder on the module path", {"a": SYS, "b": "n = sum(range(3))\nprint(n)", "c": "import json, colorsys\nprint(json.dumps(n))", "d": "import numpy\nprint(numpy.arange(3))"}, {"ab": "sys.path.append('..')\nsys.path.insert(0, 'lib')"}, "ab", files={"lib/own.py": "K = 1\n"}),
    Case("a folder that is taken from the path", {"a": SYS, "ab": "sys.path.insert(0, 'lib')", "b": "import own\nprint(own.K)", "c": "n = 1"}, {"ab": ""}, "b", may="c", files={"lib/own.py": "K = 1\n", "own.py": "K = 2\n"}),
    Case("a module that another one hides", {"a": SYS, "b": "import own\nk = own.K", "c": "print(k)", "d": "n = 2"}, {"ab": "sys.path.insert(0, 'lib')"}, "ab b c", may="d", files={"lib/own.py": "K = 1\n", "own.py": "K = 2\n"}),
    Case("a module of Python's that another one hides", {"a": SYS, "b": "import colorsys\nk = getattr(colorsys, 'K', 0)\nprint(k)", "c": "n = 2"}, {"ab": "sys.path.insert(0, 'lib')"}, "ab b", may="c", files={"lib/colorsys.py": "K = 1\n"}),
    Case("a module that was not there", {"a": SYS, "b": "try:\n    import own\n    k = own.K\nexcept ImportError:\n    k = 0\nprint(k)", "c": "n = 2"}, {"ab": "sys.path.append('lib')"}, "ab b", may="c", files={"lib/own.py": "K = 1\n"}),
    Case("a module that is looked for without an import", {"a": SYS + "\nimport importlib.util, importlib.machinery", "b": "print(importlib.util.find_spec('own') is None)", "c": "print(importlib.machinery.PathFinder.find_spec('own') is None)", "d": "n = 2"}, {"ab": "sys.path.append('lib')"}, "ab b c", may="d", files={"lib/own.py": "K = 1\n"}),
    Case("a package in two folders", {"a": SYS + "\nsys.path.append('one')", "b": "import spread\nprint(len(list(spread.__path__)))", "c": "n = 2"}, {"ab": "sys.path.append('two')"}, "ab b", may="c", files={"one/spread/x.py": "", "two/spread/y.py": ""}),
    Case("whoever looks at the path itself", {"a": SYS, "b": "print('lib' in sys.path)", "c": "n = len(sys.path) > 99\nprint(sys.path[-1] == 'lib')", "d": "p = list(sys.path)\nprint(p[-1] == 'lib')", "e": "print('lib' in str(sys.path), 'lib' in ' '.join(sys.path))", "f": "print([x for x in sys.path if x == 'lib'], tuple(sys.path)[-1] == 'lib', [*sys.path][-1] == 'lib', sorted(sys.path)[0] is None)", "g": "print(sys.path.copy()[-1] == 'lib', sys.path[-1:] == ['lib'], sys.path.count('lib'))", "h": "n = 2"}, {"ab": "sys.path.append('lib')"}, "ab b c d e f g", files={"lib/own.py": ""}),
    Case("copies of the path", {"a": SYS + "\nimport copy, json, operator, pickle", "b": "print(copy.copy(sys.path)[-1] == 'lib')", "c": "print(copy.deepcopy(sys.path)[-1] == 'lib')", "d": "print(pickle.loads(pickle.dumps(sys.path))[-1] == 'lib')", "e": "print('\"lib\"' in json.dumps(sys.path))", "f": "print(operator.contains(sys.path, 'lib'), set(sys.path) >= {'lib'})", "g": "print(max(getattr(sys, 'pa' + 'th'), key=lambda entry: entry == 'lib') == 'lib')", "h": "match sys.path:\n    case [*_, 'lib']:\n        print('yes')\n    case _:\n        print('no')"}, {"ab": "sys.path.append('lib')"}, "ab b c d e f g h", files={"lib/own.py": ""}),
    Case("a function that puts a folder there which is there", {"a": SYS + "\ndef put():\n    if 'lib' not in sys.path:\n        sys.path.append('lib')", "ab": "sys.path.append('lib')", "b": "put()", "c": "import own\nprint(own.K)"}, {"ab": "n = 1"}, "ab b", may="c", files={"lib/own.py": "K = 1\n"}),
    Case("packages' data", {"a": SYS, "b": "from importlib import metadata\ntry:\n    v = metadata.version('no-such-package')\nexcept metadata.PackageNotFoundError:\n    v = None\nprint(v)", "c": "n = 2"}, {"ab": "sys.path.append('lib')"}, "ab b", may="c", files={"lib/no_such_package-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: no-such-package\nVersion: 1.0\n"}),
    Case("a library that keeps what it found", {"a": "import sys\nsys.path.append('site-packages')\nimport lazy", "c": "print(lazy.f())", "d": "print(lazy.f(), 2)", "e": "n = 1"}, {"b": "sys.path.append('lib')", "c": ""}, "b d", may="e", files={"site-packages/lazy.py": LAZY, "lib/optional_part.py": "K = 5\n"}),
    Case("a library that found it before the path was changed", {"a": "import sys\nsys.path.append('site-packages')\nimport lazy", "c": "print(lazy.f())", "d": "print(lazy.f(), 2)"}, {"b": "sys.path.append('lib')"}, "b c d", files={"site-packages/lazy.py": LAZY, "lib/optional_part.py": "K = 5\n"}),
    # Loggers.
    Case("a logger that is set up", {"a": SYS, "b": "n = sum(range(3))\nprint(n)", "c": "logging.getLogger('mine').info('i')", "d": "logging.getLogger('mine').warning('w')", "e": "logging.debug('d')", "f": "logging.info('root')"}, {"ab": HEAR.format("INFO")}, "ab c d f", may="e"),
    Case("a format of messages", {"a": SYS, "ab": HEAR.format("INFO"), "b": "n = 1", "c": "logging.info('i')", "d": "logging.debug('d')"}, {"ab": HEAR.format("INFO").replace("%(message)s", "<%(message)s>")}, "ab c"),
    Case("a style of messages", {"a": SYS, "ab": "logging.basicConfig(stream=sys.stdout, format='%(message)s{message}', style='%', level=20)", "c": "logging.info('i')"}, {"ab": "logging.basicConfig(stream=sys.stdout, format='%(message)s{message}', style='{', level=20)"}, "ab c"),
    Case("a level that is raised", {"a": HEAR.format("INFO") + "\ndef log(): return logging.getLogger('a.b')", "b": "log().setLevel('ERROR')", "c": "log().info('c')", "d": "logging.getLogger('a').info('d')", "e": "logging.getLogger('a.b.c').info('e')"}, {"b": "log().setLevel('DEBUG')"}, "b c e"),
    Case("what is said of a logger", {"a": HEAR.format("INFO") + "\ndef log(): return logging.getLogger('a.b')", "b": "logging.getLogger('a').setLevel('ERROR')", "c": "print(log().isEnabledFor(20))", "d": "print(log().getEffectiveLevel())", "e": "print(log().parent.level)", "f": "print(logging.getLogger('a').level)", "g": "print(log().level)", "h": "print(logging.getLogger('a').__repr__())", "i": "n = 1"}, {"b": "logging.getLogger('a').setLevel('DEBUG')"}, "b c d e f h", may="g"),
    Case("attributes of loggers by way of their dict", {"a": HEAR.format("INFO"), "c": "print(vars(logging.getLogger('x'))['level'])", "d": "print(logging.getLogger('x').__dict__['level'])"}, {"ab": "logging.getLogger('x').setLevel(10)"}, "ab c d"),
    Case("no logger at all", {"a": HEAR.format("INFO"), "c": "logging.getLogger('x').info('i')", "d": "print(logging.root.manager.disable)", "e": "n = 1"}, {"ab": "logging.disable(50)"}, "ab c d", may="e"),
    Case("names of levels, and what makes records", {"a": HEAR.format("INFO").replace("%(message)s", "%(levelname)s %(message)s"), "c": "logging.getLogger('x').info('i')", "d": "print(logging.getLevelName(20))", "e": "logging.getLogger('y').info('i')"}, {"b": "logging.addLevelName(20, 'NEWS')", "de": "old = logging.getLogRecordFactory()\ndef make(*a, **k):\n    record = old(*a, **k)\n    record.msg = 'another'\n    return record\nlogging.setLogRecordFactory(make)"}, "b c d de e"),
    Case("a logger that does not hand on", {"a": HEAR.format("INFO"), "b": "logging.getLogger('a').propagate = False", "c": "logging.getLogger('a.b').warning('c')", "d": "print(logging.getLogger('a').propagate)", "e": "logging.getLogger('x').warning('e')"}, {"b": "logging.getLogger('a').propagate = True"}, "b c d"),
    Case("a logger that is turned off", {"a": HEAR.format("INFO"), "b": "logging.getLogger('a').disabled = True", "c": "logging.getLogger('a').warning('c')", "d": "print(logging.getLogger('a').hasHandlers())", "e": "logging.getLogger('x').warning('e')"}, {"b": "logging.getLogger('a').disabled = False"}, "b c", may="d"),
    Case("an adapter, and a record that is handed over", {"a": HEAR.format("INFO"), "b": "logging.getLogger('a').setLevel('ERROR')", "c": "logging.LoggerAdapter(logging.getLogger('a'), {}).info('c')", "d": "logging.getLogger('a').handle(logging.makeLogRecord({'msg': 'd', 'levelno': 20}))", "e": "print(logging.root.handlers[0].level)"}, {"b": "logging.root.handlers[0].setLevel(40)"}, "b d e", may="c"),
    Case("setting up what is set up", {"a": SYS, "ab": HEAR.format("ERROR"), "b": HEAR.format("INFO"), "c": "logging.info('c')"}, {"ab": "n = 1"}, "ab b c"),
    Case("a level that an import sets", {"a": SYS + "\nsys.path.append('site-packages')", "b": "import sets", "c": "sets.f()", "d": "n = 1"}, {"ab": HEAR.format("DEBUG") + "\nlogging.getLogger('sets').setLevel('DEBUG')"}, "ab b c", may="d", files={"site-packages/sets.py": "import logging\nlog = logging.getLogger('sets')\nlog.setLevel('WARNING')\n\n\ndef f():\n    log.info('i')\n    log.warning('w')\n"}),
    Case("a level of a library's own under the root's", {"a": SYS + "\nsys.path.append('site-packages')\nimport sets", "ab": HEAR.format("ERROR"), "b": "sets.f()", "c": "n = 1"}, {"ab": HEAR.format("DEBUG")}, "ab b", files={"site-packages/sets.py": "import logging\nlog = logging.getLogger('sets')\nlog.setLevel('INFO')\n\n\ndef f():\n    log.debug('d')\n    log.info('i')\n"}),
    Case("a library that keeps a level", {"a": "import sys, logging\nsys.path.append('site-packages')\nimport asks", "c": "print(asks.f())", "d": "print(asks.f(), 2)", "e": "n = 1"}, {"b": "logging.getLogger('asks').setLevel(10)", "c": ""}, "b d", may="e", files={"site-packages/asks.py": ASKS}),
    Case("a library that was told a level", {"a": "import sys, logging\nsys.path.append('site-packages')\nimport asks", "b": "logging.getLogger('asks').setLevel(30)", "c": "print(asks.f())", "d": "logging.getLogger('asks').setLevel(20)", "e": "print(asks.f(), 2)", "f": "n = 1"}, {"b": "logging.getLogger('asks').setLevel(10)"}, "b c e", may="d f", files={"site-packages/asks.py": ASKS}),
    # Errors of floating point.
    Case("how errors are handled where there are none", {"a": NP, "b": "print((v + 1).sum(), np.sqrt(v).sum())", "c": "n = 1", "d": "w = v / 0\nprint(w)", "e": "with np.errstate(divide='raise'):\n    try:\n        v / 0\n    except FloatingPointError as error:\n        print(error)", "f": "print(np.geterr()['over'])", "g": "x = np.exp(v * 1000)\nprint(x)"}, {"ab": "np.seterr(all='ignore')"}, "ab d f g", may="e"),
    Case("errors that nobody hears of", {"a": NP, "b": "t = np.array([1e-300]) * 1e-300\nprint(t)", "c": "print(v + 1)"}, {"ab": "np.seterr(under='warn')"}, "ab b c"),
    Case("warnings that are held back", {"a": NP + "\nimport warnings", "b": "with warnings.catch_warnings():\n    warnings.simplefilter('ignore')\n    try:\n        print(v / 0)\n    except FloatingPointError as error:\n        print('raised')", "c": "n = 1"}, {"ab": "np.seterr(divide='raise')"}, "ab b"),
    Case("warnings that are kept in a list", {"a": NP + "\nimport warnings", "b": "with warnings.catch_warnings(record=True) as found:\n    w = v / 0\nprint(len(found))\ndel found", "c": "n = 1"}, {"ab": "np.seterr(all='ignore')"}, "ab b", may="c"),
    Case("errors that are raised and caught", {"a": NP, "ab": "np.seterr(all='raise')", "b": "try:\n    print(v / 0)\nexcept FloatingPointError:\n    print('raised')", "c": "n = 1"}, {"ab": "np.seterr(all='ignore')"}, "ab b", may="c"),
    Case("a handling that is set to what it is", {"a": NP, "ab": "m = 1", "b": "def quiet(): np.seterr(all='ignore')\nquiet()", "c": "print(v / 0)"}, {"ab": "np.seterr(all='ignore')"}, "ab b", may="c"),
    Case("what scikit-learn is set to", {"a": "import sklearn\nfrom sklearn.linear_model import LinearRegression", "b": "n = 1", "c": "print(round(float(LinearRegression().fit([[1.0], [2.0]], [1.0, 2.0]).coef_[0]), 3))", "d": "print(sklearn.get_config()['assume_finite'])"}, {"ab": "sklearn.set_config(assume_finite=True)"}, "ab d", may="c"),
]  # fmt: skip


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Lab(tmp_path_factory.mktemp("looking")) as found:
        yield found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_what_is_set_counts_where_it_can_be_told(lab: Lab, case: Case) -> None:
    found = lab.check(case.generated())
    assert not found.differences and not found.skipped
    executed, must, may = found.executed[0], set(case.executed.split()), set(case.may.split())
    assert must <= executed, found.missed
    assert executed <= must | may, (executed - must - may, found.missed)

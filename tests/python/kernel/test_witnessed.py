# ruff: noqa: E501 - a case is one line of a table
"""What only a run shows: names of star imports, code that was text, which results `_` is, settings under any name.

Every repeat is held against a run from scratch.
"""

from __future__ import annotations

import pytest

from nbrewind.kernel import witnessed
from nbrewind.kernel.session import analyze
from tests.python.generated.check import Lab
from tests.python.kernel.test_repeat_rule import Case

SHOWS_ITSELF = "class S:\n    def _ipython_display_(self):\n        print('me')\n    def __repr__(self):\n        return 'S'"

PATCHED = "from unittest.mock import patch\nclass C:\n    def get(self):\n        return 1\nc = C()"
BEGUN = "p = patch('textwrap.dedent', return_value='no')"
DEDENT = "import textwrap\nprint(textwrap.dedent(' a'))"

CASES = [
    Case("a star import of a library is no unknown", {"a": "from math import *", "b": "x = cos(0)", "c": "print(x, pi)"}, {"b": "x = cos(1)"}, "b c"),
    Case("a star import of the user's module", {"a": "from helpers import *", "b": "print(k)", "c": "z = 1"}, {"c": "z = 2"}, "c", files={"helpers.py": "k = 1\n"}),
    Case("a star import of an edited module", {"a": "from helpers import *", "b": "print(k)", "c": "z = 1"}, {}, "a b", files={"helpers.py": "k = 1\n"}, file_edit={"helpers.py": "k = 2\nm = 3\n"}),
    Case("a star takes the place of a name", {"a": "pi = 3", "b": "from math import *", "c": "print(pi)"}, {"a": "pi = 4"}, "a", may="b"),
    Case("a text that a function evaluates names what it reads", {"a": "op = '*'", "a1": "k = 2", "b": "def f(v):\n    return eval(str(v) + op + 'KK'[:1].lower())", "c": "f(3)", "d": "print(f(4))"}, {"a1": "k = 3"}, "a1 c d"),
    Case("another text names something else", {"a": "k, m = 2, 3", "b": "t = 'K'", "c": "print(eval(t.lower()))", "d": "print(1)"}, {"b": "t = 'M'"}, "b c"),
    Case("an evaluated text calls what the cell defines", {"a": "k = 2", "b": "t = 'h' + '()'", "c": "def h():\n    return k\nprint(eval(t))", "d": "print(1)"}, {"a": "k = 3"}, "a c"),
    Case("an executed text binds what was there", {"a": "x = 1\nt = 'x = 1'", "b": "x = 1", "c": "exec(t)", "d": "print(x)"}, {"b": "x = 2"}, "b c", may="d"),
    Case("an evaluated text asks the namespace", {"a": "k = 2", "b": "t = 'glo' + 'bals()[chr(107)]'", "c": "print(eval(t))", "d": "print(1)"}, {"d": "print(2)"}, "c d"),
    Case("an evaluator of another name", {"a": "k = 2", "b": "import pandas as pd\neval = pd.eval\nt = 'k + 1'", "c": "print(eval(t))", "d": "print(1)"}, {"d": "print(2)"}, "c d", may="b"),
    Case("`_` is of the last cell that showed something", {"a": "[5]", "b": "[6]", "c": "[7]", "d": "len(_)", "e": "print(3)"}, {}, "c d"),
    Case("`__` is of the one before", {"a": "[5]", "b": "[6]", "c": "[7]", "d": "len(__)", "e": "print(3)"}, {}, "b c d"),
    Case("what a cell shows that executes counts", {"a": "[5]", "b": "import os\nos.environ.copy()\n[6]", "c": "[7]", "d": "_ + __", "e": "print(3)"}, {}, "b c d"),
    Case("`_` of an object that shows itself", {"a": "5", "a1": SHOWS_ITSELF, "b": "S()", "d": "print(_)", "e": "print(3)"}, {}, "b d"),
    Case("`_` when the last line shows by itself", {"a": "[5]", "b": "from IPython.display import display\ndisplay(3)", "d": "print(_)", "e": "print(3)"}, {}, "a d"),
    Case("`_` that a cell took for its own", {"a": "5", "a1": "for _ in range(2): pass", "b": "6", "c": "7", "d": "_ + 1", "e": "print(3)"}, {}, "a1 d", may="a b c"),
    Case("`_` that is a number or a text is kept", {"a": "5", "b": "'six'", "c": "import numpy as np\nnp.float32(7)", "d": "print(_, __, ___)", "e": "n = 3"}, {"e": "print(_, type(_), __, ___)"}, "e"),
    Case("`_` that was nothing yet", {"a": "print(repr(_))", "b": "5", "c": "print(_, repr(__))"}, {"c": "print(_, repr(__), 1)"}, "c"),
    Case("another number under `_`", {"a": "5", "b": "print(_ + 1)", "c": "def f(): return _", "d": "print(f())"}, {"a": "6"}, "a b d", may="c"),
    Case("a number that is true", {"a": "True", "b": "print(_)"}, {"a": "1"}, "a b"),
    Case("another result comes between", {"a": "5", "b": "print(_)", "c": "n = 1"}, {"ab": "7"}, "ab b"),
    Case("a result is held back", {"a": "5", "b": "6", "c": "print(_)"}, {"b": "6;"}, "b c"),
    Case("results within a cell that is captured", {"a": "5", "b": "%%capture cap\n7", "c": "print(_)", "d": "n = 1"}, {"a": "6"}, "a c", may="b"),
    Case("results that go on after a number was given", {"a": "5", "b": "6", "c": "_ + 1", "d": "print(_, __, ___)"}, {"c": "_ + 2", "d": "print(_, __, ___, 1)"}, "c d"),
    Case("what a `with` patched is as it was", {"a": PATCHED, "b": "with patch('__main__.c.get', return_value=4):\n    print(c.get())", "c": "print(c.get())", "d": "x = 1"}, {"d": "x = 2"}, "d"),
    Case("what a decorator patched is as it was", {"a": PATCHED, "b": "@patch('os.getcwd', return_value='here')\ndef t(m):\n    import os\n    print(os.getcwd())", "c": "t()", "d": "x = 1"}, {"d": "x = 2"}, "d"),
    Case("a patch that was begun", {"a": PATCHED, "b": f"{BEGUN}\n_p = p.start()", "c": DEDENT, "d": "p.stop()", "e": DEDENT + "#"}, {"e": "x = 1"}, "b c d e", may="a"),
    Case("a patch that another cell begins", {"a": PATCHED, "b": BEGUN, "b1": "_p = p.start()", "c": DEDENT, "d": "p.stop()", "e": DEDENT + "#"}, {"e": "x = 1"}, "b b1 c d e", may="a"),
    Case("a patch that is entered by hand", {"a": PATCHED, "b": f"{BEGUN}\n_p = p.__enter__()", "c": DEDENT, "d": "p.__exit__(None, None, None)", "e": DEDENT + "#"}, {"e": "x = 1"}, "b c d e", may="a"),
    Case("any result", {"a": "5", "b": "6", "c": "Out[1] + 1"}, {}, "a b c"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_what_a_run_showed_counts(case: Case, lab: Lab) -> None:
    found = lab.check(case.generated())
    assert found.differences == []
    executed, must, may = found.executed[0], set(case.executed.split()), set(case.may.split())
    assert must <= executed <= must | may, (executed, found.missed)


def test_a_setting_is_one_wherever_its_function_was_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import matplotlib.pyplot as plt

    monkeypatch.setattr(witnessed, "_SETTINGS", {("matplotlib", "switch_backend")})

    def kinds(source: str, **scope: object) -> list[str]:
        effects = analyze(source)
        texts = [source[item["start"] : item["end"]] for item in effects["statements"]]
        witnessed.name_statements(effects, texts, scope)
        return [item["kind"] for item in effects["statements"]]

    text = "switch_backend('agg')"
    assert kinds(text, switch_backend=plt.switch_backend) == ["config"]
    assert kinds("chosen('agg')", chosen=plt.switch_backend) == ["config"]
    assert kinds("found = switch_backend('agg')", switch_backend=plt.switch_backend) == ["other"]
    assert kinds("switch_backend(pick())", switch_backend=plt.switch_backend) == ["other"]
    assert kinds(text, switch_backend=lambda name: None) == ["other"]
    assert kinds(text) == ["other"]
    assert kinds("from math import *\nx = 1") == ["import", "other"]

# ruff: noqa: E501 - a case is one line of a table
"""How figures, arrays and tables look is an input of the runs that looked, and of no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nbrewind.kernel import settings
from tests.python.books import Book
from tests.python.generated.check import Lab
from tests.python.kernel.test_repeat_rule import Case

PLT = "import numpy\nimport matplotlib\nmatplotlib.use('agg')\nimport matplotlib.pyplot as plt"
PD = "import pandas as pd\ndf = pd.DataFrame({'a': [1.23456, 2]})"
ARRAYS = "import numpy as np\nv = np.array([1.23456789, 2e-9])"
WIDTH = "print(plt.plot([1, 2])[0].get_linewidth())\nplt.close('all')"

CASES = [
    # What computes does not depend on how things look.
    Case("a parameter of figures", {"a": PLT, "b": "plt.rcParams['lines.linewidth'] = 3", "c": "y = sum(range(10))\nprint(y)", "d": WIDTH}, {"b": "plt.rcParams['lines.linewidth'] = 5"}, "b d", may="a"),
    Case("a parameter of figures that is set first", {"a": PLT, "b": "y = sum(range(10))\nprint(y)", "c": WIDTH}, {"ab": "plt.rcParams.update({'lines.linewidth': 7})"}, "ab c"),
    Case("the same parameters, said otherwise", {"a": PLT, "b": "plt.rcParams['lines.linewidth'] = 3", "c": WIDTH}, {"b": "plt.rc('lines', linewidth=3)"}, "b", may="a"),
    Case("a style", {"a": PLT, "b": "plt.style.use('ggplot')", "c": "n = len('abc')", "d": WIDTH + "\nprint(plt.rcParams['axes.facecolor'])"}, {"b": "plt.style.use('classic')"}, "b d", may="a"),
    Case("an option that is assigned", {"a": PD, "b": "pd.options.display.precision = 3", "c": "n = float(df['a'].sum())\nprint(n)", "d": "print(df)"}, {"d": "print(df, 1)"}, "d"),
    Case("how tables look", {"a": PD, "b": "pd.set_option('display.precision', 3)", "c": "n = float(df['a'].sum())\nprint(n)", "d": "print(df)"}, {"b": "pd.set_option('display.precision', 1)"}, "b d", may="a"),
    Case("a magic for figures", {"a": PLT, "b": "n = len('abc')"}, {"ab": "%matplotlib inline"}, "ab"),
    # Whoever looks, in whatever way.
    Case("a parameter that is asked for by the mapping's methods", {"a": PLT, "b": "plt.rcParams['lines.linewidth'] = 3", "c": "p = dict(plt.rcParams)\nq = matplotlib.rcParams.copy()\nprint(p['lines.linewidth'], q['lines.linewidth'])", "d": "print(plt.rcParams.get('lines.linewidth'))", "e": "print('lines.linewidth: 3' in str(matplotlib.rcParams))", "f": "print([v for k, v in plt.rcParams.items() if k == 'lines.linewidth'])"}, {"b": "plt.rcParams['lines.linewidth'] = 5"}, "b c d e f", may="a"),
    Case("a parameter that is set to what it is", {"a": PLT, "b": "plt.rcParams['lines.linewidth'] = 3", "c": "def f(): plt.rcParams['lines.linewidth'] = 3\nf()", "d": WIDTH}, {"b": "plt.rcParams['lines.linewidth'] = 5"}, "b c", may="a d"),
    Case("a parameter within a context", {"a": PLT, "b": "plt.rcParams['lines.linewidth'] = 3", "c": "with plt.rc_context({'font.size': 4}):\n    w = plt.rcParams['lines.linewidth']\nprint(w)"}, {"b": "plt.rcParams['lines.linewidth'] = 5"}, "b c", may="a"),
    Case("a table that draws", {"a": PLT + "\n" + PD, "b": "plt.rcParams['lines.linewidth'] = 3", "c": "print(df['a'].plot().lines[0].get_linewidth())\nplt.close('all')"}, {"b": "plt.rcParams['lines.linewidth'] = 5"}, "b c", may="a"),
    Case("what a colour's letter means", {"a": PLT + "\nimport matplotlib.colors as mc", "b": "mc.colorConverter.colors['b'] = (0, 0, 1)\nmc.colorConverter.cache.clear()", "c": "print(mc.to_rgb('b'))"}, {"b": "mc.colorConverter.colors['b'] = (0.5, 0, 1)\nmc.colorConverter.cache.clear()"}, "b c", may="a"),
    Case("options of tables by another way", {"a": PD, "b": "pd.options.display.precision = 3", "c": "print(pd.get_option('display.precision'))", "d": "print(pd.options.display.precision)", "e": "with pd.option_context('display.max_rows', 5):\n    print(df)", "f": "t = df.to_string()\nprint(len(t))", "g": "print(df.style.to_html(uuid='x'))"}, {"b": "pd.options.display.precision = 1"}, "b c d e f", may="a g"),
    Case("an option that is set to what it is", {"a": PD, "b": "pd.set_option('display.precision', 3)", "c": "def f(): pd.set_option('display.precision', 3)\nf()", "d": "print(df)"}, {"b": "pd.set_option('display.precision', 1)"}, "b c", may="d"),
    Case("an option that computing depends on", {"a": PD, "b": "pd.set_option('compute.use_bottleneck', False)", "c": "e = df[['a']]\nprint(len(e))"}, {"b": "pd.set_option('compute.use_bottleneck', True)"}, "b c", may="a"),
    Case("a function as an option", {"a": PD, "b": "pd.set_option('display.float_format', lambda v: f'<{v}>')", "c": "print(df)", "d": "n = 1"}, {"b": "pd.set_option('display.float_format', lambda v: f'[{v}]')"}, "b c", may="d"),
    # Arrays.
    Case("how arrays look", {"a": ARRAYS, "b": "np.set_printoptions(precision=3)", "c": "n = float(v.sum())\nprint(n, v.shape, len(v), v[0])", "d": "print(v)", "e": "v", "f": "t = str(v)", "g": "f'{v}'", "h": "print(np.get_printoptions()['precision'])", "i": "with np.printoptions(suppress=True):\n    print(v)", "j": "print([v], {'v': v})", "k": "print(np.array2string(v), np.zeros(1, dtype='i4,f8')[0])"}, {"b": "np.set_printoptions(precision=5)"}, "b d e f g h i j k", may="a"),
    Case("how arrays look, set before all", {"a": ARRAYS, "c": "n = v.sum()\nprint(n)", "d": "print(v)"}, {"ab": "np.set_printoptions(precision=5)"}, "ab d"),
    Case("how arrays look, by a function of the user's", {"a": ARRAYS + "\ndef show(x): return repr(x)", "b": "np.set_printoptions(precision=3)", "c": "x = show(3)", "d": "x = show(v)"}, {"b": "np.set_printoptions(precision=5)"}, "b d", may="a"),
    Case("how numbers by themselves look", {"a": ARRAYS, "b": "np.set_printoptions(legacy=False)", "c": "print(repr(np.float64(1.5)))"}, {"b": "np.set_printoptions(legacy='1.25')"}, "b c", may="a"),
    Case("an option of arrays that is set to what it is", {"a": ARRAYS, "b": "np.set_printoptions(precision=3)", "c": "def f(): np.set_printoptions(precision=3)\nf()", "d": "print(v)"}, {"b": "np.set_printoptions(precision=5)"}, "b c", may="a d"),
    Case("arrays in tables", {"a": ARRAYS + "\nimport pandas as pd\ndf = pd.DataFrame({'a': [v, v]})", "b": "np.set_printoptions(precision=3)", "c": "print(df)", "d": "n = len(df)"}, {"b": "np.set_printoptions(precision=5)"}, "b", may="a c"),
    # Loading edited modules anew.
    Case("modules that are loaded anew when they were edited", {"a": "import helpers", "b": "open('helpers.py', 'w').write('V = 22\\n')", "c": "print(helpers.V)"}, {"ab": "%load_ext autoreload\n%autoreload 2"}, "ab c", may="a b", files={"helpers.py": "V = 1\n"}),
    # Warnings.
    Case("a filter of warnings", {"a": "import numpy, warnings", "b": "n = sum(range(10))\nprint(n)", "c": "warnings.warn('old')", "d": "with warnings.catch_warnings():\n    warnings.simplefilter('ignore')\n    warnings.warn('hushed')", "e": "def f(): warnings.warn('in f', DeprecationWarning)\nf()", "f": "x = numpy.array([1.0]) / 0\nprint(x)"}, {"ab": "warnings.filterwarnings('ignore')"}, "ab c e f"),
    Case("a filter of warnings that is there and goes", {"a": "import numpy, warnings", "ab": "warnings.filterwarnings('ignore')", "b": "n = sum(range(10))", "c": "warnings.warn('old')", "d": "warnings.warn('old')\nn += 1"}, {"ab": "warnings.filterwarnings('error', category=FutureWarning)"}, "ab c d"),
    Case("filters that a run replaces", {"a": "import warnings\nwarnings.simplefilter('always')", "b": "warnings.resetwarnings()", "c": "warnings.warn('w', DeprecationWarning)", "d": "n = 1"}, {"b": "m = 1"}, "b c", may="d"),
    Case("a warning that was said before", {"a": "import warnings\ndef f(): warnings.warn('in f')", "b": "f()", "c": "f()\nk = 1", "d": "f()\nk = 2"}, {"d": "f()\nk = 3"}, "d"),
    Case("filters handed to other processes", {"a": "import pickle, warnings\nimport numpy", "b": "n = len(pickle.dumps(warnings.filters)) > 0\nprint(n)"}, {"a": "import pickle, warnings\nimport numpy\nm = 1"}, "a"),
    # Settings that only their text tells are an input of all that follow.
    Case("a library that is imported by the run that asks", {"a": "import numpy", "b": "import matplotlib\nmatplotlib.use('agg')\nw = matplotlib.rcParams['lines.linewidth']\nprint(w)"}, {"ab": "import matplotlib\nmatplotlib.rcParams['lines.linewidth'] = 9"}, "ab b"),
    Case("a name that stands for something else", {"a": "class S:\n    def set_option(self, *a): print(a)\npd = S()", "b": "pd.set_option('display.precision', 3)", "c": "n = 1"}, {"b": "pd.set_option('display.precision', 1)"}, "b", may="c"),
]  # fmt: skip


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Lab(tmp_path_factory.mktemp("settings")) as found:
        yield found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_a_setting_is_an_input_of_whoever_looked(lab: Lab, case: Case) -> None:
    found = lab.check(case.generated())
    assert not found.differences and not found.skipped
    executed, must, may = found.executed[0], set(case.executed.split()), set(case.may.split())
    assert must <= executed, found.missed
    assert executed <= must | may, (executed - must - may, found.missed)


def test_a_style_is_no_input_of_cells_below_a_figure_that_is_closed(tmp_path: Path) -> None:
    cells = {
        "a": "import matplotlib\nmatplotlib.use('agg')\nimport matplotlib.pyplot as plt",
        "b": "plt.rcParams['lines.linewidth'] = 3",
        "c": "fig, ax = plt.subplots()\nlines = ax.plot([1, 2])\nplt.close('all')",
        "d": "n = sum(range(10))\nprint(n)",
        "e": "print(lines[0].get_linewidth())",
        "f": "f'{n:.2f}'",
    }
    closed = Book(tmp_path / "closed", cells)
    # At the end of each cell pyplot draws what is open, if it is told to be interactive.
    left_open = cells | {"c": "plt.ion()\nfig, ax = plt.subplots()\nlines = ax.plot([1, 2])"}
    opened = Book(tmp_path / "open", left_open)
    for book, executed in ((closed, {*"bce"}), (opened, {*"bcdef"})):
        book.audit()
        book.edit(b="plt.rcParams['lines.linewidth'] = 5")
        shown = book.repeat()
        assert book.executed == executed
        assert shown == book.from_scratch()


def test_what_tasks_show_in_other_processes_depends_on_settings_here(tmp_path: Path) -> None:
    cells = {
        "a": "import multiprocessing\nfrom concurrent.futures import ProcessPoolExecutor\n"
        + ARRAYS,
        "b": "np.set_printoptions(precision=3)",
        "c": "def show(x):\n    return str(x)",
        "d": "with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context('fork')) as pool:\n    text = pool.submit(show, v).result()",
        "e": "print(text)",
    }
    book = Book(tmp_path / "book", cells)
    book.audit()
    book.edit(b="np.set_printoptions(precision=5)")
    shown = book.repeat()
    assert {"b", "d", "e"} <= book.executed
    assert shown == book.from_scratch()


def test_loading_edited_modules_anew_is_an_input_where_there_are_modules(tmp_path: Path) -> None:
    cells = {"a": "import math", "b": "x = math.floor(2.5)", "c": "x"}
    book = Book(tmp_path / "none", cells)
    other = Book(tmp_path / "one", {**cells, "d": "import helpers", "e": "print(helpers.V, x)"})
    (other.folder / "helpers.py").write_text("V = 1\n")
    for one, executed in ((book, {"a"}), (other, {"a", "d", "e"})):
        one.audit()
        one.edit(a="import math\n%load_ext autoreload\n%autoreload 2")
        shown = one.repeat()
        assert one.executed == executed
        assert shown == one.from_scratch()


def test_statements_that_providers_see_stand_for_nothing_else() -> None:
    def digests(*texts: str) -> dict[str, str | None]:
        kinds = {"i": "import", "%": "magic"}
        return settings.fingerprints(
            [{"kind": kinds.get(text[0], "config"), "text": text} for text in texts]
        )

    nothing = digests()
    imports = ("import pandas as pd", "import numpy as np", "import matplotlib.pyplot as plt")
    for text in (
        "pd.set_option('display.max_rows', 5)",
        "pd.options.display.max_rows = -5",
        "np.set_printoptions(precision=3)",
        "plt.rcParams.update({'font.size': 3})",
        "plt.rcParams['font.size'] = 3",
        "plt.style.use('ggplot')",
    ):
        assert digests(*imports, text) == nothing, text
        # Nobody knows what the name stands for.
        assert digests(text) != nothing, text
    for text in ("np.set_printoptions(formatter={'float': lambda v: 'x'})", "%autoreload 2 -p"):
        assert digests(*imports, text)[settings.OTHERS] != nothing[settings.OTHERS], text
    for text in ("%load_ext autoreload", "%autoreload 2"):
        found = digests(*imports, text)
        assert found[settings.OTHERS] == nothing[settings.OTHERS] and found[settings.RELOADING]
    for text in ("plt.rcParams.update(look())", "%matplotlib inline"):
        found = digests(*imports, text)
        assert found[settings.OTHERS] == nothing[settings.OTHERS] and found[settings.FIGURES]

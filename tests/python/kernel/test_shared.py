# ruff: noqa: E501 - a case is one line of a table
"""What values have in common though no name says so: the labels of tables, and memory that several libraries use.

Each is changed in place by an edited cell, after a repeat has loaded what came before: all that had it must see it.
They run as those of `test_repeat_rule.py` do.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.python.books import Book
from tests.python.generated.check import Lab
from tests.python.kernel.test_repeat_rule import Case

FRAME = "import pandas as pd\ndf = pd.DataFrame({'x': [1, 2], 'y': [3, 4]}, index=['p', 'q'])"
FLOATS = "import numpy as np, pandas as pd\ndf = pd.DataFrame({'x': np.arange(4.0), 'z': np.arange(4.0)})"
LONG = FLOATS.replace("4.0", "3e4")
LEVELS = "import pandas as pd\ndf = pd.DataFrame({'x': [1, 2]}, index=pd.MultiIndex.from_tuples([('p', 1), ('q', 2)]))"
GREY = "from PIL import Image\nimport numpy as np\na = np.zeros((4, 5), dtype='u1')\nim = Image.fromarray(a)"
POINTS = "from scipy.spatial import KDTree, cKDTree\nimport numpy as np\np = np.arange(6.0).reshape(3, 2)"
TREE = "from sklearn.tree import DecisionTreeRegressor\nclf = DecisionTreeRegressor().fit([[0], [1], [2]], [0.0, 5.0, 7.0])"
ROWS = (
    "import numpy as np\nx = np.zeros(3, dtype=[('k', 'i4'), ('v', 'f8', 2), ('p', [('q', 'i2')])])"
)

CASES = [
    # Labels of tables.
    Case("columns of a table that was computed", {"a": FRAME, "b": "d2 = df * 2", "c": "df.columns.name = 'k'", "d": "print(df)", "e": "print(d2)"}, {"c": "df.columns.name = 'z'"}, "c d e"),
    Case("rows that a column was made with", {"a": FRAME, "b": "s = pd.Series([1, 2], index=df.index)", "c": "df.index.name = 'k'", "d": "print(df)", "e": "print(s)"}, {"c": "df.index.name = 'z'"}, "c d e"),
    Case("labels by a name of their own", {"a": FRAME, "b": "i = df.index", "c": "i.name = 'k'", "d": "print(df)"}, {"c": "i.name = 'z'"}, "c d"),
    Case("labels of a table in a dict", {"a": FRAME, "b": "held = {'one': df * 2}", "c": "df.columns.name = 'k'", "d": "print(held)"}, {"c": "df.columns.name = 'z'"}, "c d"),
    Case("labels on several levels", {"a": LEVELS, "b": "d2 = df * 2", "c": "df.index.names = ['u', 'v']", "d": "print(d2)"}, {"c": "df.index.names = ['u', 'w']"}, "c d"),
    Case("labels that are shared no more", {"a": FRAME, "b": "d2 = df * 2", "c": "df.columns.name = 'k'", "d": "print(df)", "e": "print(d2)"}, {"b": "d2 = (df * 2).copy()"}, "b c e"),
    Case("who reads one of two that share labels", {"a": FRAME, "b": "s = pd.Series([1, 2], index=df.index)", "c": "t = df.sum()", "d": "print(t)", "e": "print(s)"}, {"b": "s = pd.Series([1, 5], index=df.index)"}, "b e"),
    # Memory of arrays and tables that others use.
    Case("an image over an array", {"a": GREY, "b": "a[0, 0] = 5", "c": "print(im.getpixel((0, 0)), im.info)"}, {"b": "a[0, 0] = 6"}, "b c"),
    Case("an image over an array with channels", {"a": GREY.replace("5)", "5, 4)"), "b": "a[0, 0, 2] = 5", "c": "print(im.getpixel((0, 0)))"}, {"b": "a[0, 0, 2] = 6"}, "b c"),
    Case("a table of arrow over one of pandas", {"a": f"{FLOATS}\nimport pyarrow as pa", "b": "t = pa.Table.from_pandas(df)", "c": "df.loc[0, 'x'] = 9", "d": "print(t['x'].to_pylist(), df)"}, {"c": "df.loc[0, 'x'] = 6"}, "c d"),
    Case("a long table of arrow over one of pandas", {"a": f"{LONG}\nimport pyarrow as pa", "b": "t = pa.Table.from_pandas(df)", "c": "df.loc[0, 'x'] = 9", "d": "print(t['x'][:3], t['z'][:3], df)"}, {"c": "df.loc[0, 'x'] = 6"}, "c d"),
    Case("a table of arrow over an array of a table", {"a": "import pyarrow as pa, numpy as np, pandas as pd\nx = np.arange(4.0)\ndf = pd.DataFrame({'x': x}, copy=False)", "b": "t = pa.Table.from_pandas(df)", "c": "x[0] = 9", "d": "print(t['x'].to_pylist(), df)"}, {"c": "x[0] = 6"}, "c d"),
    Case("a table of pandas over one of arrow", {"a": "import pyarrow as pa, numpy as np\nt = pa.table({'x': np.arange(4.0)})", "b": "df = t.to_pandas()", "c": "df.loc[0, 'x'] = 9", "d": "print(t['x'].to_pylist(), df)"}, {"c": "df.loc[0, 'x'] = 6"}, "c d"),
    Case("a column and an array of it", {"a": FLOATS, "b": "s = df['x']\nv = np.asarray(s)", "c": "df.loc[0, 'x'] = 9", "d": "print(v[0], s[0], df)"}, {"c": "df.loc[0, 'x'] = 6"}, "c d"),
    Case("an array of a column that is gone", {"a": FLOATS, "b": "s = df['x']\nv = np.asarray(s)", "c": "del s", "d": "df.loc[0, 'x'] = 9", "e": "print(v[0], df)"}, {"d": "df.loc[0, 'x'] = 6"}, "d e"),
    Case("an array of a column that goes", {"a": FLOATS, "b": "s = df['x']\nv = np.asarray(s)", "c": "t = 1", "d": "del s\ndf.loc[0, 'x'] = 9", "e": "print(v[0], df, t)"}, {"d": "del s\ndf.loc[0, 'x'] = 6"}, "d e"),
    Case("a long column and an array of it", {"a": LONG, "b": "s = df['x']\nv = np.asarray(s)", "c": "t = 1", "d": "del s\ndf.loc[0, 'x'] = 9", "e": "print(v[0], df, t)"}, {"d": "del s\ndf.loc[0, 'x'] = 6"}, "d e"),
    Case("what a model keeps of its tables", {"a": FLOATS, "b": "class Model: pass\nm = Model()\nm.y, m.X = df['z'], df[['x']]\nm.endog, m.exog = np.asarray(m.y), np.asarray(m.X)", "c": "df.loc[0, 'z'] = 9\nm.y[1] = 8\nm.X.loc[0, 'x'] = 7", "d": "print(df, m.y, m.X, m.endog, m.exog)"}, {"c": "df.loc[0, 'z'] = 6\nm.y[1] = 5\nm.X.loc[0, 'x'] = 4"}, "c d"),
    Case("a table over an array", {"a": "import numpy as np, pandas as pd\nx = np.arange(4.0)", "b": "df = pd.DataFrame({'x': x}, copy=False)", "c": "x[0] = 5", "d": "print(df)"}, {"c": "x[0] = 6"}, "c d"),
    Case("a long table over an array", {"a": "import numpy as np, pandas as pd\nx = np.arange(3e4)", "b": "df = pd.DataFrame(x.reshape(-1, 2), copy=False)", "c": "df.iloc[0, 0] = 5", "d": "print(df, x[:2])"}, {"c": "df.iloc[0, 0] = 6"}, "c d"),
    Case("a tree of points", {"a": POINTS, "b": "t, u = KDTree(p), cKDTree(p)\nq = u.data", "c": "p[0, 0] = 100", "d": "print(q[0, 0], t.query([0, 1])[1], u.query([0, 1])[1])"}, {"c": "p[0, 0] = 200"}, "c d"),
    Case("what a histogram counts", {"a": "import boost_histogram as bh\nh = bh.Histogram(bh.axis.Regular(3, 0, 3))\nv = h.view()", "b": "h.fill([0.5, 1.5])", "c": "v[0] = 7", "d": "print(h.values().tolist(), v.tolist())"}, {"c": "v[0] = 8"}, "c d", may="a b"),
    Case("rows of an array with fields", {"a": ROWS, "b": "row = x[1]\nfor last in x: pass", "c": "row['k'] = 9\nlast['k'] = 8", "d": "print(x, row, last)"}, {"c": "row['k'] = 6\nlast['k'] = 5"}, "c d"),
    Case("fields of a row that are arrays and rows", {"a": ROWS, "b": "v, p = x[1]['v'], x[2]['p']", "c": "v[1] = 9\np['q'] = 8", "d": "print(x, v, p)"}, {"c": "v[1] = 6\np['q'] = 5"}, "c d"),
    Case("a row that is a copy, under two names", {"a": ROWS, "b": "row = x[1].copy()\nsame, v = row, row['v']", "c": "row['k'] = 9\nv[0] = 7", "d": "print(x[1], same)"}, {"c": "row['k'] = 6\nv[0] = 5"}, "c d"),
    Case("a record of an array of records", {"a": ROWS, "b": "records = x.view(np.recarray)\none = records[2]", "c": "one.k = 9", "d": "print(x['k'], type(one), isinstance(records, np.recarray))"}, {"c": "one.k = 6"}, "c d"),
    Case("what an iterator over an array gave", {"a": "import numpy as np\nx = np.arange(4)", "b": "for item in np.nditer(x, op_flags=['readwrite']): pass", "c": "x[3] = 9", "d": "print(item)\nitem[...] = 7", "e": "print(x)"}, {"c": "x[3] = 6"}, "c d", may="e"),
    Case("what a closed iterator over an array gave", {"a": "import numpy as np\nx = np.arange(4)", "b": "with np.nditer(x, op_flags=['readwrite']) as items:\n    for item in items: pass\ndel items", "c": "x[3] = 9", "d": "print(item)"}, {"c": "x[3] = 6"}, "c d", may="a b"),
    Case("rows that hold objects", {"a": "import numpy as np\nx = np.zeros(3, dtype=[('k', 'i4'), ('o', 'O')])\nx['o'] = [1]", "b": "row = x[1]", "c": "row['k'] = 9\nrow['o'] = 'z'", "d": "print(x, row)"}, {"c": "row['k'] = 6\nrow['o'] = 'y'"}, "c d"),
    Case("the thresholds of a tree of decisions", {"a": TREE, "b": "t = clf.tree_.threshold\nv = clf.tree_.value", "c": "v[:] = 3", "d": "t[0] = 100\nprint(clf.predict([[2]]), v.ravel(), t)"}, {"c": "v[:] = 4"}, "c d"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_all_that_share_something_see_how_it_changes(case: Case, lab: Lab) -> None:
    found = lab.check(case.generated())
    assert found.differences == []
    executed, must, may = found.executed[0], set(case.executed.split()), set(case.may.split())
    assert must <= executed, found.missed
    assert executed <= must | may, (executed - must - may, found.missed)


def test_traces_and_layouts_stay_parts_of_their_figure(tmp_path: Path) -> None:
    pytest.importorskip("plotly", reason="plotly is not installed")
    cells = {
        "a": "import plotly.graph_objects as go\nfig = go.Figure(go.Scatter(y=[1, 2]))",
        "b": "trace, layout = fig.data[0], fig.layout",
        "c": "trace.y = [5, 6]\nlayout.width = 300",
        "d": "print(fig.data[0].y, fig.layout.width, fig.data[0] is trace)",
    }
    book = Book(tmp_path / "here", cells)
    book.audit()
    book.edit(c="trace.y = [7, 8]\nlayout.width = 400")
    assert book.repeat()["d"] == [("stdout", "(7, 8) 400 True\n")]

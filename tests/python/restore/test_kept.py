# ruff: noqa: E501 - a cell is one line here
"""What libraries keep for everyone, or do not let be pickled, and containers that do more than hold: they come back as after a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.python.books import Book
from tests.python.restore.checkpoint import check_like_a_run


def test_a_figure_with_markers_that_are_made_on_first_use(tmp_path: Path) -> None:
    cells = {
        "a": "import matplotlib\nmatplotlib.use('Agg')\nimport matplotlib.pyplot as plt",
        "b": "fig, ax = plt.subplots()\nlines = ax.plot([1, 2], 'o', label='data')\nlegend = ax.legend()\nplt.close(fig)",
    }
    check = "path = lines[0]._marker.get_path()\nprint(path is matplotlib.path.Path.unit_circle(), ax.legend_ is legend, lines[0] is ax.lines[0])"
    check_like_a_run(tmp_path, cells, check)


def test_colour_maps_of_the_library_with_and_without_their_table(tmp_path: Path) -> None:
    cells = {
        "a": "import matplotlib\nmatplotlib.use('Agg')\nimport matplotlib.pyplot as plt",
        "b": "drawn, asked, fresh = plt.cm.Blues, plt.cm.Greens, plt.cm.Reds\nmiddle = asked(0.5)",
        "c": "fig, ax = plt.subplots()\nimage = ax.imshow([[0, 1], [2, 3]], cmap=drawn)\nfig.canvas.draw()\nplt.close(fig)",
        "d": "own = plt.cm.Greys.copy()\nown._init()\nown._lut[:, -1] = 0.5",
    }
    check = "print(drawn is plt.cm.Blues, image.cmap is drawn, asked is plt.cm.Greens, middle == asked(0.5), fresh(0.1), own(0.3))"
    check_like_a_run(tmp_path, cells, check)


def test_distributions_are_those_of_their_module(tmp_path: Path) -> None:
    cells = {
        "a": "from scipy import stats",
        "b": "fitted = {'dist': stats.t, 'frozen': stats.norm(1, 2)}",
    }
    check = "print(fitted['dist'] is stats.t, fitted['frozen'].mean(), fitted['dist'].ppf(0.9, 5))"
    check_like_a_run(tmp_path, cells, check)


def test_attributes_are_all_there_is_of_what_refuses_to_be_pickled(tmp_path: Path) -> None:
    pytest.importorskip("patsy")
    cells = {
        "a": "from patsy.contrasts import Treatment",
        "b": "levels = [1, 2, 3]\ncontrast = Treatment(reference=0).code_without_intercept(levels)",
    }
    check = "print(type(contrast).__name__, contrast.matrix, contrast.column_suffixes)"
    check_like_a_run(tmp_path, cells, check)


def test_containers_that_tell_someone_of_their_items(tmp_path: Path) -> None:
    cells = {
        "a": "class Told(list):\n    def __init__(self, who):\n        self.who = who\n    def append(self, item):\n        self.who.append(len(self))\n        list.append(self, item)\n    def extend(self, items):\n        for item in items:\n            self.append(item)",
        "b": "class Counted(dict):\n    def __setitem__(self, key, value):\n        self.n = getattr(self, 'n', 0) + 1\n        dict.__setitem__(self, key, value)",
        "attributes": "class Attributes(dict):\n    def __init__(self, **given):\n        super().__init__(given)\n        self.__dict__ = self\n        self['me'] = [self]\nheld = Attributes(n=1)\nagain = [held]",
        "c": "heard = []\ntold = Told(heard)\ntold.append('x')\ntold.append('y')\ncounted = Counted()\ncounted['k'] = told\ncounted['k'] = [told]",
    }
    check = (
        "print(told, heard, told.who is heard, counted, counted.n)\ntold.append('z')\nprint(heard)\n"
        "held.m = 2\nprint(held['m'], held.n, held.me[0] is held, again[0] is held, len(held))"
    )
    check_like_a_run(tmp_path, cells, check)


def test_objects_whose_class_makes_none_without_arguments(tmp_path: Path) -> None:
    cells = {
        "a": "import jinja2",
        "b": "letter = jinja2.Template('Dear {{ name }}')\nenv = jinja2.Environment(trim_blocks=True)\nnote = env.from_string('to {{ name }}')",
        "c": "class Point:\n    n = 0\n    def __new__(cls, x=1):\n        print('made')\n        Point.n += 1\n        one = super(Point, cls).__new__(cls)\n        one.x = x\n        return one\np = Point(3)",
        "d": "class Row(list):\n    def __new__(cls, *items):\n        print('made')\n        return list.__new__(cls)\nrow = Row([1, 2])\nrow.of = p",
    }
    check = "print(letter.render(name='Ada'), note.render(name='Bo'), note.environment is env, p.x, type(p) is Point, Point.n, row, row.of is p)"
    check_like_a_run(tmp_path, cells, check)


def test_what_runs_code_at_its_end_is_not_made_in_secret(tmp_path: Path) -> None:
    cells = {
        "a": "import matplotlib\nmatplotlib.use('Agg')\nimport matplotlib.pyplot as plt\nfrom matplotlib.animation import FuncAnimation",
        "b": "fig, ax = plt.subplots()\nmoving = FuncAnimation(fig, lambda n: ax.lines, frames=2)\nplt.close(fig)",
        "c": "import gc\nn = gc.collect()",
    }
    book = Book(tmp_path / "here", cells)
    # matplotlib warns of an animation that nobody has drawn when it ends.
    assert book.audit() == {"a": [], "b": [], "c": []}


def test_attributes_that_objects_have_in_common(tmp_path: Path) -> None:
    cells = {
        "a": "class Borg:\n    shared = {}\n    def __init__(self):\n        self.__dict__ = self.shared",
        "b": "one, other = Borg(), Borg()\none.n = [1]",
        "c": "settings = {'depth': 3}\nclass View:\n    __slots__ = ('of', '__dict__')\nview = View()\nview.__dict__ = settings\nview.of = one",
    }
    check = (
        "print(other.n, Borg.shared)\nother.m = 2\nprint(one.m, Borg().n is one.n)\n"
        "settings['width'] = 4\nprint(view.width, view.depth, view.of is one)"
    )
    check_like_a_run(tmp_path, cells, check)

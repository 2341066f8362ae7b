"""What is loaded has the fingerprint of what was stored: parts of texts, and figures that were drawn."""

from __future__ import annotations

import io
from typing import Any

import matplotlib.figure
import pandas as pd
import pyarrow as pa
import pytest
import scipy.special
from dask.utils import SerializableLock

from nbrewind.fingerprint import Context, walk
from nbrewind.kernel import pickling


def loaded(value: Any) -> Any:
    context = Context(namespace={})
    context.walk(value)
    stream, buffers, pieces = pickling.dump({"value": value}, {}, context.view_owners)
    assert not pieces
    return pickling.load(stream, buffers, [], {})["value"]


TEXTS = pd.DataFrame({"name": ["Ann", "Bob", None, "Cy"], "n": [1, 2, 3, 4]})


@pytest.mark.parametrize(
    "value",
    [
        TEXTS.head(1),
        TEXTS["name"].iloc[:2],
        TEXTS.iloc[1:3],
        TEXTS.set_index("name").head(2),
        pa.array(["a", "bc", None]).slice(0, 1),
        pa.chunked_array([[["a"], ["b", "c"]]]).slice(0, 1),
        pa.array(["a", "b", "a"]).dictionary_encode().slice(0, 1),
        pa.table({"x": ["a", "bc"], "y": [1, 2]}).slice(0, 1),
    ],
    ids=[
        "head of a frame",
        "series",
        "middle of a frame",
        "frame with an index",
        "array",
        "chunked array",
        "dictionary array",
        "table",
    ],
)
def test_what_stands_behind_a_slice_is_no_content(value: Any) -> None:
    fp = walk(value).fp
    assert fp is not None
    assert walk(loaded(value)).fp == fp


def test_slices_of_equal_content_are_equal() -> None:
    head = pa.array(["a", "bc", "def"]).slice(0, 1)
    assert walk(head).fp == walk(pa.array(["a"])).fp != walk(pa.array(["b"])).fp


def test_a_figure_that_was_drawn_comes_back() -> None:
    figure = matplotlib.figure.Figure(figsize=(1, 1))
    axes = figure.subplots()
    axes.plot([1, 2])
    for form in ("png", "pdf"):
        figure.savefig(io.BytesIO(), format=form)
        fp = walk(figure).fp
        assert fp is not None
        assert walk(loaded(figure)).fp == fp
        axes.set_title(form)
        assert walk(figure).fp != fp


def test_functions_that_share_a_cell_go_on_sharing_it() -> None:
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(COUNTER, scope)
    names = ("add", "peek", "again")
    first = {name: scope[name] for name in names}
    fp = Context(namespace=scope).walk(first).fp
    stream, buffers, pieces = pickling.dump(first, scope, set())
    back = pickling.load(stream, buffers, pieces, scope)
    assert Context(namespace=scope).walk(back).fp == fp
    assert (back["add"](3), back["peek"](), back["again"](4), scope["peek"]()) == (3, 3, 0, 0)


def test_the_name_that_a_lock_draws_is_no_content() -> None:
    one, other = {"lock": SerializableLock()}, {"lock": SerializableLock()}
    assert one["lock"].token != other["lock"].token
    assert walk(one).fp == walk(other).fp == walk(loaded(one)).fp is not None


COUNTER = """
def make():
    total = 0
    def add(x):
        nonlocal total
        total += x
        return total
    def peek(): return total
    def again(n): return again(n - 1) if n else n
    return add, peek, again
add, peek, again = make()
"""


def test_functions_of_special_mathematics_have_content() -> None:
    assert walk(scipy.special.gamma).fp is not None
    assert walk(scipy.special.gamma).fp != walk(scipy.special.expit).fp
    assert loaded([scipy.special.gamma]) == [scipy.special.gamma]

"""Frames that share memory, as pandas 2 has them: what is written through one is seen in the other.

pandas 3 copies before it writes. What is asked of the memory is the same, so these tests ask it directly.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nbrewind.fingerprint import Context, arrays
from nbrewind.kernel import namespace, pickling, reducers


@pytest.fixture
def no_copies(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module in (arrays, namespace, pickling, reducers):
        monkeypatch.setattr(module, "copies_on_write", lambda: False)
    for kind in (pd.DataFrame, pd.Series):
        monkeypatch.setitem(reducers._known_kinds, kind, reducers._reduce_part)
    yield


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {"x": np.arange(4.0), "y": np.arange(4.0) + 9, "n": [1, 2, 3, 4], "o": [(1,), 2, "3", None]}
    )


def state_of(**values: object) -> namespace.NamespaceState:
    state = namespace.NamespaceState(dict(values))
    state.sweep()
    return state


def groups(state: namespace.NamespaceState) -> set[tuple[str, ...]]:
    return {version.names for version in state.bound.values()}


class Kept:
    """A piece as the store gives it back."""

    names = None

    def __init__(self, content: bytes) -> None:
        self.content = content

    def read(self) -> bytearray:
        return bytearray(self.content)

    def fill(self, flat: Any) -> None:
        flat[:] = np.frombuffer(self.content, dtype=np.uint8)


@pytest.mark.usefixtures("no_copies")
def test_who_shares_memory_is_one_group() -> None:
    df = frame()
    state = state_of(
        df=df, part=df.iloc[1:3], own=df.copy(), other=frame(), thing=df["o"], values=df["n"].values
    )
    assert groups(state) == {("df", "part", "thing", "values"), ("own",), ("other",)}
    assert groups(state_of(a=frame(), b=frame())) == {("a",), ("b",)}


@pytest.mark.skipif(int(pd.__version__.partition(".")[0]) < 3, reason="this pandas shares memory")
def test_pandas_3_keeps_them_apart() -> None:
    df = frame()
    assert arrays.copies_on_write()
    assert groups(state_of(df=df, part=df.iloc[1:3], x=df["x"])) == {("df",), ("part",), ("x",)}


@pytest.mark.usefixtures("no_copies")
def test_equal_frames_that_share_nothing_are_something_else() -> None:
    df = frame()
    shared = state_of(a={"df": df, "x": df["x"]}).bound["a"]
    copied = state_of(a={"df": df, "x": df["x"].copy()}).bound["a"]
    again = state_of(a={"df": df, "x": df["x"]}).bound["a"]
    assert shared.facts["a"].fp == copied.facts["a"].fp
    assert shared.joint == again.joint != copied.joint


@pytest.mark.usefixtures("no_copies")
def test_what_is_loaded_shares_as_it_did() -> None:
    df = frame()
    values = {"df": df, "part": df.iloc[1:3], "x": df["x"], "o": df["o"]}
    state = state_of(**values)
    (version,) = {version.manifest_id: version for version in state.bound.values()}.values()
    head, buffers, pieces = pickling.dump(values, state.namespace, state.view_owners)
    assert pieces == [] and version.joint is not None
    found = pickling.load(head, buffers, [], {})
    assert np.shares_memory(found["df"]["x"].values, found["x"].values)
    assert np.shares_memory(found["df"]["x"].values, found["part"]["x"].values)
    assert np.shares_memory(found["df"]["o"].values, found["o"].values)
    assert state_of(**found).bound["df"].joint == version.joint


@pytest.mark.usefixtures("no_copies")
def test_a_part_of_a_table_goes_on_warning_when_it_is_written() -> None:
    df = frame()
    part, column = df[df["x"] > 1].copy(), df["x"]
    without = state_of(part=part).bound["part"].joint
    # As pandas 2 marks them.
    object.__setattr__(part, "_is_copy", weakref.ref(df))
    object.__setattr__(column, "_cacher", ("x", weakref.ref(df)))
    values = {"df": df, "part": part, "column": column}
    state = state_of(**values)
    assert state.bound["part"].joint != without
    found = pickling.load(*pickling.dump(values, state.namespace, state.view_owners)[:2], [], {})
    assert found["part"]._is_copy().shape == df.shape
    assert found["column"]._cacher[0] == "x" and found["column"]._cacher[1]() is found["df"]
    again = state_of(**found)
    assert [again.bound[name].joint for name in values] == [
        state.bound[name].joint for name in values
    ]
    # It does not warn of a table that is gone.
    del df, values, state, column, found, again
    gc.collect()
    assert state_of(part=part).bound["part"].joint == without


def test_columns_of_one_frame_that_interleave_share_with_nobody() -> None:
    df = pd.DataFrame(np.arange(40.0).reshape(10, 4))
    assert not Context().walk(df).shares
    assert Context().walk([df, df.iloc[1:3]]).shares


@pytest.mark.skipif(int(pd.__version__.partition(".")[0]) < 3, reason="this pandas shares memory")
@pytest.mark.parametrize("n_rows", [4, 20_000])
@pytest.mark.parametrize("is_shared", [True, False])
def test_a_frame_that_shared_its_memory_is_copied_before_it_is_written(
    n_rows: int, is_shared: bool
) -> None:
    df = pd.DataFrame({"x": np.arange(float(n_rows)), "y": np.arange(float(n_rows))})
    # Who has it counts when it is stored.
    column = df["x"] if is_shared else None
    state = state_of(df=df)
    head, buffers, pieces = pickling.dump({"df": df}, state.namespace, state.view_owners)
    found = pickling.load(
        head, buffers, [Kept(np.ascontiguousarray(part).tobytes()) for part in pieces], {}
    )["df"]
    for frame in (df, found):
        seen = frame["x"].values
        frame.loc[0, "x"] = 9.0
        assert seen[0] == (0.0 if is_shared else 9.0)
        assert frame.loc[0, "x"] == 9.0
    assert column is None or column[0] == 0.0
    assert not pickling._shared_blocks

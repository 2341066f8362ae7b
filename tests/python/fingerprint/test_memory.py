"""With what is known from earlier walks, a walk finds exactly what it would find without: no write is missed."""

from __future__ import annotations

import ctypes
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from nbrewind import _native
from nbrewind.fingerprint import Context
from nbrewind.kernel import namespace, pickling
from nbrewind.kernel.history import History
from nbrewind.tasks import graph, lazy

N = 700_000


def make() -> dict[str, Any]:
    """Large values whose memory is written in many ways, and small ones beside them."""
    rng = np.random.default_rng(0)
    flat = rng.random(N)
    wide = pd.DataFrame(rng.random((120_000, 9)), columns=list("abcdefghi"))
    wide["n"] = np.arange(120_000, dtype="int32")
    return {
        "flat": flat,
        "view": flat[1000:-5],
        "square": rng.random((900, 800)),
        "fortran": np.asfortranarray(rng.random((900, 800))),
        "odd": np.zeros(200_000, dtype="S3"),
        "records": np.zeros(100_000, dtype=[("x", "f8"), ("y", "i4")]),
        "dates": np.arange(150_000).astype("datetime64[s]"),
        "masked": np.ma.masked_less(rng.random(100_000), 0.1),
        "small": [np.arange(5) + i for i in range(50)],
        "scalars": [np.float64(i) for i in range(50)],
        "bytes": bytearray(300_000),
        "text": "x" * 200_000,
        "wide": wide,
        "words": pd.Series([f"word {i}" for i in range(40_000)]),
        "table": pa.table({"a": np.arange(90_000), "b": [str(i) for i in range(90_000)]}),
    }


def by_address(values: dict[str, Any], dice: random.Random) -> None:
    address = values["flat"].ctypes.data + 8 * dice.randrange(N)
    ctypes.memset(address, dice.randrange(256), 3)


def in_a_thread(values: dict[str, Any], dice: random.Random) -> None:
    thread = threading.Thread(target=values["square"].__setitem__, args=((3, 4), dice.random()))
    thread.start()
    thread.join()


def by_memoryview(values: dict[str, Any], dice: random.Random) -> None:
    memoryview(values["bytes"])[dice.randrange(300_000)] = dice.randrange(256)


def swap_columns(values: dict[str, Any], dice: random.Random) -> None:
    values["wide"] = values["wide"][list(values["wide"].columns[::-1])]


def set_rows(values: dict[str, Any], dice: random.Random) -> None:
    first = dice.randrange(100_000)
    values["wide"].iloc[first : first + dice.randrange(1, 2000), dice.randrange(9)] = dice.random()


def set_column(values: dict[str, Any], dice: random.Random) -> None:
    values["wide"]["c"] = dice.random()


def drop_and_add(values: dict[str, Any], dice: random.Random) -> None:
    values["wide"] = values["wide"].drop(columns="e").assign(e=dice.random())


def set_word(values: dict[str, Any], dice: random.Random) -> None:
    values["words"].iloc[dice.randrange(40_000)] = str(dice.random())


def another_of_the_size(values: dict[str, Any], dice: random.Random) -> None:
    """Freed memory is likely to be taken again at the same place."""
    del values["square"]
    values["square"] = np.full((900, 800), dice.random())


CHANGES: list[Callable[[dict[str, Any], random.Random], Any]] = [
    lambda values, dice: values["flat"].__setitem__(dice.randrange(N), dice.random()),
    lambda values, dice: values["view"].__setitem__(dice.randrange(N - 1005), dice.random()),
    lambda values, dice: np.multiply(values["flat"], 1.5, out=values["flat"]),
    lambda values, dice: np.copyto(values["square"][dice.randrange(900)], dice.random()),
    lambda values, dice: values["square"].sort(axis=0),
    lambda values, dice: values["fortran"].__setitem__((5, dice.randrange(800)), dice.random()),
    lambda values, dice: values["odd"].__setitem__(dice.randrange(200_000), b"ab"),
    lambda values, dice: values["records"]["y"].__setitem__(dice.randrange(100_000), 7),
    lambda values, dice: values["dates"].__iadd__(1),
    lambda values, dice: values["masked"].__setitem__(dice.randrange(100_000), np.ma.masked),
    lambda values, dice: values["small"][dice.randrange(50)].__setitem__(2, dice.randrange(99)),
    lambda values, dice: values["scalars"].append(np.float64(dice.random())),
    lambda values, dice: values.update(text="y" * (200_000 + dice.randrange(3))),
    lambda values, dice: values.update(table=values["table"].slice(dice.randrange(1, 9))),
    lambda values, dice: values["flat"].flags.__setattr__("writeable", values["flat"].flags.writeable),
    by_address,
    in_a_thread,
    by_memoryview,
    swap_columns,
    set_rows,
    set_column,
    drop_and_add,
    set_word,
    another_of_the_size,
]  # fmt: skip


def walked(values: dict[str, Any], memory: _native.Memory | None) -> dict[str, str | None]:
    context = Context(namespace={}, memory=memory)
    walks, _, _ = context.walk_namespace(list(values.values()))
    return {name: walk.fp for name, walk in zip(values, walks, strict=True)}


@pytest.mark.parametrize("tracks_pages", [True, False])
@pytest.mark.parametrize("seed", [1, 2])
def test_every_change_in_place_is_seen(tracks_pages: bool, seed: int) -> None:
    dice = random.Random(seed)
    values = make()
    memory = _native.Memory(tracks_pages)
    before = walked(values, memory)
    assert None not in before.values()
    assert walked(values, memory) == before
    rest = list(CHANGES)
    dice.shuffle(rest)
    for change in [*rest, *dice.choices(CHANGES, k=30)]:
        change(values, dice)
        assert walked(values, memory) == walked(values, None)
    if memory.tracks_pages:
        assert memory.counts()["n_tracked"] > 0


def test_what_does_not_change_is_not_hashed_again() -> None:
    values = make()
    memory = _native.Memory()
    walked(values, memory)
    hashed = memory.counts()["hashed"]
    walked(values, memory)
    assert memory.counts()["hashed"] == 0 < hashed
    values["wide"].iloc[5, 3] = 0.0
    walked(values, memory)
    # One slice of every column that lies beside the item, of 120,000 rows of 8 bytes.
    assert 0 < memory.counts()["hashed"] <= 9 << 20


@pytest.mark.parametrize("tracks_pages", [True, False])
def test_every_change_of_what_was_loaded_is_seen(tracks_pages: bool, tmp_path: Path) -> None:
    dice = random.Random(5)
    history = History(str(tmp_path / "store"))
    before = _native.Memory()
    made = make()
    content = walked(made, before)
    looked = Context(namespace={}, memory=before)
    looked.walk_namespace(list(made.values()))
    head, buffers, pieces = pickling.dump(made, {}, looked.view_owners)
    data = history.put_value(head, buffers, pieces, before)
    for change in CHANGES:
        memory = _native.Memory(tracks_pages)
        stream = history.get_value(data, _native.Sources())
        values = pickling.load(*stream, {}, memory)
        assert walked(values, memory) == content
        # Out-of-band buffers and what is no array are hashed; arrays and the columns of frames are not.
        assert memory.counts()["hashed"] < memory.counts()["known"]
        change(values, dice)
        assert walked(values, memory) == walked(values, None)


def test_lazy_values_are_opened_once_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    base = np.arange(40.0)
    parts = [dask.delayed(np.sum)(base[4 * n : 4 * n + 9]) for n in range(8)]
    state = namespace.NamespaceState({"base": base, "parts": parts})
    opened: list[int] = []
    original = graph.build

    def counted(dsk: Any, keys: Any) -> Any:
        opened.append(1)
        return original(dsk, keys)

    monkeypatch.setattr(lazy, "build", counted)
    state.sweep()
    assert {version.names for version in state.bound.values()} == {("base", "parts")}
    assert len(opened) == len(parts)
    # What is known is forgotten after that.
    version = state.bound["base"]
    assert version.joint == state.fingerprint({"base": base, "parts": parts})
    base[3] = -1
    changed, _ = state.sweep()
    assert [one.joint for one in changed] == [state.fingerprint({"base": base, "parts": parts})]
    assert changed[0].joint != version.joint


def test_layout_does_not_count_and_items_do() -> None:
    by_rows = pd.DataFrame(np.random.default_rng(1).random((50_000, 4)), columns=list("abcd"))
    by_columns = pd.DataFrame({name: by_rows[name].to_numpy().copy() for name in by_rows})
    first, second = Context(namespace={}), Context(namespace={}, memory=_native.Memory())
    assert first.walk(by_rows).fp == second.walk(by_columns).fp
    by_columns.iloc[49_999, 3] += 1e-12
    assert first.walk(by_rows).fp != second.walk(by_columns).fp

"""Numbers and texts that are the very objects of the last sweep are not walked again, and nothing is missed by that."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from nbrewind.fingerprint import Context
from nbrewind.kernel.namespace import NamespaceState


@pytest.fixture
def walked(monkeypatch: pytest.MonkeyPatch) -> list[list[Any]]:
    """The values of every sweep that were walked."""
    found: list[list[Any]] = []
    walk = Context.walk_namespace

    def noted(self: Context, values: list[Any], *args: Any) -> Any:
        found.append(list(values))
        return walk(self, values, *args)

    monkeypatch.setattr(Context, "walk_namespace", noted)
    return found


def _changed(state: NamespaceState) -> list[tuple[str, ...]]:
    changed, _ = state.sweep(set())
    state.remember_objects()
    return sorted(version.names for version in changed)


def test_only_what_can_have_changed_is_walked(walked: list[list[Any]]) -> None:
    rows: list[int] = []
    text, value = "a text", 2.5
    names = {"n": 1, "x": value, "text": text, "yes": True, "none": None, "rows": rows}
    state = NamespaceState(names)
    assert len(_changed(state)) == 6
    rows.append(1)
    names["other"] = 7
    assert _changed(state) == [("other",), ("rows",)]
    assert walked[-1] == [rows, 7]
    # An equal one and another object: looked at, and found to be the same.
    names["text"] = "".join(["a ", "text"])
    assert _changed(state) == [] and walked[-1] == ["a text", rows]
    names["x"] = 3.5
    assert _changed(state) == [("x",)]
    del names["n"]
    assert state.sweep(set()) == ([], ["n"])


def test_what_is_large_may_stand_for_more_or_is_no_number_is_walked(
    walked: list[list[Any]],
) -> None:
    names = {"a": float("nan"), "b": "x" * 5000, "c": b"bytes", "d": np.float64(1), "e": (1, 2)}
    state = NamespaceState(names)
    _changed(state)
    assert _changed(state) == []
    assert len(walked[-1]) == 5


def test_a_name_that_was_bound_to_a_version_of_the_store_is_walked(
    walked: list[list[Any]],
) -> None:
    names = {"n": 1, "m": 2}
    state = NamespaceState(names)
    _changed(state)
    before = state.bound["n"]
    names["n"] = 5
    _changed(state)
    state.bind(before)
    state.bring("n", 1)
    assert _changed(state) == [] and walked[-1] == [1]
    assert state.bound["n"] is before


def test_a_cell_that_is_never_recorded_may_give_the_same_object() -> None:
    names = {"n": 1, "m": 2}
    state = NamespaceState(names)
    _changed(state)
    state.unrecorded["n"] = names["n"]
    assert _changed(state) == [("n",)]
    assert state.bound["n"].is_unrecorded
    assert state.bound["n"].joint is None


@pytest.mark.parametrize("seed", range(20))
def test_any_sequence_ends_in_what_a_first_sweep_finds(seed: int) -> None:
    draw = random.Random(seed)
    choices = [0, 1, -1, 2**80, 1.5, "a", "b c", "x" * 5000, True, None, b"a", (1,), 1j]
    names: dict[str, Any] = {}
    state = NamespaceState(names)
    for _ in range(60):
        name = draw.choice("abcdef")
        step = draw.randrange(5)
        if step == 0:
            names.pop(name, None)
        elif step == 1 and isinstance(names.get(name), list):
            names[name].append(draw.choice(choices))
        elif step == 2:
            names[name] = [draw.choice(choices)]
        elif step == 3 and names:
            names[name] = names[draw.choice(list(names))]
        else:
            names[name] = draw.choice(choices)
        _changed(state)
        fresh = NamespaceState(dict(names))
        _changed(fresh)
        found = {key: (one.names, one.joint, one.facts[key]) for key, one in state.bound.items()}
        assert found == {
            key: (one.names, one.joint, one.facts[key]) for key, one in fresh.bound.items()
        }

"""Lazy values of Dask, looked at again and again: what they are is what they are now."""

from __future__ import annotations

from typing import Any

import dask
import pytest
from dask._task_spec import Task

from nbrewind import _native
from nbrewind.fingerprint import Context
from nbrewind.tasks import lazy

ROWS: list[int] = [1, 2]


def total(rows: list[int], extra: int = 0) -> int:
    return sum(rows) + extra


def double(rows: list[int]) -> int:
    return 2 * sum(rows)


@pytest.fixture
def look() -> Any:
    memory = _native.Memory()

    def fingerprint(value: Any) -> str | None:
        found: str | None = Context(namespace={}, memory=memory, known={}).walk(value).fp
        return found

    return fingerprint


def test_a_second_look_at_the_same_tasks_sees_what_their_arguments_have_become(look: Any) -> None:
    class Rows:
        def __init__(self) -> None:
            self.rows = [1, 2]

    held = Rows()
    value = dask.delayed(total)(dask.delayed(held, traverse=False))
    first = look(value)
    assert first is not None
    assert look(value) == first
    held.rows.append(3)
    assert look(value) not in {first, None}
    held.rows.pop()
    assert look(value) == first


def test_another_task_under_the_same_key_is_another_value(look: Any) -> None:
    value = dask.delayed(total)([1, 2])
    first = look(value)
    assert look(value) == first
    layer = value.dask.layers[value.key].mapping
    was = layer[value.key]
    layer[value.key] = Task(value.key, double, *was.args)
    assert look(value) not in {first, None}
    layer[value.key] = was
    assert look(value) == first


def test_what_is_kept_goes_with_the_value(look: Any) -> None:
    values = [dask.delayed(total)([i]) for i in range(20)]
    before = len(lazy._kept)
    look(values)
    assert len(lazy._kept) == before + 20
    del values
    assert len(lazy._kept) == before

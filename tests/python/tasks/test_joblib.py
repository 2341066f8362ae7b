# ruff: noqa: E501 - cells and edits read better on one line
"""joblib: what one session has computed the next one replays, under every backend, also inside scikit-learn."""

from __future__ import annotations

import pytest

from tests.python.tasks.session import run_session

BACKENDS = ["loky", "threading", "sequential", "multiprocessing"]
WORK = """
from joblib import Parallel, delayed
K = {k}
def helper(x):
    return x + K
def work(x, scale=2):
    return [helper(x) * scale]
"""
CALLS = """
result = (
    Parallel(n_jobs=2, backend="{backend}")(delayed(work)(i) for i in range(5)),
    list(Parallel(n_jobs=2, backend="{backend}", return_as="{kind}")(delayed(work)(i, scale=3) for i in range(3))),
)
"""


def cells(k: int) -> list[str]:
    # Every backend its own constant: each is seen to run its own calls.
    kinds = {"multiprocessing": "list"}
    return [
        WORK.format(k=k + at * 1000) + CALLS.format(backend=name, kind=kinds.get(name, "generator"))
        for at, name in enumerate(BACKENDS)
    ]


def test_a_second_session_runs_no_call(store):
    first = run_session(store, *cells(1), engine=None, replay=False, hash_seed=1)
    both = run_session(store, *cells(1), *cells(2), engine=None, hash_seed=2)
    again, edited = both[: len(BACKENDS)], both[len(BACKENDS) :]
    for at, (name, before, after, changed) in enumerate(
        zip(BACKENDS, first, again, edited, strict=True)
    ):
        assert (before.error, before.n_run, before.not_captured) == (None, 8, []), (name, before)
        assert (after.value, after.n_run, after.n_hit) == (before.value, 0, 8), (name, after)
        right = (
            [[(i + 2 + at * 1000) * 2] for i in range(5)],
            [[(i + 2 + at * 1000) * 3] for i in range(3)],
        )
        assert (changed.value, changed.n_run) == (repr(right), 8), (name, changed)
        assert any("work -> helper" in why for why in changed.why), changed.why


def test_known_and_new_calls_keep_their_order(store):
    source = (
        WORK.format(k=1)
        + "result = [Parallel(n_jobs=2, backend=b)(delayed(work)(i) for i in {order}) for b in ('sequential', 'threading')], list(Parallel(n_jobs=2, backend='threading', return_as='generator')(delayed(work)(i) for i in {order})), sorted(Parallel(n_jobs=2, backend='threading', return_as='generator_unordered')(delayed(work)(i) for i in {order}))"
    )
    run_session(store, source.format(order=[1, 3, 5]), engine=None, replay=False)
    [cell] = run_session(store, source.format(order=[5, 0, 1, 2, 3, 4]), engine=None)
    right = [[(i + 1) * 2] for i in [5, 0, 1, 2, 3, 4]]
    assert cell.value == repr(([right, right], right, sorted(right))), cell
    # The records are read when the cell begins: the new calls run once under each.
    assert (cell.n_hit, cell.n_run) == (12, 12), cell


def test_errors_are_joblibs_own(store):
    source = (
        WORK.format(k=1)
        + """
def fail(i):
    if i == 2:
        raise ValueError(i)
    return i
result = []
for backend in ("threading", "sequential"):
    try:
        Parallel(n_jobs=2, backend=backend)(delayed(fail)(i) for i in range(4))
    except ValueError as error:
        result.append(repr(error))
"""
    )
    [cell] = run_session(store, source, engine=None)
    assert cell.value == repr(["ValueError(2)"] * 2), cell


def test_large_arrays_reach_workers_as_files_and_count_by_content(store):
    source = (
        WORK.format(k=1)
        + """
import numpy as np
data = np.arange(300_000.0)
data[7] = {seventh}
def total(a, i):
    return float(a.sum()) + i
result = Parallel(n_jobs=2)(delayed(total)(data, i) for i in range(2))
"""
    )
    [first] = run_session(store, source.format(seventh=7), engine=None, replay=False)
    assert first.not_captured == [], first
    again, edited = source.format(seventh=7), source.format(seventh=8)
    same, changed = run_session(store, again, edited, engine=None)
    assert (same.value, same.n_run) == (first.value, 0)
    assert changed.n_run == 2 and changed.value != first.value


SCIKIT = """
import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
rng = np.random.default_rng(0)
x = rng.normal(size=(60, 3))
y = (x[:, 0] > {threshold}).astype(int)
model = RandomForestClassifier(4, n_jobs=2, random_state=0, max_depth=2).fit(x, y)
scores = cross_val_score(LogisticRegression(C={c}), x, y, cv=3, n_jobs=2)
loose = cross_val_score(RandomForestClassifier(2, max_depth=1), x, y, cv=2, n_jobs=2)
plain = cross_val_score(LogisticRegression(C={c}), x, y, cv=3)
result = model.predict(x).tolist(), scores.tolist(), (scores == plain).all(), loose.tolist()
"""


def test_inside_scikit_learn(store):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    source = SCIKIT.format(threshold=0.0, c=1.0)
    [first] = run_session(store, source, engine=None, replay=False)
    assert first.error is None and first.n_run == 5, first
    edited = SCIKIT.format(threshold=0.0, c=0.01)
    same, changed = run_session(store, source, edited, engine=None)
    # Models without a seed draw one in the worker: those calls are replayed as they were.
    assert (same.value, same.n_hit, same.n_run) == (first.value, 5, 0), same
    # Another parameter.
    assert (changed.n_hit, changed.n_run) == (2, 3) and "True" in changed.value, changed

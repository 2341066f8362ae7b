"""What cells really do and what edits really change, beside what the analysis says: a fixed sample.

`python -m bench.verdicts` does it for all notebooks and all edits.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.verdicts import pages
from bench.verdicts.__main__ import examine
from bench.verdicts.compare import Counts
from bench.verdicts.runs import Runner

# Notebooks, and how many edits of each.
SAMPLE = {"accounts": 8, "scopes": 10, "aliases": 10, "closures": 8, "logs": 10, "cleaning": 6}
FACTS_ONLY = {"fitting", "helpers", "magics", "streams", "timeseries", "arrays"}


@pytest.fixture(scope="module")
def counts() -> Iterator[Counts]:
    """All notebooks of the sample."""
    found = Counts()
    runner = Runner()
    try:
        for page in pages.written():
            if page.name in SAMPLE or page.name in FACTS_ONLY:
                examine(page, runner, found, SAMPLE.get(page.name, 0))
        yield found
    finally:
        runner.close()


def _lines(counts: Counts, kind: str) -> str:
    return "\n".join(line for line in counts.lines if line.startswith(f"{kind}:"))


@pytest.mark.slow
def test_what_cells_read_bind_and_change_is_seen(counts: Counts) -> None:
    assert counts.n["notebooks"] == len(SAMPLE) + len(FACTS_ONLY)
    assert counts.n["reads"] > 150 and counts.n["changes"] > 20
    assert counts.share("reads seen", "reads") >= 0.99, _lines(counts, "read")
    assert counts.share("bindings seen", "bindings") == 1.0, _lines(counts, "binding")
    assert counts.share("changes seen", "changes") >= 0.9, _lines(counts, "change")
    assert counts.share("claims right", "claims") >= 0.85, _lines(counts, "claim")
    assert counts.share("unknown", "cells") <= 0.05, _lines(counts, "unknown")


@pytest.mark.slow
def test_every_cell_that_an_edit_changes_is_flagged(counts: Counts) -> None:
    assert counts.n["differ"] > 40
    assert counts.n["found"] == counts.n["differ"], _lines(counts, "missed")


@pytest.mark.slow
def test_few_others_are_flagged_and_none_after_harmless_edits(counts: Counts) -> None:
    assert counts.n["harmless"] >= 5
    assert counts.n["left alone"] == counts.n["harmless"], _lines(counts, "harmless")
    # docs/bench/verdicts.md says what the rest is: edits that happen to leave a value as it was, above all.
    assert counts.share("right", "flagged") >= 0.6, _lines(counts, "false")

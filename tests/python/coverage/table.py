# ruff: noqa: E501 - the page is written as it is read
"""The coverage table as a page: `python -m tests.python.coverage.table` writes docs/coverage.md.

Needs every library of `requirements.txt` beside this file; `--check` writes nothing and says which rows differ.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.python.coverage.cases import CASES, MODULES, SETUP, Case
from tests.python.coverage.session import Found, installed_cases, run_cases

PAGE = Path(__file__).parent.parent.parent.parent / "docs" / "coverage.md"

_HEAD = """# Which classes come back, and how

{n} kinds of objects went through two real kernels: each was made in a cell of its own, left alone while the others were
made, looked at and changed; then the state before the changes was restored in a fresh process with another hash seed,
left alone, looked at, changed, and made anew. {exact} of them are exact in every respect, {rebuilt} more are rebuilt by
executing the statements that made them, and {stub} come back as a stub that names itself and says why.
{wrong}

This page is written by `python -m tests.python.coverage.table`, with what `tests/python/coverage/requirements.txt`
names besides `tools/requirements.txt`. A test holds it against the libraries that are installed.

* **Change**: a change of the object is seen. **Alone**: no new version while nobody touches it. **Looked at**: none when
  it is only read (what an object computes on first use and keeps is a change).
* **Restored**: `loaded` from its bytes and verified; `rebuilt` by its statements; `stub`: any use raises and says why.
  **Equal**: what a user can see of it is the same in the other process. **Alone**, **Change**: the same two questions there.
* **Anew**: made again in the other process it has the same fingerprint, so that what follows it stays fresh.
* An object that cannot be compared has no fingerprint: cells that read it always execute. This is never wrong, only slow.

Made with {versions}.

| Library | Class | Change | Alone | Looked at | Restored | Equal | Alone | Change | Anew | What the user gets |
|---|---|---|---|---|---|---|---|---|---|---|
"""


def _mark(holds: bool) -> str:
    return "yes" if holds else "**no**"


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "/").strip()


def words(found: Found) -> str:
    """The last column: what the user gets where a row is not exact."""
    parts = [found.case.note] if found.case.note else []
    if found.opaque:
        reasons = sorted({text.partition(" (")[0] for text in found.opaque})
        parts.append(f"Always executes: {reasons[0]}.")
    if found.how == "stub":
        parts.append(f"A stub: {(found.why or '').rpartition('; ')[2]}.")
    if found.is_wrong:
        parts.append("Not the same, and not said.")
    return _plain(" ".join(parts))


def row(found: Found) -> str:
    """One line of the table."""
    case = found.case
    marks = [
        _mark(found.sees_change),
        _mark(found.is_steady),
        "yes" if found.is_steady_when_read else "no",
        found.how,
        "" if found.how == "stub" else _mark(found.is_equal),
        "" if found.how == "stub" else _mark(found.is_steady_restored),
        "" if found.how == "stub" else _mark(found.sees_change_restored),
        # Nothing without a fingerprint has an equal one.
        "" if found.opaque else "yes" if found.is_same_anew else "no",
    ]
    return f"| {case.library} | {case.title} | {' | '.join(marks)} | {words(found)} |"


def row_of(page: str, case: Case) -> str | None:
    """The line that a page has for a case."""
    start = f"| {case.library} | {case.title} | "
    return next((line for line in page.splitlines() if line.startswith(start)), None)


def version_of(library: str) -> str:
    """A library's version as it is installed here."""
    name = MODULES.get(library, library)
    if library in {"python", "standard library"}:
        return f"{sys.version_info.major}.{sys.version_info.minor}"
    module = importlib.import_module(name)
    return str(getattr(module, "__version__", "unknown")).partition("+")[0]


def versions() -> dict[str, str]:
    """Every library of the table that is installed."""
    return {library: version_of(library) for library in SETUP if library != "standard library"}


def versions_of(page: str) -> dict[str, str]:
    """The versions with which a page was made."""
    line = next(line for line in page.splitlines() if line.startswith("Made with "))
    pairs = line.removeprefix("Made with ").removesuffix(".").split(", ")
    return dict(pair.rsplit(" ", 1) for pair in pairs)


def page_of(found: Iterable[Found]) -> str:
    """The whole page."""
    rows = list(found)
    exact = [
        one
        for one in rows
        if one.how == "loaded"
        and not one.opaque
        and one.is_equal
        and one.sees_change
        and one.is_steady
        and one.is_steady_restored
        and one.sees_change_restored
    ]
    wrong = [one for one in rows if one.is_wrong]
    told = "None comes back silently wrong."
    if wrong:
        names = ", ".join(f"{one.case.library} {one.case.title}" for one in wrong)
        told = f"Silently not the same: {len(wrong)} ({names})."
    head = _HEAD.format(
        n=len(rows),
        exact=len(exact),
        rebuilt=sum(one.how == "rebuilt" and one.is_equal for one in rows),
        stub=sum(one.how == "stub" for one in rows),
        wrong=told,
        versions=", ".join(f"{library} {version}" for library, version in versions().items()),
    )
    return head + "\n".join(row(one) for one in rows) + "\n"


def main() -> int:
    """Write the page, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, say what differs")
    arguments = parser.parse_args()
    _, missing = installed_cases()
    if missing:
        print(f"not installed: {', '.join(missing)}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        found = run_cases(Path(folder), CASES)
    for one in found:
        if one.failed is not None:
            print(
                f"{one.case.library} {one.case.title} cannot be made: {one.failed}", file=sys.stderr
            )
            return 1
    page = page_of(found)
    if not arguments.check:
        PAGE.write_text(page, encoding="utf-8")
        return 0
    old = PAGE.read_text(encoding="utf-8")
    for line in page.splitlines():
        if line not in old:
            print(line)
    return int(page != old)


if __name__ == "__main__":
    sys.exit(main())

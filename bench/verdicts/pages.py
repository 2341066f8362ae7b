"""The notebooks: those written by hand in `notebooks/`, and generated ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).parent / "notebooks"
BREAK = "# %%\n"

Cells = list[tuple[str, str]]


@dataclass
class Page:
    """A notebook, the files beside it, and where it is from."""

    name: str
    cells: Cells
    files: dict[str, str] = field(default_factory=dict)
    is_generated: bool = False


def read(path: Path) -> Page:
    """A notebook as text: cells begin at `# %%`; before them `# file: NAME` and its lines, each after `#| `."""
    head, *sources = path.read_text(encoding="utf-8").split(BREAK)
    files: dict[str, str] = {}
    name = ""
    for line in head.splitlines():
        if line.startswith("# file: "):
            name = line.removeprefix("# file: ")
            files[name] = ""
        elif line.startswith("#| "):
            files[name] += line.removeprefix("#| ") + "\n"
    cells = [(f"c{at}", source.rstrip("\n")) for at, source in enumerate(sources, 1)]
    return Page(path.stem, cells, files)


def written() -> list[Page]:
    """The notebooks written by hand that the analysis was improved by."""
    return [read(path) for path in sorted(FOLDER.glob("*.ipy"))]


def written_later() -> list[Page]:
    """Those that were written afterwards."""
    return [read(path) for path in sorted(FOLDER.glob("more/*.ipy"))]


def written_third() -> list[Page]:
    """Those that were written when the analysis had been improved by these, too."""
    return [read(path) for path in sorted(FOLDER.glob("third/*.ipy"))]


def written_fourth() -> list[Page]:
    """Those that were written when it had been improved by all others."""
    return [read(path) for path in sorted(FOLDER.glob("fourth/*.ipy"))]


def written_fifth() -> list[Page]:
    """Those of five kinds that the others are not of."""
    return [read(path) for path in sorted(FOLDER.glob("fifth/*.ipy"))]


def written_sixth() -> list[Page]:
    """Those of five more kinds: places, a shop in a database, lines of a log, meters, models side by side."""
    return [read(path) for path in sorted(FOLDER.glob("sixth/*.ipy"))]


def written_seventh() -> list[Page]:
    """Those of six fields more: particles, a small language, wages, mazes, experiments, instruments."""
    return [read(path) for path in sorted(FOLDER.glob("seventh/*.ipy"))]


def written_eighth() -> list[Page]:
    """Those of four fields more: rasters, language, a workshop, cohorts."""
    return [read(path) for path in sorted(FOLDER.glob("eighth/*.ipy"))]


def written_ninth() -> list[Page]:
    """Those of five fields more: a harbour, layers of settings, samplers, a darkroom, letters."""
    return [read(path) for path in sorted(FOLDER.glob("ninth/*.ipy"))]


def generated(n: int) -> list[Page]:
    """Generated ones, of templates that are meant to be hard: they shadow, alias, delete, fail and evaluate strings."""
    from tests.python.generated.cases import make_case

    pages = []
    for seed in range(n):
        case = make_case(seed)
        pages.append(Page(f"seed {seed}", case.cells, case.files, is_generated=True))
    return pages

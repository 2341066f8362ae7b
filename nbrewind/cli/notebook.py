"""Notebook files in and out: the only module that reads or writes ``.ipynb``.

What is read may be an old or a slightly broken notebook. What can be repaired without doubt (missing or
doubled cell ids, format 4.4 and older) is repaired in memory and said in `Notebook.warnings`; everything
else is a `NotebookError` whose text ends with what to do next. The user's own file is never touched here:
repairs reach the disk only in the file that `write_notebook` is asked to write.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import json
import math
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def _without(*modules: str) -> Iterator[None]:
    """As if these modules were not installed, unless they are loaded already."""
    hidden = [module for module in modules if module not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for module in hidden:
            del sys.modules[module]


# Where Jupyter is installed, jsonschema loads these at its own import, to know what an IRI, a date or a colour is. One
# builds a parser for more than a second of CPU: longer than all else that a command does before its kernel runs.
# No field of a notebook is any of these.
with _without(
    "fqdn",
    "isoduration",
    "jsonpointer",
    "rfc3339_validator",
    "rfc3986_validator",
    "rfc3987_syntax",
    "uri_template",
    "webcolors",
):
    # Before anything else of a command imports it.
    import nbformat
    from nbformat.v4.rwbase import rejoin_lines

__all__ = [
    "CodeCell",
    "Notebook",
    "NotebookError",
    "inject_parameters",
    "parse_parameter",
    "read_notebook",
    "write_notebook",
]

# nbformat 4.5 allows these as cell ids, and nothing else.
_VALID_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")
_MAX_ID = 64


class NotebookError(Exception):
    """A notebook that cannot be used as it is: one sentence on why, one on what to do."""

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code


@dataclass(frozen=True)
class CodeCell:
    """One code cell; `position` is 1-based and counts code cells only, as people count them."""

    id: str
    source: str
    tags: tuple[str, ...]
    position: int
    # The live node inside the notebook: outputs and the execution count are written here.
    node: Any = field(repr=False, compare=False)


@dataclass
class Notebook:
    """A notebook in format 4.5 or newer, every cell with an id of its own."""

    path: Path
    node: Any
    # None when the notebook names none and the caller said which kernel to use.
    kernel_name: str | None
    warnings: list[str] = field(default_factory=list)

    def code_cells(self) -> list[CodeCell]:
        """All code cells, top to bottom; raw and Markdown cells are left out."""
        return list(self._code_cells())

    def _code_cells(self) -> Iterator[CodeCell]:
        position = 0
        for cell in self.node.cells:
            if cell.cell_type == "code":
                position += 1
                tags = tuple(cell.metadata.get("tags", ()))
                yield CodeCell(cell.id, cell.source, tags, position, cell)

    def find(self, wanted: str) -> CodeCell:
        """The cell that CELL on the command line means: an id, else a 1-based position."""
        cells = self.code_cells()
        for cell in cells:
            if cell.id == wanted:
                return cell
        if wanted.isdecimal() and 1 <= int(wanted) <= len(cells):
            return cells[int(wanted) - 1]
        known = ", ".join(cell.id for cell in cells) or "none"
        raise NotebookError(
            f"{self.path} has no code cell {wanted!r}. Give a position from 1 to {len(cells)} "
            f"or one of the ids: {known}."
        )


def read_notebook(path: str | os.PathLike[str], kernel: str | None = None) -> Notebook:
    """Read a Python notebook, repairing in memory what has only one sensible repair.

    `kernel` overrides the notebook's own kernel, and stands in where it names none.
    """
    path = Path(path)
    raw = _parse(path, _read_text(path))
    warnings: list[str] = []
    _check_format(path, raw)
    kernel_name = _python_kernel(path, raw, kernel)
    _repair_ids(path, raw, warnings)
    minor = raw["nbformat_minor"]
    if minor < 5:
        warnings.append(
            f"{path} is in format 4.{minor}, which has no cell ids: cells are known by their position "
            "here, so moving one looks like an edit. What is written will be in format 4.5."
        )
        raw["nbformat_minor"] = 5
    try:
        node = rejoin_lines(nbformat.from_dict(raw))
        nbformat.validate(node)
    except (nbformat.ValidationError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise NotebookError(
            f"{path} is not a valid notebook: {_first_line(error)}. Open it in JupyterLab and save it "
            "again, or take an older version of it."
        ) from error
    return Notebook(path, node, kernel_name, warnings)


def write_notebook(notebook: Notebook | Any, path: str | os.PathLike[str]) -> None:
    """Write a notebook so that a crash leaves the old file or the new one, never half of one."""
    node = notebook.node if isinstance(notebook, Notebook) else notebook
    # A link keeps being a link: what it points to is replaced.
    path = Path(os.path.realpath(path))
    text = nbformat.writes(node)
    if not text.endswith("\n"):
        text += "\n"
    temporary = None
    try:
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
        handle, temporary = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"
        )
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode("utf-8", "surrogatepass"))
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(temporary, path)
        temporary = None
        # The folder is synced after the rename: until then a crash may lose the name but never the bytes.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise NotebookError(
            f"Could not write {path}: {error.strerror or error}. Nothing there was changed; free some "
            "space or choose another place with -o."
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def parse_parameter(text: str) -> tuple[str, Any]:
    """``NAME=VALUE`` from the command line; VALUE is a Python literal, else text."""
    name, equals, value = text.partition("=")
    name = name.strip()
    if not equals or not name.isidentifier():
        raise NotebookError(f"-p takes NAME=VALUE with a Python name, not {text!r}.")
    try:
        return name, ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return name, value


def inject_parameters(notebook: Notebook, parameters: Mapping[str, Any]) -> Notebook:
    """A copy of the notebook in which each ``NAME = literal`` has the value given.

    Cells tagged ``parameters`` are looked at first, then all code cells from the top; the first top-level
    assignment of a literal to the name is rewritten in place. No cell is added, so that cells keep their
    ids and positions, and only what reads the value becomes stale.
    """
    changed = copy.deepcopy(notebook)
    cells = changed.code_cells()
    ordered = sorted(cells, key=lambda cell: "parameters" not in cell.tags)
    for name, value in parameters.items():
        text = _literal(name, value)
        for cell in ordered:
            source = _with_literal(cell.node.source, name, text)
            if source is not None:
                cell.node.source = source
                break
        else:
            raise NotebookError(
                f"{notebook.path} has no parameter {name!r}: no cell assigns it a plain value such as "
                f"`{name} = 10` at its top level. Check the name, or add such a line."
            )
    return changed


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise NotebookError(f"There is no notebook at {path}. Check the path.") from None
    except IsADirectoryError:
        raise NotebookError(f"{path} is a folder. Name the .ipynb file inside it.") from None
    except UnicodeDecodeError as error:
        raise NotebookError(
            f"{path} is not text in UTF-8 (byte {error.start}). Take a notebook file, or an older "
            "version of this one."
        ) from error
    except OSError as error:
        raise NotebookError(
            f"{path} cannot be read: {error.strerror or error}. Check its permissions."
        ) from error


def _parse(path: Path, text: str) -> dict[str, Any]:
    if not text.strip():
        raise NotebookError(f"{path} is empty. Take an older version of it.")
    try:
        raw = json.loads(text)
    except json.JSONDecodeError as error:
        conflict = re.search(r"^(<{7}|={7}|>{7})", text, re.MULTILINE)
        cure = (
            "It holds conflict markers of a merge: resolve the merge first."
            if conflict
            else "Take an older version of it, or mend that place in a text editor."
        )
        raise NotebookError(
            f"{path} does not parse as JSON, at line {error.lineno}, column {error.colno}: "
            f"{error.msg}. {cure}"
        ) from error
    except RecursionError as error:
        raise NotebookError(
            f"{path} does not parse: it is nested too deeply. Take an older version of it."
        ) from error
    if not isinstance(raw, dict) or not isinstance(raw.get("nbformat"), int):
        raise NotebookError(f"{path} is JSON but not a notebook. Name an .ipynb file.")
    return raw


def _check_format(path: Path, raw: dict[str, Any]) -> None:
    major = raw["nbformat"]
    if major < 4:
        raise NotebookError(
            f"{path} is in notebook format {major}, which is too old. Convert it with "
            f"`jupyter nbconvert --to notebook --nbformat 4 {path.name}`."
        )
    if major > 4:
        raise NotebookError(
            f"{path} is in notebook format {major}, which is newer than this program. Install a newer "
            "nbrewind, or save the notebook in format 4."
        )
    minor = raw.setdefault("nbformat_minor", 0)
    cells = raw.get("cells")
    if not isinstance(minor, int) or not isinstance(cells, list):
        raise NotebookError(
            f"{path} is not a valid notebook: it has no list of cells. Take an older version of it."
        )
    for position, cell in enumerate(cells, 1):
        if not isinstance(cell, dict) or not isinstance(cell.get("cell_type"), str):
            raise NotebookError(
                f"{path} is not a valid notebook: cell {position} is not a cell. Take an older version "
                "of it."
            )
    if not isinstance(raw.setdefault("metadata", {}), dict):
        raise NotebookError(
            f"{path} is not a valid notebook: its metadata is not a table. Take an older version of it."
        )


def _python_kernel(path: Path, raw: dict[str, Any], override: str | None) -> str | None:
    """The kernel to start; refuses what is known not to be Python, unless told which kernel to use."""
    if override is not None:
        return override
    kernelspec = _table(raw["metadata"].get("kernelspec"))
    language_info = _table(raw["metadata"].get("language_info"))
    name = kernelspec.get("name")
    language = kernelspec.get("language") or language_info.get("name")
    if not name and not language:
        raise NotebookError(
            f"{path} names no kernel. Choose one in JupyterLab and save, or pass --kernel python3."
        )
    if not language:
        language = _language_of_kernel(path, str(name))
    if not str(language).lower().startswith(("python", "ipython")):
        raise NotebookError(
            f"{path} is a notebook in {language}; only Python can be recorded. If that is wrong, pass "
            "--kernel with the name of a Python kernel."
        )
    return name or None


def _language_of_kernel(path: Path, name: str) -> str:
    if re.match(r"(python|nbrewind-)", name):
        return "python"
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        return str(KernelSpecManager().get_kernel_spec(name).language)
    except NoSuchKernel:
        raise NotebookError(
            f"{path} wants the kernel {name!r}, which is not installed here, and does not say its "
            "language. Install it, or pass --kernel python3."
        ) from None


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _repair_ids(path: Path, raw: dict[str, Any], warnings: list[str]) -> None:
    """Give every cell an id of its own; the same file always gets the same ids.

    A missing id is made from the cell's position alone: then an edit of the cell is seen as an edit and not
    as one cell gone and another come.
    """
    taken = {cell["id"] for cell in raw["cells"] if _is_id(cell.get("id"))}
    seen: set[str] = set()
    missing: list[int] = []
    doubled: list[str] = []
    for position, cell in enumerate(raw["cells"], 1):
        cell_id = cell.get("id")
        if not _is_id(cell_id):
            missing.append(position)
            cell_id = _free(f"cell-{position}", taken)
        elif cell_id in seen:
            doubled.append(cell_id)
            cell_id = _free(cell_id, taken)
        cell["id"] = cell_id
        seen.add(cell_id)
        taken.add(cell_id)
    if missing and raw["nbformat_minor"] >= 5:
        warnings.append(
            f"{path}: {_count(missing, 'cell')} without a valid id (position "
            f"{', '.join(map(str, missing))}): known by position here. Saving it in JupyterLab gives ids."
        )
    if doubled:
        warnings.append(
            f"{path}: the cell {'id' if len(set(doubled)) == 1 else 'ids'} "
            f"{', '.join(sorted(set(doubled)))} occur more than once: the later cells go by another id "
            "here. Saving it in JupyterLab gives each its own."
        )


def _is_id(value: object) -> bool:
    return isinstance(value, str) and _VALID_ID.match(value) is not None


def _free(wanted: str, taken: set[str]) -> str:
    if wanted not in taken:
        return wanted
    number = 2
    while True:
        ending = f"-{number}"
        candidate = wanted[: _MAX_ID - len(ending)] + ending
        if candidate not in taken:
            return candidate
        number += 1


def _count(things: list[int], word: str) -> str:
    return f"{len(things)} {word}{'' if len(things) == 1 else 's'}"


def _literal(name: str, value: Any) -> str:
    """The value as source text that evaluates to it."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"float({str(value)!r})"
    text = repr(value)
    try:
        same = ast.literal_eval(text) == value
    except (ValueError, SyntaxError):
        same = False
    if not same:
        raise NotebookError(
            f"The parameter {name!r} cannot be written as a plain Python value. Use numbers, text, "
            "booleans, None, or lists, tuples, sets and tables of them."
        )
    return text


def _with_literal(source: str, name: str, text: str) -> str | None:
    """The source with the first top-level ``name = <literal>`` rewritten; None if there is none."""
    if source.lstrip().startswith("%%"):
        return None
    lines = source.split("\n")
    # Magics are not Python; a line of the same number keeps every other position right.
    plain = "\n".join("pass" if re.match(r"[%!?]|\S.*\?\s*\Z", line) else line for line in lines)
    try:
        tree = ast.parse(plain)
    except (SyntaxError, ValueError):
        return None
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target, value = statement.targets[0], statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            target, value = statement.target, statement.value
        else:
            continue
        if not isinstance(target, ast.Name) or target.id != name or not _is_literal(value):
            continue
        start = _offset(lines, value.lineno, value.col_offset)
        # Set for every node that came from a parse.
        assert value.end_lineno is not None and value.end_col_offset is not None
        end = _offset(lines, value.end_lineno, value.end_col_offset)
        return source[:start] + text + source[end:]
    return None


def _is_literal(value: ast.expr) -> bool:
    try:
        ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def _offset(lines: list[str], line: int, column: int) -> int:
    """Characters before a place that `ast` gives as a line and a column in UTF-8 bytes."""
    before = sum(len(text) + 1 for text in lines[: line - 1])
    return before + len(lines[line - 1].encode()[:column].decode())


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _umask() -> int:
    # The only way to read it is to set it; it is set back at once.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask

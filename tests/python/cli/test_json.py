"""What `analyze`, `stale`, `why` and `graph` print for programs is what docs/schemas says, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import nbformat
import pytest

from nbrewind.cli.main import main
from tests.python.books import Book

SCHEMAS = Path(__file__).parents[3] / "docs/schemas"

CELLS = {
    "tools": "import math\nimport random\n\ndef area(r, log=[]):\n    log.append(r)\n    return math.pi * r * k",
    "k": "k = 2  # nbrewind: writes=k",
    "draw": "random.seed(1)\nradius = random.random()\nmath.kk = radius",
    "file": "with open('a.txt', 'w') as file:\n    file.write(str(area(radius)))",
    "read": "text = open('a.txt').read()\nprint(text, _)",
    "code": "exec(text + ' + 1')\ndel radius",
    "magic": "%time later = 1\n!echo $k",
    "broken": "x = (",
}


def _schema(name: str) -> Any:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return schema


def _answer(capsys: pytest.CaptureFixture[str], schema: str, *arguments: str | Path) -> Any:
    assert main([str(argument) for argument in arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator(_schema(schema)).validate(found)
    return found


def test_analyze_and_graph_are_as_documented(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book = Book(tmp_path, CELLS)
    found = _answer(capsys, "analyze", "analyze", book.path, "--json")
    assert [cell["id"] for cell in found["cells"]] == list(CELLS)
    assert {"from": "k", "to": "file", "name": "k"} in found["edges"]
    drawn = _answer(capsys, "graph", "graph", book.path, "--format", "json")
    between = {(edge["from"], edge["to"]): edge["names"] for edge in drawn["edges"]}
    assert "a.txt" in between["file", "read"]


def test_markdown_and_raw_cells_are_in_no_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book = Book(tmp_path, {"a": "x = 1", "b": "print(x)"})
    node = nbformat.read(book.path, as_version=4)
    for at, make in ((1, nbformat.v4.new_markdown_cell), (0, nbformat.v4.new_raw_cell)):
        cell = make("x = 2")
        cell["id"] = f"text{at}"
        node.cells.insert(at, cell)
    nbformat.write(node, book.path)
    found = _answer(capsys, "analyze", "analyze", book.path, "--json")
    assert [cell["id"] for cell in found["cells"]] == ["a", "b"]
    assert found["edges"] == [{"from": "a", "to": "b", "name": "x"}]
    drawn = _answer(capsys, "graph", "graph", book.path, "--format", "json")
    assert [node["position"] for node in drawn["nodes"]] == [1, 2]


def test_a_notebook_in_another_language_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book = Book(tmp_path, {"a": "x <- 1"})
    node = nbformat.read(book.path, as_version=4)
    node.metadata = {
        "kernelspec": {"name": "ir", "display_name": "R", "language": "R"},
        "language_info": {"name": "R"},
    }
    nbformat.write(node, book.path)
    assert main(["analyze", str(book.path), "--json"]) == 2
    assert "R" in capsys.readouterr().err


def test_stale_between_notebooks_is_as_documented_and_leads_back_to_the_edit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Book(tmp_path / "a", {"x": "x = 1", "y": "y = x", "z": "z = y", "w": "print(gone, z)"})
    after = Book(tmp_path / "b", {**before.cells, "x": "x = 2", "new": "q = 1"})
    found = _answer(capsys, "stale", "stale", "--audited", before.path, after.path, "--json")
    assert found["states"] == {
        "x": "edited",
        "y": "stale",
        "z": "stale",
        "w": "stale",
        "new": "new",
    }
    assert found["why"] == {"y": "edited", "z": "upstream", "w": "upstream"}
    assert found["because"]["w"] == [
        {"name": "z", "cell": "z"},
        {"name": "y", "cell": "y"},
        {"name": "x", "cell": "x"},
    ]
    gone = Book(tmp_path / "c", {"y": "y = x", "w": "print(1)"})
    found = _answer(capsys, "stale", "stale", "--audited", before.path, gone.path, "--json")
    assert found["why"]["y"] == "deleted-definition"
    assert found["because"]["y"] == [{"name": "x", "cell": "x"}]
    doubtful = Book(tmp_path / "d", {"x": "exec(code)", "y": "y = x"})
    other = Book(tmp_path / "e", {"x": "exec(code * 2)", "y": "y = x"})
    found = _answer(capsys, "stale", "stale", "--audited", doubtful.path, other.path, "--json")
    assert found["unknown"] == ["y"]
    assert found["why"] == {"y": "unknown-code"}


def test_stale_and_why_of_a_recorded_notebook_are_as_documented(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book = Book(tmp_path, {"a": "x = 1", "b": "y = x", "c": "print(y)"})
    book.run("audit")
    book.edit(a="x = 2")
    store = ["--store", str(book.store)]
    found = _answer(capsys, "stale", "stale", book.path, *store, "--json")
    assert found["stale"] == ["a", "b", "c"]
    told = _answer(capsys, "why", "why", book.path, "c", *store, "--json")
    assert (told["kind"], told["state"], told["cause"]) == ("cell", "stale", "upstream")
    assert [one["cell"] for one in told["because"]] == ["b", "a"]
    told = _answer(capsys, "why", "why", book.path, "1", *store, "--json")
    assert (told["subject"], told["state"], told["because"]) == ("a", "edited", [])

"""Notebook files: what is repaired, what is refused and in which words, what is written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from nbrewind.cli import notebook as notebook_module
from nbrewind.cli.notebook import (
    NotebookError,
    inject_parameters,
    parse_parameter,
    read_notebook,
    write_notebook,
)

PYTHON = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


def code(source: str, cell_id: str | None = None, tags: list[str] | None = None) -> dict:
    cell = {
        "cell_type": "code",
        "source": source,
        "metadata": {"tags": tags} if tags else {},
        "outputs": [],
        "execution_count": None,
    }
    if cell_id is not None:
        cell["id"] = cell_id
    return cell


def save(
    folder: Path, cells: list, metadata: dict = PYTHON, minor: int = 5, major: int = 4
) -> Path:
    path = folder / "n.ipynb"
    content = {"nbformat": major, "nbformat_minor": minor, "metadata": metadata, "cells": cells}
    path.write_text(json.dumps(content))
    return path


def refusal(path: Path, **options) -> str:
    with pytest.raises(NotebookError) as caught:
        read_notebook(path, **options)
    assert caught.value.exit_code == 2
    return caught.value.message


def ids(path: Path) -> list[str]:
    return [cell.id for cell in read_notebook(path).code_cells()]


def test_reads_code_cells_with_ids_tags_and_positions(tmp_path):
    text = {"cell_type": "markdown", "id": "t", "source": "# Title", "metadata": {}}
    cells = [text, code("x = 1", "a", ["parameters"]), code(["y = 2\n", "y"], "b")]
    found = read_notebook(save(tmp_path, cells))
    assert [(c.id, c.source, c.tags, c.position) for c in found.code_cells()] == [
        ("a", "x = 1", ("parameters",), 1),
        ("b", "y = 2\ny", (), 2),
    ]
    assert found.kernel_name == "python3"
    assert found.warnings == []


def test_a_cell_is_found_by_id_else_by_position(tmp_path):
    found = read_notebook(save(tmp_path, [code("a", "2"), code("b", "x")]))
    assert found.find("x").source == "b"
    assert found.find("2").source == "a"
    assert found.find("1").source == "a"
    with pytest.raises(NotebookError, match="no code cell '9'. Give a position from 1 to 2"):
        found.find("9")


def test_says_that_the_file_is_missing(tmp_path):
    assert "There is no notebook at" in refusal(tmp_path / "none.ipynb")


def test_says_that_a_folder_is_no_notebook(tmp_path):
    assert "is a folder. Name the .ipynb file" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b'{"cells": [', "does not parse as JSON, at line 1"),
        (b'{"cells": [\n<<<<<<< HEAD\n', "resolve the merge first"),
        (b"\xff\xfe\x00", "is not text in UTF-8"),
        (b"[]", "is JSON but not a notebook"),
        (b'{"a": 1}', "is JSON but not a notebook"),
        (b'{"nbformat": 4, "nbformat_minor": 5}', "has no list of cells"),
        (b'{"nbformat": 4, "nbformat_minor": 5, "cells": [3]}', "cell 1 is not a cell"),
        (b"[" * 100_000, "does not parse"),
    ],
)
def test_says_what_is_wrong_with_a_file_that_does_not_parse(tmp_path, content, said):
    path = tmp_path / "n.ipynb"
    path.write_bytes(content)
    assert said in refusal(path)
    assert path.read_bytes() == content


def test_says_how_to_convert_format_3(tmp_path):
    path = save(tmp_path, [], major=3)
    assert "jupyter nbconvert --to notebook --nbformat 4 n.ipynb" in refusal(path)


def test_says_that_a_format_is_newer(tmp_path):
    assert "newer than this program" in refusal(save(tmp_path, [], major=5))


def test_says_that_a_cell_is_malformed(tmp_path):
    broken = code("x", "a")
    del broken["outputs"]
    said = refusal(save(tmp_path, [broken]))
    assert "is not a valid notebook" in said
    assert "Open it in JupyterLab" in said


def test_a_notebook_without_a_kernel_is_refused_unless_one_is_given(tmp_path):
    path = save(tmp_path, [code("x", "a")], metadata={})
    assert "names no kernel" in refusal(path)
    assert read_notebook(path, kernel="python3").kernel_name == "python3"


def test_language_info_alone_is_enough(tmp_path):
    path = save(tmp_path, [], metadata={"language_info": {"name": "python"}})
    assert read_notebook(path).kernel_name is None


def test_a_notebook_in_another_language_is_refused(tmp_path):
    metadata = {"kernelspec": {"name": "ir", "display_name": "R", "language": "R"}}
    assert "is a notebook in R; only Python" in refusal(save(tmp_path, [], metadata=metadata))


def test_a_kernel_of_unknown_language_is_refused(tmp_path):
    metadata = {"kernelspec": {"name": "no-such-kernel", "display_name": "?"}}
    assert "is not installed here" in refusal(save(tmp_path, [], metadata=metadata))


def test_doubled_ids_are_repaired_the_same_way_every_time_and_said(tmp_path):
    path = save(tmp_path, [code("1", "a"), code("2", "a"), code("3", "a-2"), code("4", "a")])
    before = path.read_bytes()
    assert ids(path) == ["a", "a-3", "a-2", "a-4"]
    assert ids(path) == ids(path)
    (warning,) = read_notebook(path).warnings
    assert "a occur more than once" in warning
    assert path.read_bytes() == before


def test_a_long_doubled_id_stays_valid(tmp_path):
    path = save(tmp_path, [code("1", "a" * 64), code("2", "a" * 64)])
    assert ids(path) == ["a" * 64, "a" * 62 + "-2"]


def test_missing_and_invalid_ids_are_made_from_the_position(tmp_path):
    path = save(tmp_path, [code("1"), code("2", "cell-1"), code("3", "not valid!"), code("4", "d")])
    assert ids(path) == ["cell-1-2", "cell-1", "cell-3", "d"]
    (warning,) = read_notebook(path).warnings
    assert "2 cells without a valid id (position 1, 3)" in warning


def test_format_4_4_gets_ids_in_memory_that_an_edit_does_not_change(tmp_path):
    path = save(tmp_path, [code("x = 1"), code("y = x")], minor=4)
    before = path.read_bytes()
    assert ids(path) == ["cell-1", "cell-2"]
    found = read_notebook(path)
    assert found.node.nbformat_minor == 5
    assert "format 4.4" in found.warnings[0]
    assert path.read_bytes() == before
    save(tmp_path, [code("x = 2"), code("y = x")], minor=4)
    assert ids(path) == ["cell-1", "cell-2"]


def test_a_later_minor_version_is_kept(tmp_path):
    assert read_notebook(save(tmp_path, [code("x", "a")], minor=7)).node.nbformat_minor == 7


def test_what_is_written_is_a_valid_notebook_with_the_repairs(tmp_path):
    found = read_notebook(save(tmp_path, [code("x = 1"), code("é", "b")], minor=4))
    out = tmp_path / "out.ipynb"
    write_notebook(found, out)
    again = nbformat.read(out, as_version=4)
    nbformat.validate(again)
    assert [cell.id for cell in again.cells] == ["cell-1", "b"]
    assert sorted(os.listdir(tmp_path)) == ["n.ipynb", "out.ipynb"]


def test_writing_keeps_links_and_permissions(tmp_path):
    path = save(tmp_path, [code("x", "a")])
    path.chmod(0o640)
    link = tmp_path / "link.ipynb"
    link.symlink_to(path)
    write_notebook(read_notebook(path), link)
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = save(tmp_path, [code("x", "a")])
    before = path.read_bytes()
    found = read_notebook(path)

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(notebook_module.os, "fsync", full)
    with pytest.raises(NotebookError, match="No space left on device. Nothing there was changed"):
        write_notebook(found, path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["n.ipynb"]


def test_writing_into_a_folder_that_is_not_there_says_so(tmp_path):
    found = read_notebook(save(tmp_path, []))
    with pytest.raises(NotebookError, match="Could not write .*No such file"):
        write_notebook(found, tmp_path / "none" / "out.ipynb")


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("N=3", ("N", 3)),
        ("N = [1, 2]", ("N", [1, 2])),
        ("WHERE=a b", ("WHERE", "a b")),
        ("WHERE='3'", ("WHERE", "3")),
        ("E=", ("E", "")),
        ("Q=a=b", ("Q", "a=b")),
    ],
)
def test_a_parameter_is_a_literal_else_text(text, pair):
    assert parse_parameter(text) == pair


@pytest.mark.parametrize("text", ["N", "=3", "a b=3", "3=a"])
def test_a_parameter_needs_a_name(text):
    with pytest.raises(NotebookError, match="NAME=VALUE"):
        parse_parameter(text)


def injected(tmp_path: Path, cells: list[dict], **values) -> list[str]:
    found = inject_parameters(read_notebook(save(tmp_path, cells)), values)
    return [cell.source for cell in found.code_cells()]


def test_a_parameter_replaces_the_first_plain_assignment_in_place(tmp_path):
    cells = [code("import os\nN = max(2, 3)"), code("# é\nN = 1_000  # rows\nM = N"), code("N = 5")]
    assert injected(tmp_path, cells, N=7) == [
        "import os\nN = max(2, 3)",
        "# é\nN = 7  # rows\nM = N",
        "N = 5",
    ]


def test_a_tagged_cell_comes_first(tmp_path):
    cells = [code("N = 1", "a"), code("N: int = 2", "b", ["parameters"])]
    assert injected(tmp_path, cells, N=7) == ["N = 1", "N: int = 7"]


def test_several_parameters_of_several_lines_and_non_ascii_text(tmp_path):
    cells = [code("é = 'ü'; N = [\n  1,\n  2,\n]; M = -3")]
    assert injected(tmp_path, cells, é="ß", N=[], M=None) == ["é = 'ß'; N = []; M = None"]


def test_magics_beside_a_parameter_do_not_matter(tmp_path):
    cells = [code("%%bash\nN = 1"), code("%matplotlib inline\n!ls\nN = 1\nN?")]
    assert injected(tmp_path, cells, N=float("inf")) == [
        "%%bash\nN = 1",
        "%matplotlib inline\n!ls\nN = float('inf')\nN?",
    ]


def test_an_unknown_parameter_is_refused(tmp_path):
    with pytest.raises(NotebookError, match="has no parameter 'M'"):
        injected(tmp_path, [code("N = 1\nif N:\n    M = 1")], M=2)


def test_a_value_that_is_no_literal_is_refused(tmp_path):
    with pytest.raises(NotebookError, match="plain Python value"):
        injected(tmp_path, [code("N = 1")], N=object())


def test_the_notebook_given_is_not_changed(tmp_path):
    found = read_notebook(save(tmp_path, [code("N = 1")]))
    inject_parameters(found, {"N": 2})
    assert found.code_cells()[0].source == "N = 1"


@pytest.mark.parametrize("name", ["climate", "classify"])
def test_the_demo_notebooks_need_no_repair(name):
    path = Path(__file__).parents[3] / "demo" / f"{name}.ipynb"
    found = read_notebook(path)
    assert found.warnings == []
    assert all(cell.node.outputs == [] for cell in found.code_cells())


def test_a_command_does_not_pay_for_formats_that_notebooks_do_not_have() -> None:
    code = "import sys, nbrewind.cli.commands; print('rfc3987_syntax' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"

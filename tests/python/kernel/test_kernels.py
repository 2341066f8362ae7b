"""The kernels of the paper, and the extension in a plain kernel, as a front end would use them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient


def execute(folder: Path, kernel: str, *cells: str) -> list[list[Any]]:
    node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    client = NotebookClient(
        node, kernel_name=kernel, timeout=120, resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    return [
        [output.get("text", output.get("data", {}).get("text/plain")) for output in cell["outputs"]]
        for cell in node.cells
    ]


def test_audit_in_one_kernel_and_repeat_in_the_other(tmp_path: Path) -> None:
    first = execute(
        tmp_path,
        "nbrewind-audit",
        "import uuid\nu = uuid.uuid4().hex",
        "u",
        "x = [1]",
        "x.append(2)\nx",
    )
    again = execute(
        tmp_path,
        "nbrewind-repeat",
        "import uuid\nu = uuid.uuid4().hex",
        "u",
        "x = [1]",
        "x.append(2)\nx",
    )
    # A new draw would differ: the run was replayed.
    assert again == first
    later = execute(
        tmp_path,
        "nbrewind-repeat",
        "import uuid\nu = uuid.uuid4().hex",
        "u",
        "x = [1]",
        "x.append(3)\nx",
    )
    assert later[1] == first[1]
    assert later[3] == ["[1, 3]"]


def test_the_extension_in_a_plain_kernel(tmp_path: Path) -> None:
    shown = execute(
        tmp_path,
        "python3",
        "x = [1]",
        "%load_ext nbrewind",
        "%nbrewind audit",
        "x.append(2)\ny = 5",
        "%nbrewind status",
        "%nbrewind off",
        "x",
        "%nbrewind nonsense",
    )
    assert shown[2][0].startswith("NBRewind: audit, store ")
    assert "1 cell runs in this session; 2 names, 0 of them not loaded yet" in shown[4][0]
    assert shown[6] == ["[1, 2]"]
    assert shown[7][0].startswith("Usage: %nbrewind")
    assert (tmp_path / ".nbrewind" / "format.json").exists()


def test_the_namespace_is_the_user_s_own(tmp_path: Path) -> None:
    plain = execute(
        tmp_path, "python3", "a = 1", "sorted(n for n in dir() if not n.startswith('_'))"
    )
    ours = execute(
        tmp_path, "nbrewind-audit", "a = 1", "sorted(n for n in dir() if not n.startswith('_'))"
    )
    assert ours[1] == plain[1]
    assert execute(tmp_path, "nbrewind-repeat", "a = 1", "type(globals()), f'{a}'")[1] == [
        "(dict, '1')"
    ]


@pytest.mark.parametrize("kernel", ["nbrewind-audit", "nbrewind-repeat"])
def test_an_error_is_the_user_s_own(tmp_path: Path, kernel: str) -> None:
    from nbclient.exceptions import CellExecutionError

    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        execute(tmp_path, kernel, "1 / 0")

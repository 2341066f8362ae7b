"""The wheel: one file for all Pythons from 3.11 on, for old clusters too, and nothing else in it.

`make test-wheel` builds it and sets NBREWIND_WHEEL; without it the tests of the file itself say that they did
not run.
"""

import json
import os
import re
import tomllib
import zipfile
from pathlib import Path

import pytest

import nbrewind

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel():
    path = os.environ.get("NBREWIND_WHEEL")
    if not path:
        pytest.skip("NBREWIND_WHEEL is not set: run `make test-wheel`")
    with zipfile.ZipFile(path) as opened:
        yield opened


def test_the_package_and_the_workspace_agree_on_the_version():
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())
    assert workspace["workspace"]["package"]["version"] == nbrewind.__version__


def test_each_kernel_starts_in_its_mode():
    kernels = ROOT / "data" / "data" / "share" / "jupyter" / "kernels"
    assert sorted(folder.name for folder in kernels.iterdir()) == [
        "nbrewind-audit",
        "nbrewind-repeat",
    ]
    for mode in ("audit", "repeat"):
        spec = json.loads((kernels / f"nbrewind-{mode}" / "kernel.json").read_text())
        assert spec["argv"][:4] == ["python", "-m", "nbrewind.kernel", f"--mode={mode}"]
        assert spec["language"] == "python"


def test_the_pinned_versions_satisfy_the_package():
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "tools" / "requirements.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    wanted = project["dependencies"] + [
        line for name in ("dask", "demo", "test") for line in project["optional-dependencies"][name]
    ]
    for line in wanted:
        requirement = Requirement(line)
        name = requirement.name.lower().replace("_", "-")
        if name != "nbrewind":
            assert pinned[name] in requirement.specifier, line


def test_the_tag_says_every_python_from_3_11_and_glibc_2_28(wheel):
    assert re.search(r"-cp311-abi3-manylinux_2_28_\w+\.whl$", wheel.filename)


def test_the_library_asks_for_no_newer_glibc_than_the_tag_says(wheel):
    (library,) = [name for name in wheel.namelist() if name.endswith(".so")]
    assert library == "nbrewind/_native.abi3.so"
    asked = {int(minor) for minor in re.findall(rb"GLIBC_2\.(\d+)", wheel.read(library))}
    assert asked and max(asked) <= 28


def test_the_wheel_carries_the_package_its_types_and_the_kernels(wheel):
    names = set(wheel.namelist())
    assert {"nbrewind/__init__.py", "nbrewind/py.typed", "nbrewind/_native.pyi"} <= names
    for mode in ("audit", "repeat"):
        ending = f".data/data/share/jupyter/kernels/nbrewind-{mode}/kernel.json"
        assert any(name.endswith(ending) for name in names)


def test_the_wheel_carries_nothing_else(wheel):
    inside = re.compile(r"nbrewind/|nbrewind-[^/]+\.(dist-info|data)/")
    assert [name for name in wheel.namelist() if not inside.match(name)] == []
    assert [name for name in wheel.namelist() if "__pycache__" in name] == []
    missing = {str(path.relative_to(ROOT)) for path in (ROOT / "nbrewind").rglob("*.py")} - set(
        wheel.namelist()
    )
    assert missing == set()

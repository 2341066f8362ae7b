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


def installed(wheel):
    """What lands under the environment's prefix: path -> name in the wheel."""
    found = {}
    for name in wheel.namelist():
        head, data, tail = name.partition(".data/data/")
        if data and head.startswith("nbrewind-"):
            found[tail] = name
    return found


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


def test_the_server_s_configuration_is_a_link_to_the_one_at_the_root():
    link = ROOT.joinpath(
        "data", "data", "etc", "jupyter", "jupyter_server_config.d", "nbrewind.json"
    )
    assert json.loads(link.read_text()) == {
        "ServerApp": {"jpserver_extensions": {"nbrewind": True}}
    }
    assert link.resolve() == ROOT / "jupyter_config.json"


def test_the_package_says_where_the_labextension_is():
    (place,) = nbrewind._jupyter_labextension_paths()
    assert place["dest"] == "nbrewind"
    folder = ROOT / "data" / "data" / "share" / "jupyter" / "labextensions" / "nbrewind"
    assert (ROOT / "nbrewind" / place["src"]).resolve() == folder


def test_the_pinned_versions_satisfy_the_package():
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "tools" / "requirements.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    wanted = project["dependencies"] + [
        line
        for name in ("dask", "demo", "workloads", "test")
        for line in project["optional-dependencies"][name]
    ]
    for line in wanted:
        requirement = Requirement(line)
        name = requirement.name.lower().replace("_", "-")
        if name != "nbrewind":
            assert pinned[name] in requirement.specifier, line


def test_the_tag_says_every_python_from_3_11_and_an_old_glibc(wheel):
    tag = re.search(r"-cp311-abi3-manylinux_2_(\d+)_\w+\.whl$", wheel.filename)
    assert tag is not None and int(tag[1]) <= 28, wheel.filename


def test_the_library_asks_for_no_newer_glibc_than_the_tag_says(wheel):
    (library,) = [name for name in wheel.namelist() if name.endswith(".so")]
    assert library == "nbrewind/_native.abi3.so"
    asked = {int(minor) for minor in re.findall(rb"GLIBC_2\.(\d+)", wheel.read(library))}
    assert asked and max(asked) <= 28


def test_the_wheel_carries_the_package_its_types_and_the_kernels(wheel):
    names = set(wheel.namelist())
    assert {"nbrewind/__init__.py", "nbrewind/py.typed", "nbrewind/_native.pyi"} <= names
    for mode in ("audit", "repeat"):
        assert f"share/jupyter/kernels/nbrewind-{mode}/kernel.json" in installed(wheel)


def test_the_wheel_turns_the_server_extension_on(wheel):
    name = installed(wheel)["etc/jupyter/jupyter_server_config.d/nbrewind.json"]
    # The content, not the link.
    assert json.loads(wheel.read(name)) == json.loads((ROOT / "jupyter_config.json").read_text())


def test_the_wheel_carries_the_labextension_and_all_that_it_names(wheel):
    top = "share/jupyter/labextensions/nbrewind/"
    files = {
        path.removeprefix(top): name
        for path, name in installed(wheel).items()
        if path.startswith(top)
    }
    assert files, (
        "no labextension: it is built before the wheel, and maturin does not say that it is missing"
    )
    package = json.loads(wheel.read(files["package.json"]))
    assert package["name"] == "nbrewind" and package["version"] == nbrewind.__version__
    assert json.loads(wheel.read(files["install.json"]))["packageName"] == "nbrewind"
    # The builder writes the name of the entry, with its hash, into package.json.
    entry = package["jupyterlab"]["_build"]["load"]
    assert re.fullmatch(r"static/remoteEntry\.\w+\.js", entry) and entry in files
    assert [name for name in files if re.fullmatch(r"static/\w+\.wasm", name)]
    assert [name for name in files if re.fullmatch(r"schemas/nbrewind/\w+\.json", name)]
    for name in files:
        if name.endswith(".wasm"):
            assert wheel.read(files[name]).startswith(b"\0asm")
    # Source maps and what the build leaves behind are not for users.
    assert [name for name in files if name.endswith((".map", ".tsbuildinfo"))] == []


def test_the_wheel_carries_nothing_else(wheel):
    inside = re.compile(r"nbrewind/|nbrewind-[^/]+\.(dist-info|data)/")
    assert [name for name in wheel.namelist() if not inside.match(name)] == []
    assert [name for name in wheel.namelist() if "__pycache__" in name] == []
    missing = {str(path.relative_to(ROOT)) for path in (ROOT / "nbrewind").rglob("*.py")} - set(
        wheel.namelist()
    )
    assert missing == set()

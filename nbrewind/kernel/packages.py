"""Versions of Python, of packages and of the user's own modules: what code outside the cells stands for."""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.metadata
import json
import os
import sys
import types
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from nbrewind import _native
from nbrewind.fingerprint import is_library_file, is_library_module
from nbrewind.fingerprint.library import distributions


def python_version() -> str:
    """Minor version: bytecode and the standard library change with it."""
    return f"{sys.implementation.name} {sys.version_info.major}.{sys.version_info.minor}"


@functools.cache
def version_of(distribution: str) -> str | None:
    """The installed version; None when it is not installed. Asked once a session."""
    if distribution == "python":
        return python_version()
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def loaded_versions(base: Iterable[str]) -> dict[str, str | None]:
    """Version of every distribution that is loaded beyond what the kernel itself needs (`base`)."""
    known = set(base) | set(sys.stdlib_module_names)
    tops = {name.partition(".")[0] for name in list(sys.modules)} - known
    found: dict[str, str | None] = {"python": python_version()}
    for top in sorted(tops):
        if top.startswith("_") and top not in distributions():
            continue
        for distribution in distributions().get(top, []):
            found[distribution] = version_of(distribution)
    return found


# Source of the user's modules as it was when this process loaded them.
_as_loaded: dict[str, str | None] = {}

# Modules that are loaded, and that a plan takes for not loaded.
_unloaded: set[str] = set()


@contextmanager
def as_unloaded(names: Iterable[str]) -> Iterator[None]:
    """Answer as a process that has not imported these modules of the user's."""
    _unloaded.update(names)
    try:
        yield
    finally:
        _unloaded.clear()


def unload(names: Iterable[str]) -> None:
    """Forget the user's modules, so that the next import executes them again."""
    for name in names:
        sys.modules.pop(name, None)
        _as_loaded.pop(name, None)


def why_not_unload(name: str) -> str | None:
    """Why importing one of the user's modules again is not what a new process would do; None when it is."""
    path = getattr(sys.modules.get(name), "__file__", None)
    if path is None or not path.endswith(".py"):
        return f"the module `{name}` is not plain Python"
    if _source_fp(path) is None:
        return f"the file of the module `{name}` cannot be read any more"
    if name in _as_loaded and _as_loaded[name] != _source_fp(path):
        return f"the module `{name}` was edited since it was imported"
    with open(path, encoding="utf-8") as file:
        effects = json.loads(_native.analyze_cell(file.read()))
    for item in effects["statements"]:
        if item.get("attribute_stores") or (
            item.get("discarded_call") and item["kind"] not in {"import", "definition"}
        ):
            return f"importing the module `{name}` may change the process (line {item['line']})"
    if effects["unknown"]:
        return f"the module `{name}` does what cannot be seen through"
    return None


# What shows something when a module is imported, by the last part of the name.
_SHOWS = frozenset("print display pprint info warning warn error critical secho echo".split())


def shows_when_imported(name: str) -> bool:
    """True when importing one of the user's modules may show something: that it does once in a process."""
    path = getattr(sys.modules.get(name), "__file__", None) or ""
    if not path.endswith(".py"):
        return False
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError):
        return True
    own = vars(sys.modules[name])
    for item in json.loads(_native.analyze_cell(text))["statements"]:
        if item["kind"] in {"import", "config", "definition"}:
            continue
        for call in item["calls"]:
            last = call.rpartition(".")[2]
            function = own.get(call)
            names = function.__code__.co_names if isinstance(function, types.FunctionType) else ()
            if last in _SHOWS or not _SHOWS.isdisjoint(names):
                return True
    return False


def _source_fp(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError):
        return None
    fingerprint: str = json.loads(_native.analyze_cell(text))["fingerprint"]
    return fingerprint


def note_loaded(names: Iterable[str]) -> None:
    """Remember the source of modules that were just imported."""
    for name in names:
        if name not in _as_loaded:
            path = getattr(sys.modules.get(name), "__file__", None)
            _as_loaded[name] = _source_fp(path) if path else None


def module_fp(name: str) -> str | None:
    """Content of one of the user's modules: as loaded, or as it would be imported now; None when there is none."""
    if name in sys.modules and name not in _unloaded:
        if is_library_module(name):
            return "library"
        note_loaded([name])
        return _as_loaded[name]
    path: list[str] | None = None
    spec = None
    for part in name.split("."):
        spec = importlib.machinery.PathFinder.find_spec(part, path)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or [])
    if spec is None or not spec.origin or not os.path.isfile(spec.origin):
        return None
    return "library" if is_library_file(spec.origin) else _source_fp(spec.origin)

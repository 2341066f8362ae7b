"""Which modules are libraries, and the versions that stand for their content."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import re
import sys
import sysconfig
import types
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import importlib.metadata

_LIBRARY_ROOTS = tuple(
    sorted(
        {
            os.path.realpath(path) + os.sep
            for key, path in sysconfig.get_paths().items()
            if key in {"stdlib", "platstdlib", "purelib", "platlib"}
        }
        | {os.path.realpath(os.path.dirname(os.__file__)) + os.sep}
    )
)
_OWN_ROOT = os.path.realpath(os.path.dirname(os.path.dirname(__file__))) + os.sep
_library_modules: dict[str, bool] = {}
_versions: dict[str, str] = {}


def is_library_file(path: str) -> bool:
    """True for files whose content a package version, or Python's own, stands for."""
    return _is_library_file(path if path.startswith("<") else os.path.abspath(path))


# Asked for every frame above a call that is handed to an executor; resolving links looks at every folder on the way.
@functools.lru_cache(maxsize=16384)
def _is_library_file(path: str) -> bool:
    folder, name = os.path.split(path)
    real = os.path.join(_real_folder(folder), name)
    if os.path.islink(real):
        real = os.path.realpath(real)
    return (
        real.startswith(_LIBRARY_ROOTS)
        or real.startswith(_OWN_ROOT)
        or "site-packages" in real
        or "dist-packages" in real
    )


@functools.lru_cache(maxsize=4096)
def _real_folder(path: str) -> str:
    return os.path.realpath(path)


def is_library_module(name: str | None) -> bool:
    """True when the module is part of Python or of an installed package; False for the user's own modules."""
    if not name or name in {"__main__", "__mp_main__"}:
        return False
    known = _library_modules.get(name)
    if known is not None:
        return known
    module = sys.modules.get(name)
    if module is None:
        return False
    path = getattr(module, "__file__", None)
    if path is None:
        spec = getattr(module, "__spec__", None)
        origin = getattr(spec, "origin", None)
        is_library = name in sys.builtin_module_names or origin in {"built-in", "frozen"}
        if not is_library and getattr(spec, "submodule_search_locations", None):
            is_library = all(is_library_file(place) for place in spec.submodule_search_locations)  # type: ignore[union-attr]
        if not is_library and "." in name:
            is_library = is_library_module(name.partition(".")[0])
    else:
        is_library = is_library_file(path)
    _library_modules[name] = is_library
    return is_library


def _metadata() -> types.ModuleType:
    """Imported when it is needed: a task that is a process of its own takes longer for it than for all else here."""
    import importlib.metadata

    return importlib.metadata


@functools.cache
def distributions() -> dict[str, list[str]]:
    """Which installed distributions each top-level module comes from. Looks at all of them, once a session.

    As `importlib.metadata.packages_distributions` says it, whose parsing takes most of the first cell's time.
    """
    metadata = _metadata()
    found: dict[str, set[str]] = {}
    for distribution in metadata.distributions():
        name = _NAME.search(distribution.read_text("METADATA") or "")
        for top in _top_level(distribution):
            found.setdefault(top, set()).add(name[1] if name else distribution.name)
    return {top: sorted(names) for top, names in found.items()}


_NAME = re.compile(r"^Name:\s*(\S+)", re.MULTILINE)


def _top_level(distribution: importlib.metadata.Distribution) -> set[str]:
    """The modules and packages that a distribution installs."""
    declared = distribution.read_text("top_level.txt")
    if declared:
        return set(declared.split())
    record = distribution.read_text("RECORD")
    paths = (
        [line.partition(",")[0].strip('"') for line in record.splitlines()]
        if record is not None
        else [str(path) for path in distribution.files or ()]
    )
    first = {(top, bool(rest)) for top, _, rest in (path.partition("/") for path in paths)}
    tops = {top if is_folder else inspect.getmodulename(top) for top, is_folder in first}
    return {top for top in tops if top and "." not in top and top != "__pycache__"}


def loaded_modules() -> list[str]:
    """Names of the modules that are loaded, but for those that are known to be libraries: most of some thousands."""
    global _loaded
    names = list(sys.modules)
    # Asked for some times in every cell, and the same nearly always.
    if names != _loaded[0]:
        _loaded = names, [name for name in names if not _library_modules.get(name)]
    return [name for name in _loaded[1] if not _library_modules.get(name)]


_loaded: tuple[list[str], list[str]] = ([], [])


def module_version(name: str) -> str:
    """The version that stands for a library module's content."""
    top = name.partition(".")[0]
    version = _versions.get(top)
    if version is None:
        if top in sys.stdlib_module_names:
            version = f"python {sys.version_info.major}.{sys.version_info.minor}"
        else:
            found = getattr(sys.modules.get(top), "__version__", None)
            # Some packages have an object of their own there, which must not join whatever comes from them.
            version = str(found) if isinstance(found, str) else None
            if version is None:
                names = distributions().get(top, [])
                version = "+".join(map(_metadata().version, names)) or "unknown"
        _versions[top] = version
    return version


def _resolves(module_name: str | None, qualname: str, obj: Any) -> bool:
    """True when importing `module_name` and following `qualname` gives this very object."""
    target: Any = sys.modules.get(module_name or "")
    if target is None:
        return False
    for part in qualname.split("."):
        target = getattr(target, part, None)
        if target is None:
            return False
    return target is obj


def is_importable(obj: Any) -> bool:
    """True for functions and classes that any process can import by name from a library."""
    module = getattr(obj, "__module__", None)
    qualname = getattr(obj, "__qualname__", "<none>")
    if isinstance(module, str) and module not in sys.modules and isinstance(obj, type):
        _load_part(module)
    return is_library_module(module) and _resolves(module, qualname, obj)


# Parts of libraries that cannot be imported.
_absent: set[str] = set()


def _load_part(name: str) -> None:
    """Import a part of a library that is loaded: `np.recarray` says that it is from `numpy.rec`, which few load."""
    top, dot, _ = name.partition(".")
    if not dot or name in _absent or not is_library_module(top):
        return
    try:
        importlib.import_module(name)
    except Exception:  # noqa: BLE001 - whatever the library does there
        _absent.add(name)


# Functions that libraries made -> the names under which their modules keep them; None: under none.
_kept_as: weakref.WeakKeyDictionary[types.FunctionType, str | None] = weakref.WeakKeyDictionary()


def place_of_function(func: types.FunctionType) -> tuple[str, str] | None:
    """Module and name under which a library keeps a function that is called something else; None for all others.

    Decorators leave such functions behind: `sympy.cacheit` is `__cacheit.<locals>.func_wrapper` to itself, and what
    it closes over is the library's own.
    """
    module = func.__module__
    if not is_library_module(module):
        return None
    names = vars(sys.modules[module])
    if func not in _kept_as:
        _kept_as[func] = next((name for name, one in list(names.items()) if one is func), None)
    name = _kept_as[func]
    return (module, name) if name is not None and names.get(name) is func else None

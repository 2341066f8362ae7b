"""What a process that runs tasks holds besides them: modules of the user's, and what libraries are made of.

Code of the user's that runs there outside of tasks (`client.run`, plugins) may change both for all that runs there
later. `before` and `after` are called there, around such code.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any

from nbrewind.fingerprint import is_library_module
from nbrewind.tasks import surroundings
from nbrewind.tasks.recorder import off_the_record

# Modules of which nothing is told.
_NOT_TOLD = ("nbrewind", "__main__", "__mp_main__")

_PLAIN = (str, bytes, int, float, complex)

# Of libraries: public names of modules, and what is in tables of settings.
_libraries: dict[tuple[str, str], Any] = {}


def before() -> dict[str, str | None]:
    """Remember what libraries are made of; the user's modules and their content."""
    with off_the_record():
        _libraries.clear()
        _libraries.update(_of_libraries())
        return users_modules()


def after() -> tuple[dict[str, str | None], list[str]]:
    """The user's modules and their content; what has another meaning in libraries than `before`."""
    with off_the_record():
        known = dict(_libraries)
        _libraries.clear()
        changed = [
            f"{module}.{name}"
            for (module, name), value in _of_libraries()
            if not _is_same(known.get((module, name), value), value)
        ]
        return users_modules(), sorted(changed)


def users_modules() -> dict[str, str | None]:
    """Name of each module of the user's that is loaded -> its content."""
    from nbrewind.tasks.content import fingerprint_by_name

    found: dict[str, str | None] = {}
    for name, module in list(sys.modules.items()):
        if not name.startswith(_NOT_TOLD) and _is_users(name, module):
            found[name] = fingerprint_by_name(module)
    return found


def others_than(
    now: dict[str, str | None], known: dict[str, str | None], here: dict[str, str | None]
) -> list[str]:
    """Of the user's modules, those that are not as they were there (`known`), or, where they are new, as `here`."""
    return sorted(
        name for name, fp in now.items() if fp is None or fp != known.get(name, here.get(name))
    )


def _is_users(name: str, module: Any) -> bool:
    return getattr(module, "__file__", None) is not None and not is_library_module(name)


def _of_libraries() -> Iterator[tuple[tuple[str, str], Any]]:
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith(_NOT_TOLD) or not is_library_module(module_name):
            continue
        for name, value in list(getattr(module, "__dict__", {}).items()):
            if name.startswith("_") or isinstance(value, types.ModuleType) or _is_lazy(value):
                continue
            yield (module_name, name), _content(name, value)
    for name, added in surroundings.added_to_classes().items():
        yield ("", name), tuple(added)


def _content(name: str, value: Any) -> Any:
    """What can be compared of it; large objects count as themselves."""
    if isinstance(value, dict) and (name.isupper() or name == "rcParams"):
        return dict(value)
    if isinstance(value, types.FunctionType):
        named = value.__kwdefaults__ or {}
        return (value, value.__code__, value.__defaults__, *named.values())
    return value


def _is_lazy(value: Any) -> bool:
    """Does it stand for a module until somebody uses it?"""
    return type(value).__module__.partition(".")[0] in {"importlib_metadata", "lazy_loader"}


def _is_same(one: Any, other: Any) -> bool:
    if type(one) is dict and type(other) is dict and one is not other:
        return one.keys() == other.keys() and all(one[key] is other[key] for key in one)
    if type(one) is tuple and type(other) is tuple:
        return len(one) == len(other) and all(map(_is_same, one, other))
    return one is other or (type(one) is type(other) and isinstance(one, _PLAIN) and one == other)

"""Variables of the environment: which of them a run asks for, and what it could tell by what cells set.

Python's own mapping tells who asks; native code is heard where it asks the C library (`nbrewind._native`). What that
library asks for itself, nobody hears: such variables count for every run. A native library that is being loaded may
have asked for any.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

ENVIRONMENT = "environment"
# In the place of a variable (none has such a name): what native libraries may have found when they were loaded.
_LOADED = "=loaded "

# What the C library and the interpreter look up by themselves, and Arrow's allocator past the C library.
_ALWAYS = re.compile(
    r"TZ|TZDIR|LANG|LANGUAGE|LC_\w+|LOCPATH|NLSPATH|OUTPUT_CHARSET|GCONV_PATH|TMPDIR|PATH|HOME|LD_\w+|DYLD_\w+|MALLOC_\w+|"
    r"GLIBC_TUNABLES|RES_OPTIONS|LOCALDOMAIN|HOSTALIASES|RESOLV_\w+|POSIXLY_CORRECT|GETCONF_DIR|DATEMSK|MSGVERB|"
    r"SEV_LEVEL|TERM|COLUMNS|LINES|PYTHON\w*|MIMALLOC_\w+",
    re.IGNORECASE,
)
# Between whoever asks and the mapping.
_BETWEEN = frozenset(
    {"os", "collections.abc", "_collections_abc", "posixpath", "ntpath", "genericpath"}
)
# Functions of the C library by which `ctypes` asks past everybody.
WAYS_PAST = frozenset({"getenv", "secure_getenv", "environ", "__environ"})


def is_variable(name: str) -> bool:
    """False for what stands for a library."""
    return not name.startswith(_LOADED)


def loaded(path: str) -> str:
    """What stands for a native library: all that come with one package count as one."""
    parts = path.split("/")
    for place in ("site-packages", "dist-packages", "lib-dynload"):
        if place in parts[:-1]:
            return _LOADED + parts[parts.index(place) + 1].partition(".")[0]
    return _LOADED + parts[-1]


def value_of(name: str) -> str | None:
    """What a variable is set to now; nobody hears of this question."""
    data: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]
    value = data.get(os.fsencode(name))
    return None if value is None else os.fsdecode(value)


def told(state: dict[str, str | None], name: str) -> str | None:
    """What whoever asks for this is told, by what cells changed; None: what he would have been told before."""
    if not is_variable(name):
        found: Any = state
    else:
        found = [name, state[name]] if name in state else None
    if not found:
        return None
    text = json.dumps(found, sort_keys=True)
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def answer(state: dict[str, str | None] | None, names: Iterable[str]) -> Any:
    """What whoever asked for these could tell of what cells set; None: nothing."""
    if not state:
        return None
    wanted = set(names)
    found = {
        name: value
        for name, value in state.items()
        if name in wanted or _ALWAYS.fullmatch(name) is not None
    }
    return found or None


def asker(frame: FrameType | None) -> FrameType | None:
    """Whoever asked, behind what is part of the mapping."""
    while frame is not None and frame.f_globals.get("__name__") in _BETWEEN:
        frame = frame.f_back
    return frame


# Of the mapping, what is about one variable; what is about all of them and goes past these; and where they are kept.
_OF_ONE = ("__setitem__", "__delitem__")
_OF_ALL = ("__len__", "__repr__", "__reduce_ex__")


def watch(tell_one: Callable[[Any], None], tell_all: Callable[[], None]) -> None:
    """Hear of what the mapping is asked for besides reading one variable and going through all."""
    kind = type(os.environ)

    def of_one(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def told(self: Any, key: Any, *args: Any) -> Any:
            tell_one(key)
            return original(self, key, *args)

        return told

    def of_all(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def told(self: Any, *args: Any) -> Any:
            tell_all()
            return original(self, *args)

        return told

    for name in _OF_ONE:
        setattr(kind, name, of_one(getattr(kind, name)))
    for name in _OF_ALL:
        setattr(kind, name, of_all(getattr(kind, name)))

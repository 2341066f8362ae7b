"""Caches of `functools.lru_cache` with what is in them: results that were computed need not be computed again.

There is no way in from Python but a call, which computes. So for the time in which its content is put in, another
function stands in the cache for the user's, and gives the recorded results. Where the parts of a cache are in memory is
found out by trying; where that does not succeed, and for all that cannot be told, a filled cache is not stored.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from typing import Any

from nbrewind.fingerprint.objects import cached_by

_WORD = ctypes.sizeof(ctypes.c_void_p)

# Arguments by position, those by name, and the result, the oldest first.
Entry = tuple[tuple[Any, ...], dict[str, Any], Any]


def reduce_cache(cached: Any) -> Any:
    """The cache without its content, and the content; without any where it is empty or cannot be told."""
    made = (_rebuild_cache, (cached.__wrapped__, cached.cache_parameters()))
    info = cached.cache_info()
    if not info.hits and not info.misses:
        return made
    entries = _entries_of(cached)
    if entries is None or _places() is None:
        return made
    return (*made, (entries, info.hits, info.misses), None, None, _fill)


def _entries_of(cached: Any) -> list[Entry] | None:
    if cached.cache_parameters()["typed"]:
        return None
    info = cached.cache_info()
    if not info.currsize:
        return []
    found = cached_by(cached)
    if info.maxsize is None:
        pairs = list(found[0].items()) if len(found) == 1 and type(found[0]) is dict else []
    else:
        pairs = list(zip(found[::2], found[1::2], strict=False))
    if len(pairs) != info.currsize or (info.maxsize is not None and len(found) != 2 * len(pairs)):
        return None
    return [(*_arguments(key), result) for key, result in pairs]


def _arguments(key: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """With which arguments a function was called, by what the cache remembers of them."""
    if type(key) is not tuple:
        # A single number or text stands for itself.
        return (key,), {}
    # What is by name comes after a mark, which is an object of the cache's.
    mark = next((at for at, part in enumerate(key) if type(part) is object), len(key))
    named = key[mark + 1 :]
    return key[:mark], dict(zip(named[::2], named[1::2], strict=True))


def _rebuild_cache(func: Any, parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(func)


def _fill(cached: Any, content: tuple[list[Entry], int, int]) -> None:
    entries, hits, misses = content
    places = _places()
    if places is None:
        raise RuntimeError("where a cache has its parts is not known here")
    at_func, at_hits, at_misses = (id(cached) + place * _WORD for place in places)
    results = iter([result for _, _, result in entries])

    def give(*args: Any, **kwargs: Any) -> Any:
        return next(results)

    func = ctypes.c_void_p.from_address(at_func)
    if func.value != id(cached.__wrapped__):
        raise RuntimeError("the function of a cache is not where it should be")
    func.value = id(give)
    try:
        for args, kwargs, _ in entries:
            cached(*args, **kwargs)
    finally:
        func.value = id(cached.__wrapped__)
    ctypes.c_ssize_t.from_address(at_hits).value = hits
    ctypes.c_ssize_t.from_address(at_misses).value = misses
    info = cached.cache_info()
    if (info.hits, info.misses, info.currsize) != (hits, misses, len(entries)):
        raise RuntimeError("a cache could not be filled")


@functools.cache
def _places() -> tuple[int, int, int] | None:
    """Which words of a cache are its function and how often it had a result, or not. None: not known here."""
    has_lock = getattr(sys, "_is_gil_enabled", lambda: True)()
    if sys.implementation.name != "cpython" or not has_lock:
        return None

    def same(number: int) -> int:
        return number

    cached = functools.lru_cache(maxsize=5)(same)
    n_words = type(cached).__basicsize__ // _WORD

    def words() -> list[int]:
        return [
            ctypes.c_ssize_t.from_address(id(cached) + at * _WORD).value for at in range(n_words)
        ]

    def counts() -> tuple[int, int]:
        info = cached.cache_info()
        return info.hits, info.misses

    looks = []
    for number in (*range(23), 22, 22, 22, *range(100, 131), 130):
        cached(number)
        looks.append((words(), counts()))
    found = []
    for which in range(2):
        fitting = [at for at in range(n_words) if all(one[at] == c[which] for one, c in looks)]
        if len(fitting) != 1:
            return None
        found.append(fitting[0])
    functions = [at for at, word in enumerate(looks[-1][0]) if word == id(same)]
    return (functions[0], found[0], found[1]) if len(functions) == 1 else None

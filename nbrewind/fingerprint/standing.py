"""Facts for what goes on where it stood: generators, files that are read, readers of csv, locks.

Most of their state is shown to the collector alone. Whatever it does not show is left opaque.
"""

from __future__ import annotations

import dis
import gc
import io
import os
import pathlib
import stat
import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nbrewind.fingerprint.code import code_names
from nbrewind.fingerprint.files import path_digest
from nbrewind.fingerprint.objects import (
    FINALIZES,
    _function_fact,
    _opaque_fact,
    _reduce_fact,
    _suspended_fact,
    held_fact,
    parts_of_closed,
)
from nbrewind.fingerprint.walker import Context, Fact, register
from nbrewind.fingerprint.writing import UNWRITTEN, WRITES, writing_of

# Of values that reading uses up: a recipe repeats every statement that may have read them.
USED_UP = "used up by reading"

# --- Generators ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Standing:
    """Where a generator stands: which function made it, the next instruction, what it holds, by name and in all.

    `has_begun` is false for one from which nothing was taken: `given` are its arguments then.
    """

    func: types.FunctionType
    at: int
    bound: tuple[str, ...]
    held: tuple[Any, ...]
    has_begun: bool
    given: tuple[tuple[Any, ...], dict[str, Any]]


def standing_of(generator: types.GeneratorType[Any, Any, Any]) -> Standing | None:
    """Where a generator stands that has not ended; None when that cannot be told."""
    frame = generator.gi_frame
    if frame is None or generator.gi_running:
        return None
    names = frame.f_locals
    bound = tuple(names)
    has_begun = generator.gi_suspended
    code = generator.gi_code
    n_given = code.co_argcount + code.co_kwonlyargcount
    n_given += bool(code.co_flags & _VARARGS) + bool(code.co_flags & _VARKEYWORDS)
    is_whole = all(name in names for name in code.co_varnames[:n_given])
    given = _arguments(code, dict(names)) if is_whole and not has_begun else ((), {})
    if type(names) is dict:
        # A copy, which would keep alive what the generator has let go.
        names.clear()
    held = [
        one
        for one in gc.get_referents(generator)
        if one is not frame and one is not names and one is not code
    ]
    funcs = [one for one in held if type(one) is types.FunctionType and one.__code__ is code]
    if not funcs or (not has_begun and not is_whole):
        return None
    # The first is the generator's own: what it holds comes after it.
    func = funcs[0]
    at = next(place for place, one in enumerate(held) if one is func)
    return Standing(func, frame.f_lasti, bound, tuple(held[at + 1 :]), has_begun, given)


_VARARGS, _VARKEYWORDS = 0x04, 0x08


def _arguments(
    code: types.CodeType, names: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional arguments and those by keyword with which the function was called."""
    n_plain, n_all = code.co_argcount, code.co_argcount + code.co_kwonlyargcount
    plain = [names[name] for name in code.co_varnames[:n_plain]]
    keywords = {name: names[name] for name in code.co_varnames[n_plain:n_all]}
    if code.co_flags & _VARARGS:
        plain += names[code.co_varnames[n_all]]
    if code.co_flags & _VARKEYWORDS:
        keywords |= names[code.co_varnames[n_all + bool(code.co_flags & _VARARGS)]]
    return tuple(plain), keywords


@register("builtins:generator")
def _generator_fact(generator: types.GeneratorType[Any, Any, Any], ctx: Context) -> Fact:
    names = (generator.__name__, generator.__qualname__)
    if generator.gi_frame is None:
        # It gives nothing any more, whatever it was made from.
        return Fact("ended generator", (*names, generator.gi_code), mutable=True)
    found = standing_of(generator)
    if (
        found is None
        or ctx.follow_globals
        or sys.version_info >= _UNREAD
        or _acts_when_dropped(generator.gi_code)
    ):
        fact = _suspended_fact(generator, generator.gi_frame, ctx)
        # Whoever else has what it holds belongs to it all the same.
        fact.parts = found.held if found is not None else ()
        return fact
    # What its code may reach is what its function may. Which function object made it is no part of it.
    func = _function_fact(found.func, ctx)
    code: Sequence[Any] = (generator.gi_code, tuple(code_names(generator.gi_code).global_names))
    if func.tag == "import":
        code = func.parts
    elif found.func.__globals__ is not ctx.namespace:
        code = (*code, found.func.__module__, func.parts[8])
    stands = (found.has_begun, found.at, found.bound, found.held)
    return Fact(
        "generator",
        (*names, code, stands),
        mutable=True,
        refs=func.refs,
        idents=func.idents,
        marks=(*func.marks, USED_UP),
        opaque=func.opaque,
    )


def _acts_when_dropped(code: types.CodeType) -> bool:
    """True when a `with`, `try` or `finally` in it may run when it is thrown away."""
    if not code.co_exceptiontable:
        return False
    ops = {op.offset: op for op in dis.get_instructions(code)}
    entries = dis._parse_exception_table(code)  # type: ignore[attr-defined]
    return not all(_only_passes_on(ops.get(entry.target)) for entry in entries)


def _only_passes_on(op: dis.Instruction | None) -> bool:
    """True for what the compiler puts around every generator, and around what it waits for."""
    if op is None:
        return False
    return op.opname == "CLEANUP_THROW" or (
        op.opname == "CALL_INTRINSIC_1" and op.arg == _STOP_ITERATION_ERROR
    )


_STOP_ITERATION_ERROR = 3

# From this version on, what a frame holds has not been looked at.
_UNREAD = (3, 15)


# --- Files that are read ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """A file that is open for reading: how it was opened, where it stands, and what is in it."""

    kind: str
    name: Any
    mode: str
    encoding: str | None
    errors: str | None
    newline: str | None
    at: int
    newlines: str | tuple[str, ...] | None
    digest: str
    path: str


def reading_of(file: Any) -> Reading | None:
    """What an open file will give; None when that cannot be told, and for all that may be written."""
    encoding = errors = newline = newlines = None
    ahead = b""
    buffer, kind = file, type(file).__name__
    layers = [file]
    if type(file) is io.TextIOWrapper:
        if file.closed or file.line_buffering or file.write_through:
            return None
        layers.append(buffer := file.buffer)
        found = _text_parts(file)
        if found is None:
            return None
        newline, ahead = found
        encoding, errors, newlines = file.encoding, file.errors, file.newlines
    if type(buffer) is not io.BufferedReader or buffer.closed:
        return None
    layers.append(raw := buffer.raw)
    is_plain = all(vars(one).keys() <= {"mode", "name"} for one in layers)
    if type(raw) is not io.FileIO or raw.mode != "rb" or not is_plain or not raw.closefd:
        return None
    name = raw.name
    if not isinstance(name, str | bytes | pathlib.PurePath):
        return None
    path = os.path.abspath(os.fsdecode(name))
    if path.startswith(_NOT_ON_DISK):
        return None
    try:
        opened, there = os.fstat(raw.fileno()), os.stat(path)
        is_same = (opened.st_dev, opened.st_ino) == (there.st_dev, there.st_ino)
        if not stat.S_ISREG(opened.st_mode) or not is_same or not _sees(raw, buffer, ahead):
            return None
        digest, at = path_digest(path), file.tell()
    except OSError:
        # While a loop takes lines, a text does not tell where it is.
        return None
    if digest is None:
        return None
    mode = vars(file).get("mode", raw.mode)
    return Reading(kind, name, mode, encoding, errors, newline, at, newlines, digest, path)


_NOT_ON_DISK = ("/dev/", "/proc/", "/sys/")


def _text_parts(file: io.TextIOWrapper) -> tuple[str | None, bytes] | None:
    """Which ends of lines it was opened with, and the bytes of which it has made text already."""
    found = gc.get_referents(file)
    ahead = next((one for one in found if type(one) is tuple), None)
    texts = [one for one in found if type(one) is str]
    # Encoding, ends of lines, text that was decoded, errors: those in the middle need not be there.
    middle = texts[1:-1]
    if ahead is not None:
        middle = middle[:-1]
    if len(texts) < 2 or len(middle) > 1 or any(type(one) is bytes for one in found):
        return None
    return (middle[0] if middle else None), (ahead[1] if ahead is not None else b"")


def _sees(raw: io.FileIO, buffer: io.BufferedReader, ahead: bytes) -> bool:
    """True when what was read ahead is what the file has there now."""
    at, end = buffer.tell(), os.lseek(raw.fileno(), 0, os.SEEK_CUR)
    # Looking at what is there reads nothing.
    waiting = buffer.peek() if end > at else b""
    n_bytes = len(ahead)
    return (
        len(waiting) == end - at
        and os.pread(raw.fileno(), len(waiting), at) == waiting
        and os.pread(raw.fileno(), n_bytes, at - n_bytes) == ahead
    )


@register("_io:_IOBase")
def _file_fact(file: Any, ctx: Context) -> Fact:
    closed = parts_of_closed(file)
    if closed is not None:
        return Fact("closed file", closed, mutable=True)
    if ctx.follow_globals:
        return _opaque_fact(file, ctx)
    reading = reading_of(file)
    if reading is None:
        return _writing_fact(file, ctx)
    how = (reading.kind, reading.name, reading.mode, reading.encoding, reading.errors)
    stands = (reading.newline, reading.at, reading.newlines, reading.digest)
    return Fact(
        "file that is read",
        (how, stands),
        mutable=True,
        marks=[USED_UP],
        files={reading.path: reading.digest},
    )


def _writing_fact(file: Any, ctx: Context) -> Fact:
    found = writing_of(file)
    if found is None:
        return _opaque_fact(file, ctx)
    how = (found.kind, found.name, found.mode, found.text)
    marks = [FINALIZES, WRITES] + [UNWRITTEN] * bool(found.waiting)
    return Fact(
        "file that is written",
        (how, found.waiting, found.at, found.digest),
        mutable=True,
        marks=marks,
        files={found.path: found.digest},
    )


# --- Readers and writers of csv -----------------------------------------------------------------------------------

_OF_DIALECT = (
    "delimiter", "doublequote", "escapechar", "lineterminator", "quotechar", "quoting", "skipinitialspace", "strict",
)  # fmt: skip


def values_of_dialect(dialect: Any) -> dict[str, Any]:
    """How a reader or writer of this dialect is made."""
    return {name: getattr(dialect, name) for name in _OF_DIALECT}


def parts_of_csv(obj: Any) -> tuple[dict[str, Any], Any] | None:
    """Of a reader or writer: how it was asked to read or write, and what it takes from or writes by."""
    held = [one for one in gc.get_referents(obj) if not isinstance(one, type)]
    rest = [one for one in held if one is not obj.dialect and type(one) is not list]
    if type(obj).__name__ == "reader":
        # The row that it gave last is no part of it.
        rest = [one for one in rest if hasattr(type(one), "__next__")]
    if len(rest) != 1:
        return None
    return values_of_dialect(obj.dialect), rest[0]


@register("_csv:reader", "_csv:writer")
def _csv_fact(obj: Any, ctx: Context) -> Fact:
    found = parts_of_csv(obj)
    if found is None:
        return _opaque_fact(obj, ctx)
    dialect, other = found
    line = obj.line_num if type(obj).__name__ == "reader" else None
    parts = (type(obj).__name__, tuple(dialect.items()), line, other)
    marks = [USED_UP] if line is not None else []
    return Fact("reader or writer of csv", parts, mutable=True, marks=marks)


@register("_csv:Dialect")
def _dialect_fact(obj: Any, ctx: Context) -> Fact:
    return Fact("dialect of csv", tuple(values_of_dialect(obj).items()))


# --- Locks --------------------------------------------------------------------------------------------------------


def is_free(lock: Any) -> bool:
    """True for a lock that nobody holds."""
    return repr(lock).startswith("<unlocked ")


@register("_thread:lock", "_thread:RLock")
def _lock_fact(lock: Any, ctx: Context) -> Fact:
    held = held_fact(lock)
    if held is not None:
        return held
    # Who holds one is a thread.
    if not is_free(lock):
        return _opaque_fact(lock, ctx)
    return Fact("free lock", (type(lock).__name__,), mutable=True)


@register("threading:Condition")
def _condition_fact(obj: Any, ctx: Context) -> Fact:
    # Who waits is a thread.
    return _opaque_fact(obj, ctx) if obj._waiters else _reduce_fact(obj, ctx)


@register("logging:Handler")
def _handler_fact(obj: Any, ctx: Context) -> Fact:
    fact = _reduce_fact(obj, ctx)
    # What its pickle gives, logging would not know of.
    known = Fact("opaque", opaque=f"{type(obj).__name__} is known to logging", mutable=True)
    fact.parts = (*fact.parts, known)
    return fact


@register("_queue:SimpleQueue")
def _simple_queue_fact(obj: Any, ctx: Context) -> Fact:
    return _opaque_fact(obj, ctx) if obj.qsize() else Fact("empty queue", mutable=True)


@register("_struct:Struct")
def _struct_fact(obj: Any, ctx: Context) -> Fact:
    return Fact("struct", (obj.format,))

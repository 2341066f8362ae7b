"""Files that are open to be written: how they were opened, what is in them, and what has not been written yet.

What a text has still to write is shown to the collector alone; what waits in a buffer of bytes, to nobody. Such a file
stays opaque until somebody flushes it: nothing here may, because others would see the text too early.
"""

from __future__ import annotations

import codecs
import gc
import io
import os
import pathlib
import stat
from dataclasses import dataclass
from typing import Any

from nbrewind.fingerprint.files import path_digest

# Of values through which a file may be written; and of those that have something to write when they end.
WRITES = "writes a file"
UNWRITTEN = "has text to write"

# Encodings of which every character stands for itself, wherever in the file it is.
_WITHOUT_STATE = frozenset({"utf-8", "ascii", "iso8859-1"})
_MODES = frozenset({"wb", "ab", "xb", "rb+", "ab+", "xb+"})
_ENDS_OF_LINES = frozenset({"", "\n", "\r", "\r\n"})


@dataclass(frozen=True)
class Writing:
    """A file that is open to be written: `text` is (mode, encoding, errors, newline), `waiting` not written yet."""

    kind: str
    name: Any
    mode: str
    text: tuple[str, str, str, str | None] | None
    waiting: bytes
    at: int
    digest: str
    path: str


def writing_of(file: Any) -> Writing | None:
    """What there is to tell of a file that may be written; None when that is not all, and for all others."""
    layers, buffer, text, waiting = [file], file, None, b""
    if type(file) is io.TextIOWrapper:
        if file.closed or file.line_buffering or file.write_through:
            return None
        layers.append(buffer := file.buffer)
        found = _waiting_text(file)
        if found is None:
            return None
        newline, waiting = found
        text = (str(vars(file).get("mode")), file.encoding, file.errors or "strict", newline)
    if type(buffer) not in {io.BufferedWriter, io.BufferedRandom} or buffer.closed:
        return None
    layers.append(raw := buffer.raw)
    if type(raw) is not io.FileIO or raw.mode not in _MODES or not raw.closefd:
        return None
    if not all(vars(one).keys() <= {"mode", "name"} for one in layers):
        return None
    name = raw.name
    if not isinstance(name, str | bytes | pathlib.PurePath):
        return None
    path = os.path.abspath(os.fsdecode(name))
    try:
        opened, there = os.fstat(raw.fileno()), os.stat(path)
        is_same = (opened.st_dev, opened.st_ino) == (there.st_dev, there.st_ino)
        at = os.lseek(raw.fileno(), 0, os.SEEK_CUR)
        if not stat.S_ISREG(opened.st_mode) or not is_same or buffer.tell() != at:
            # Bytes wait to be written, or were read ahead.
            return None
        digest = path_digest(path)
    except OSError:
        return None
    if digest is None:
        return None
    return Writing(type(file).__name__, name, raw.mode, text, waiting, at, digest, path)


def _waiting_text(file: io.TextIOWrapper) -> tuple[str | None, bytes] | None:
    """With which ends of lines it was opened, and what it has not handed on; None when that cannot be told."""
    try:
        if codecs.lookup(file.encoding).name not in _WITHOUT_STATE or file.newlines is not None:
            return None
    except LookupError:
        return None
    newline: str | None = None
    waiting: list[str | bytes] = []
    found = gc.get_referents(file)
    texts = [one for one in found if type(one) is str]
    # Encoding and errors are the first and the last; what was read ahead comes with a tuple.
    if len(texts) < 2 or any(type(one) is tuple for one in found):
        return None
    middle = texts[1:-1]
    pieces = [one for one in found if type(one) in {bytes, list}]
    if len(pieces) > 1 or len(middle) + len(pieces) > 2:
        return None
    if middle and middle[0] in _ENDS_OF_LINES:
        is_alone = len(middle) == 1 and not pieces
        # How lines end, or a text that waits: of nothing at all it does not matter where nobody reads.
        if is_alone and (middle[0] or file.readable()):
            return None
        newline, middle = middle[0], middle[1:]
    if len(middle) + len(pieces) > 1:
        return None
    for one in (*middle, *pieces):
        waiting += one if type(one) is list else [one]
    if not all(type(one) in {str, bytes} for one in waiting):
        return None
    parts = [one.encode(file.encoding) if isinstance(one, str) else one for one in waiting]
    return newline, b"".join(parts)


def rebuild_writing(
    kind: str,
    name: Any,
    mode: str,
    text: tuple[str, str, str, str | None] | None,
    waiting: bytes,
    at: int,
) -> Any:
    """The file, opened again as it was; nothing is cut off or written."""
    raw = io.FileIO(name, mode, opener=_open_as_it_is)
    raw.seek(at)
    # Of a file that may be read as well there is no other way to write.
    file: Any = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)
    if text is not None:
        shown, encoding, errors, newline = text
        file = io.TextIOWrapper(file, encoding, errors, newline)
        file.mode = shown
        if waiting:
            # The ends of lines are made what they should be once more.
            given = waiting.decode(encoding, errors)
            file.write(given.replace(newline, "\n") if newline else given)
    return file


def _open_as_it_is(path: Any, flags: int) -> int:
    return os.open(path, flags & ~(os.O_TRUNC | os.O_CREAT | os.O_EXCL))

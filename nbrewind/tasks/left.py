"""Files that tasks left where they wrote: copied into the store with their results, brought back when they are gone.

Rule 12 of the repeat rule: a file is written only where there is none, or one of which the store has a copy, so that
nothing is lost. The client's process does it, and only into the folders that the task wrote into itself: the store is
the same folder for both, and what the task wrote lies on the same device, seen from either side. Everything else is a
reason to run the task.
"""

from __future__ import annotations

import itertools
import logging
import os
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbrewind import _native
from nbrewind.tasks.recorder import FOLDER, content, left_at, off_the_record

if TYPE_CHECKING:
    from nbrewind.tasks.graph import Node
    from nbrewind.tasks.plan import Plan

logger = logging.getLogger("nbrewind.tasks")

# Files larger than this, all of one task together, are copied only when reading them costs less than the task.
_SMALL = 1 << 20
_SLICE = 16 << 20
_N_CHUNKS = 16


def copies(
    store: Any, left: list[list[Any]], may_take: Callable[[int], bool]
) -> dict[str, Any] | None:
    """What a record has to say so that files can be brought back, and the chunks with their content.

    `left` is what `Recorder.left_behind` gives, in the process that wrote; `may_take` says whether so many bytes are
    worth it.
    """
    paths = [os.path.abspath(absolute or relative) for absolute, relative, _ in left]
    is_file = [there is not None and there[0] != FOLDER for _, _, there in left]
    try:
        place = os.stat(store.path)
        sizes = [os.path.getsize(path) for path, one in zip(paths, is_file, strict=True) if one]
        if sum(sizes) > _SMALL and not may_take(sum(sizes)):
            return None
        files = [
            [
                path,
                _put(store, path) if one else None,
                os.stat(os.path.dirname(path)).st_dev == place.st_dev,
            ]
            for path, one in zip(paths, is_file, strict=True)
        ]
    except OSError:
        return None
    return {"store": place.st_ino, "files": files}


def _put(store: Any, path: str) -> list[str]:
    found: list[str] = []
    with open(path, "rb") as file:
        while part := file.read(_SLICE):
            found += store.put(part)
    return found


def chunks_of(copied: dict[str, Any]) -> list[str]:
    """The chunks that a record needs for its copies."""
    return [chunk for _, chunks, _ in copied["files"] for chunk in chunks or ()]


@dataclass(frozen=True, slots=True)
class Step:
    """One file to be written, or one folder (no chunks) to be made."""

    path: str
    chunks: list[str] | None
    mode: int = 0
    digest: str | None = None


def steps(
    store: Any, record: dict[str, Any], has_copy: Callable[[str, list[Any]], bool]
) -> list[Step] | None:
    """What would make every path as the task left it; None: only a run can.

    `has_copy` says whether the file that is at a path now is in the store as well.
    """
    copied = record.get("copies")
    if copied is None:
        return None
    found: list[Step] = []
    folders: set[str] = set()
    try:
        place = os.stat(store.path)
        if place.st_ino != copied["store"]:
            return None
        entries = zip(record["left"], copied["files"], strict=True)
        # Folders come before what is in them.
        for (absolute, relative, left), (path, chunks, is_near) in sorted(
            entries, key=lambda entry: str(entry[1][0])
        ):
            names = [name for name in (absolute, relative) if name is not None]
            if any(os.path.abspath(name) != path for name in names):
                return None
            now = left_at(path)
            if now == left:
                continue
            if left is None or not is_near or _device_of(path) != place.st_dev:
                return None
            if left[0] == FOLDER:
                if now is not None:
                    return None
                folders.add(path)
                found.append(Step(path, None))
                continue
            digest, _, mode = left
            if now is not None and now[0] == digest and now[-1] == mode:
                # Another file with the same content, in the same place.
                continue
            parent = os.path.dirname(path)
            if (
                chunks is None
                or not (parent in folders or os.path.isdir(parent))
                or not (now is None or has_copy(path, now))
                or not all(map(store.has, chunks))
            ):
                return None
            found.append(Step(path, chunks, mode, digest))
    except OSError:
        return None
    return found


def _device_of(path: str) -> int:
    """The device of the nearest folder that is there."""
    folder = os.path.dirname(path)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return os.stat(folder).st_dev


def take(store: Any, record: dict[str, Any], todo: list[Step]) -> list[list[Any]] | None:
    """Make every path as the task left it; what is there then, as `Recorder.left_behind` says it. None: it failed."""
    with off_the_record():
        try:
            for step in todo:
                _note(step.path)
                if step.chunks is None:
                    os.makedirs(step.path, exist_ok=True)
                else:
                    _write(store, step, step.chunks)
        except (OSError, _native.StoreError) as error:
            logger.info("files of %s were not brought back: %s", record["name"], error)
            return None
        found = [
            [absolute, relative, left_at(absolute or relative)]
            for absolute, relative, _ in record["left"]
        ]
    is_same = all(
        _content_of(now) == _content_of(left)
        for (_, _, now), (_, _, left) in zip(found, record["left"], strict=True)
    )
    return found if is_same else None


def _content_of(left: list[Any] | None) -> Any:
    """What `left_at` says apart from the inode."""
    return None if left is None else (left[0], left[2:])


def _write(store: Any, step: Step, chunks: list[str]) -> None:
    temporary = f"{step.path}.nbrewind-{os.getpid()}"
    try:
        with open(temporary, "wb") as file:
            for at in range(0, len(chunks), _N_CHUNKS):
                file.write(store.get(chunks[at : at + _N_CHUNKS]))
        if content(temporary) != step.digest:
            raise OSError(f"the copy of {step.path} is damaged")
        os.chmod(temporary, step.mode)
        os.replace(temporary, step.path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def _note(path: str) -> None:
    """A repeat that has to begin again finds everything as it was."""
    takeback: Any = sys.modules.get("nbrewind.kernel.takeback")
    if takeback is not None:
        takeback.journal.note(path)


# More texts, or longer ones, name no files.
_MAX_TEXTS = 10_000
_MAX_LENGTH = 4096


def expect(plan: Plan | None) -> None:
    """Tasks are about to be executed in other processes, where nobody here sees what they write.

    A repeat that has to begin again finds files as they were that their code, their arguments or the cell name. `plan`:
    which tasks (None: that is not known).
    """
    takeback: Any = sys.modules.get("nbrewind.kernel.takeback")
    if takeback is None or not takeback.journal.is_on:
        return
    nodes = plan.nodes("execute") if plan is not None else []
    if plan is None or nodes:
        texts = itertools.islice(_texts_of(nodes), _MAX_TEXTS)
        named = [text for text in texts if len(text) <= _MAX_LENGTH]
        takeback.journal.note_program([takeback.journal.text, *named])


def _texts_of(nodes: Iterable[Node]) -> Iterator[str]:
    from nbrewind.tasks.remote import texts_in

    seen: set[int] = set()
    for node in nodes:
        yield from texts_in((node.spec.args, node.spec.kwargs))
        code = getattr(getattr(node.spec, "func", None), "__code__", None)
        if isinstance(code, types.CodeType) and id(code) not in seen:
            seen.add(id(code))
            yield from _constants(code)


def _constants(code: types.CodeType) -> Iterator[str]:
    for constant in code.co_consts:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, types.CodeType):
            yield from _constants(constant)

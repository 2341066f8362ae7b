"""Digests of files and folders."""

from __future__ import annotations

import os

from nbrewind import _native


def file_digest(path: str) -> str:
    """Content digest of a file, memoised by size, times and inode (racily clean files are hashed again)."""
    return _native.file_digest(path)


MAX_LISTED_FILES = 10_000


def path_digest(path: str) -> str | None:
    """Content digest of a file, or of a folder with everything below it; None when it is neither, or too much."""
    if os.path.isfile(path):
        return file_digest(path)
    if not os.path.isdir(path):
        return None
    files: list[str] = []
    for root, folders, names in os.walk(path):
        folders.sort()
        files += filter(os.path.isfile, (os.path.join(root, name) for name in sorted(names)))
        # Before any of them is read: `/` has files in it that never end.
        if len(files) > MAX_LISTED_FILES:
            return None
    lines = [(os.path.relpath(full, path), file_digest(full)) for full in files]
    # Plain tuples and strings need no facts.
    digest: str = _native.walk(tuple(lines), lambda obj: None, None)["fp"]
    return digest


# Texts that are parts of paths, or say nothing about which files are meant.
NO_PLACES = frozenset({".", "..", "/", "~"})


def path_fact_parts(path: str) -> tuple[str, str, str | None] | None:
    """Base name, digest and (when there is too much to hash) why not, of a path that exists; else None."""
    if not path.strip() or path in NO_PLACES:
        return None
    digest = path_digest(path)
    if digest is None:
        if os.path.isdir(path):
            return path, "", f"folder {path} holds more than {MAX_LISTED_FILES} files"
        return None
    return os.path.basename(path.rstrip("/")), digest, None

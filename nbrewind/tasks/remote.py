"""Versions of remote files, as their servers tell them: nothing is downloaded.

A version is an ETag, a version id or a checksum. Times and sizes alone are none, and neither are
weak ETags, which two contents may share.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from typing import Any, cast

_URL = re.compile(
    r"(?:https?|s3a?|gs|gcs|abfss?|az|adl|ftp|sftp|ssh|hdfs|webhdfs|root|osdf|pelican|oci|hf)://\S+"
)
_IS_WEB = re.compile("https?://")
# Fields of `fsspec`'s info, the strongest first.
_FIELDS = (
    "VersionId",
    "version_id",
    "versionId",
    "generation",
    "md5Hash",
    "Content-MD5",
    "content_md5",
    "Digest",
    "checksum",
    "crc32c",
    "ETag",
    "etag",
    "e_tag",
)
_NO_VERSIONS = frozenset({"", "null", "None"})


def is_url(text: str) -> bool:
    """Is this text as a whole the address of something remote?"""
    return _URL.fullmatch(text) is not None


def version_of(filesystem: Any, path: str) -> str | None:
    """The version of what is there now, or None when the server does not tell."""
    try:
        filesystem.invalidate_cache()
        info = filesystem.info(path)
        if type(filesystem).__module__.partition(".")[0] == "fsspec_xrootd":
            # Servers tell sums that are quick to make: small changes may leave them as they are.
            return " ".join(map(str, (*filesystem.checksum(path), info["size"], info["mtime"])))
    except Exception:  # noqa: BLE001 - any file system of anybody's
        return None
    for name in _FIELDS:
        found = info.get(name)
        text = "" if found is None else str(found)
        if text not in _NO_VERSIONS and not text.startswith("W/"):
            return f"{name} {text}"
    return None


def locate(url: str, options: dict[str, Any]) -> tuple[Any, str] | None:
    """File system and path of an address, or None when there is no way to look there.

    `options`: those of the file system.
    """
    if options and _IS_WEB.match(url):
        # Readers make headers of them.
        return None
    try:
        from fsspec.core import url_to_fs

        filesystem, path = url_to_fs(url, **options)
    except Exception:  # noqa: BLE001 - missing packages, unknown protocols, refused credentials
        return None
    return filesystem, path


def options_of(spec: Any) -> dict[str, Any] | None:
    """What a reader that is given addresses says to their file system; None when that cannot be told.

    Servers give one thing to whoever asks with one header, account or endpoint, and another to others.
    """
    named: dict[str, Any] = dict(spec.kwargs)
    func = spec.func
    if isinstance(func, types.FunctionType) and func.__module__.partition(".")[0] == "pandas":
        if any(type(one) is not str for one in spec.args):
            return None
        options = _plain(named.get("storage_options"))
        return options if isinstance(options, dict) else {} if options is None else None
    # What a library makes of other arguments, nobody knows.
    is_all = all(map(_is_address, (*spec.args, *named.values())))
    return {} if is_all and isinstance(func, types.FunctionType) else None


def parts_of(func: Any, literals: list[Any]) -> tuple[Any, list[str] | None] | None:
    """What a task of Dask reads of a remote data set of parquet files: file system, and paths (None: not known).

    None for all other tasks.
    """
    if not _reads_parts(func):
        return None
    parts = [
        part
        for literal in literals
        for part in (literal if isinstance(literal, list) else [literal])
    ]
    paths = [
        part["piece"][0] if isinstance(part, dict) and part.get("piece") else None for part in parts
    ]
    is_known = bool(paths) and all(type(path) is str for path in paths)
    return func.fs, cast("list[str]", paths) if is_known else None


def without_place(func: Any) -> Any:
    """The function of such a task without its file system, whose content the paths stand for; any other as it is."""
    if not _reads_parts(func):
        return func
    rest = {name: value for name, value in vars(func).items() if name != "fs"}
    return type(func), type(func.fs).__name__, rest


def _reads_parts(func: Any) -> bool:
    return (
        type(func).__name__ == "ParquetFunctionWrapper"
        and type(func).__module__.startswith("dask.")
        and type(func.fs).__name__ != "LocalFileSystem"
        and hasattr(func.fs, "invalidate_cache")
    )


def _is_address(value: Any) -> bool:
    return type(value) is str and is_url(value)


def _plain(value: Any) -> Any:
    """The value of an argument that Dask has wrapped; `value` itself where it stands on another task."""
    if not hasattr(value, "dependencies"):
        return value
    return value if value.dependencies else value({})


def texts_in(value: Any) -> Iterator[str]:
    """Texts in lists, tuples, sets and dicts."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from texts_in(key)
            yield from texts_in(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from texts_in(item)

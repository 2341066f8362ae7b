"""Versions of remote files, as their servers tell them: nothing is downloaded.

A version is an ETag, a version id or a checksum. Times and sizes are none, and neither are weak
ETags, which two contents may share.
"""

from __future__ import annotations

import re
from typing import Any

_URL = re.compile(
    r"(?:https?|s3a?|gs|gcs|abfss?|az|adl|ftp|sftp|ssh|hdfs|webhdfs|root|osdf|pelican|oci|hf)://\S+"
)
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
    except Exception:  # noqa: BLE001 - any file system of anybody's
        return None
    for name in _FIELDS:
        found = info.get(name)
        text = "" if found is None else str(found)
        if text not in _NO_VERSIONS and not text.startswith("W/"):
            return f"{name} {text}"
    return None


def locate(url: str) -> tuple[Any, str] | None:
    """File system and path of an address, or None when there is no way to look there."""
    try:
        from fsspec.core import url_to_fs

        filesystem, path = url_to_fs(url)
    except Exception:  # noqa: BLE001 - missing packages, unknown protocols, refused credentials
        return None
    return filesystem, path

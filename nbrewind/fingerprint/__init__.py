"""Facts about live Python objects: what the walker hashes for everything that is not a builtin value.

The walker (`nbrewind._native.walk`) reads scalars and builtin containers itself and asks `facts(obj)` for the rest.
A `Fact` names the object's kind (`tag`) and its `parts`, which are walked in turn. Facts must be complete: two
objects with equal facts must behave alike in any code that could read them. What cannot be described that way is
opaque, and nothing that reads an opaque value is ever replayed.

Two modes:

* value mode (cells): a function of the notebook is its own code, defaults and closure; the globals that it reads
  when called are `refs`, by name, because the namespace binds them late;
* task mode (`follow_globals`): the values of those globals are part of the function, and a string or path that names
  an existing file stands for the file's content.
"""

from __future__ import annotations

from nbrewind.fingerprint import (  # noqa: F401 - they register their handlers
    arrays,
    borrowers,
    libraries,
    objects,
    standing,
)
from nbrewind.fingerprint.code import CodeNames, code_names
from nbrewind.fingerprint.files import MAX_LISTED_FILES, file_digest, path_digest
from nbrewind.fingerprint.library import (
    is_importable,
    is_library_file,
    is_library_module,
    loaded_modules,
    module_version,
)
from nbrewind.fingerprint.walker import Context, Fact, Walk, register, walk

__all__ = [
    "MAX_LISTED_FILES",
    "CodeNames",
    "Context",
    "Fact",
    "Walk",
    "code_names",
    "file_digest",
    "is_importable",
    "is_library_file",
    "is_library_module",
    "loaded_modules",
    "module_version",
    "path_digest",
    "register",
    "walk",
]

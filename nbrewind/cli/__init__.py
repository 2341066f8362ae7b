"""The command line: arguments in, exit code out."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def _without(*modules: str) -> Iterator[None]:
    """As if these modules were not installed, unless they are loaded already."""
    hidden = [module for module in modules if module not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for module in hidden:
            del sys.modules[module]


# Where Jupyter is installed, jsonschema loads these at its own import, to know what an IRI, a date or a colour is. One
# builds a parser for more than a second of CPU: longer than all else that a command does before its kernel runs.
# No field of a notebook is any of these.
with _without(
    "fqdn",
    "isoduration",
    "jsonpointer",
    "rfc3339_validator",
    "rfc3986_validator",
    "rfc3987_syntax",
    "uri_template",
    "webcolors",
):
    # Before anything else of a command imports it.
    import nbformat as nbformat

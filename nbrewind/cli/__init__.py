"""The command line: arguments in, exit code out."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def _without(module: str) -> Iterator[None]:
    """As if this module were not installed, unless it is loaded already."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]


# Where Jupyter is installed, jsonschema loads this at its own import, which builds a parser for more than a second of
# CPU: longer than all else that a command does before its kernel runs. No field of a notebook is an IRI.
with _without("rfc3987_syntax"):
    # Before anything else of a command imports it.
    import nbformat as nbformat

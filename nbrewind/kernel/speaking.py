"""What cells speak of, in code and in texts: words that say what a run may do where nobody sees it."""

from __future__ import annotations

import io
import re
import tokenize
from typing import TYPE_CHECKING, Any

from nbrewind.fingerprint import is_library_module

if TYPE_CHECKING:
    from nbrewind.kernel.session import Run, Session

# What arrow is told to do with folders that are there; it lists and removes natively.
_EMPTIES = "delete_matching"
_SEEDING = re.compile("seed|state|generator", re.IGNORECASE)


def speaks_of_seeding(source: str) -> bool:
    """True when code or strings do: comments seed nothing."""
    if _SEEDING.search(source) is None:
        return False
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (SyntaxError, tokenize.TokenError):
        return True
    return any(
        token.type != tokenize.COMMENT and _SEEDING.search(token.string) is not None
        for token in tokens
    )


_STAR = re.compile(r"from ([\w.]+) import \*")


def _is_star_of_library(unknown: str) -> bool:
    """True when all that is unknown is which names were bound: importing a library seeds nothing."""
    found = _STAR.match(unknown)
    return found is not None and is_library_module(found[1])


def may_seed(run: Run) -> bool:
    """True when the cell, or a function it can reach, speaks of seeds or states of generators."""
    return (
        any(not _is_star_of_library(text) for text in run.unknown)
        or speaks_of_seeding(run.source)
        or any("seeds" in run.before_versions[name].facts[name].marks for name in run.present)
    )


def empties_folders(session: Session, run: Run) -> bool:
    """True when native code may be told to remove what is in folders: what was there is an input then."""
    facts = map(session.state.facts, run.present & session.state.bound.keys())
    return _EMPTIES in run.effects["string_names"] or any(
        _EMPTIES in one.idents or _EMPTIES in one.words() for one in facts
    )


# Constructs that reach names, not the process: the sweep sees what they change.
_NAMES_ONLY = re.compile(r"globals|locals|vars|dir\b|frame|import \*|star")


def opaque_constructs(effects: dict[str, Any]) -> list[str]:
    """Code that nothing can see through, and that may have changed the process."""
    return [
        entry["construct"]
        for entry in effects["unknown"]
        if not _NAMES_ONLY.search(entry["construct"])
    ]


def runs_bodies(source: str, effects: dict[str, Any]) -> bool:
    """True when what the cell defines may run at once without being named: decorators, and classes with bases."""
    raw = source.encode()
    for item in effects["statements"]:
        if item["kind"] == "definition":
            text = raw[item["start"] : item["end"]].lstrip()
            if text.startswith(b"@") or b"\n@" in text or _BASES.match(text):
                return True
    return False


_BASES = re.compile(rb"class\s+\w+\s*[(\[]")

"""What a run showed of what nothing could see through before it.

Which names a star import binds, which code `eval` is given, whose function a name stands for: the text of a cell does
not say so, and the run does. Another run with the same inputs does the same, so that what was seen is all there is.
"""

from __future__ import annotations

import builtins
import dis
import gc
import os
import re
import sys
import types
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from nbrewind.fingerprint import is_library_module
from nbrewind.fingerprint.code import DYNAMIC, code_names
from nbrewind.fingerprint.files import path_digest
from nbrewind.fingerprint.writing import WRITES
from nbrewind.kernel import hidden
from nbrewind.kernel.namespace import is_history
from nbrewind.kernel.outside import Findings

if TYPE_CHECKING:
    from nbrewind.kernel.session import Run, Session

_STAR = re.compile(r"from ([\w.]+) import \* \(line \d+\)")
_EVALUATION = re.compile(r"(?:unknown: .* calls )?(eval|exec)(?:\(\))?(?: \(line \d+\))?")
# What code asks the namespace by, when it is not named in a text.
_ASKING = (DYNAMIC - {"eval", "exec"}) | {"locals", "vars", "dir"}
_BINDS = frozenset({"STORE_NAME", "STORE_GLOBAL", "DELETE_NAME", "DELETE_GLOBAL"})


def look(session: Session, run: Run, findings: Findings) -> None:
    """Add what the run bound and could have read to what its text says of it; `run.unseen` is what stays unknown.

    Asked before the names are swept: `session.state` is that from which the run began.
    """
    left = []
    evaluations = []
    for text in run.unknown:
        star, evaluation = _STAR.fullmatch(text), _EVALUATION.fullmatch(text)
        if star is not None and (names := names_of_star(star[1])) is not None:
            run.effects["writes"] = sorted({*run.effects["writes"], *names})
        elif evaluation is not None and _is_pythons_own(session, run, evaluation[1]):
            evaluations.append(text)
        else:
            left.append(text)
    if evaluations:
        if not _add_evaluated(session, run, findings.evaluated):
            left += evaluations
    run.unseen = left


def names_of_star(module_name: str) -> set[str] | None:
    """What `from module import *` binds; None when that cannot be told."""
    module = sys.modules.get(module_name)
    if module is None:
        return None
    names = vars(module).get("__all__")
    if names is None:
        return {name for name in vars(module) if not name.startswith("_")}
    if type(names) not in {list, tuple} or not all(type(name) is str for name in names):
        return None
    return set(names)


def _is_pythons_own(session: Session, run: Run, name: str) -> bool:
    """True when the name stands for Python's function, which tells whoever listens what it executes."""
    return (
        name not in session.namespace
        and name not in run.before
        and isinstance(getattr(builtins, name), types.BuiltinFunctionType)
    )


def _add_evaluated(session: Session, run: Run, codes: list[types.CodeType]) -> bool:
    """Take what the executed code names for the run's own. False when it can reach what it does not name."""
    # What the cell defines may be called by it.
    read = set(run.effects["loads"] if codes else ())
    bound: set[str] = set()
    for code in codes:
        names = code_names(code)
        if names.reaching() is not None or not _ASKING.isdisjoint(names.global_names):
            return False
        if not all(map(is_library_module, names.imports)):
            return False
        read |= {*names.global_names, *names.idents}
        bound.update(op.argval for op in dis.get_instructions(code) if op.opname in _BINDS)
    present, absent = session.state.closure({*read, *bound})
    marks = {mark for name in present for mark in session.state.facts(name).marks}
    # A function of a module has a way of its own to what evaluates.
    if any(mark.startswith("unknown:") and not _EVALUATION.fullmatch(mark) for mark in marks):
        return False
    run.present |= present
    run.absent |= absent
    run.effects["writes"] = sorted({*run.effects["writes"], *bound})
    named = {*read, *bound, *(ref for name in present for ref in session.state.facts(name).refs)}
    run.history += sorted(name for name in named if is_history(name) and name not in run.history)
    return True


# Functions that set something for the rest of the session, and whose text says what: (library, name).
_SETTINGS = frozenset(
    {
        ("bokeh", "output_notebook"),
        ("plotly", "init_notebook_mode"),
        ("sympy", "init_printing"),
    }
)


def name_statements(effects: dict[str, Any], texts: Iterable[str], scope: dict[str, Any]) -> None:
    """What a star imports, and calls of such functions, wherever they were imported: by what the names stand for."""
    for item, text in zip(effects["statements"], texts, strict=True):
        star = _STAR_STATEMENT.fullmatch(text.strip())
        if star is not None and is_library_module(star[1]):
            item["kind"] = "import"
            item["writes"] = sorted(names_of_star(star[1]) or ())
            continue
        call = item.get("discarded_call")
        if item["kind"] != "other" or not call or item["writes"] or item["deletes"]:
            continue
        found = hidden.at_end_of(tuple(call.split(".")), scope)
        module = getattr(found, "__module__", None)
        if not isinstance(found, types.FunctionType) or not isinstance(module, str):
            continue
        if (module.partition(".")[0], found.__name__) not in _SETTINGS:
            continue
        if hidden.library_of(found) is not None and _CALL.fullmatch(text.strip()):
            item["kind"] = "config"


_STAR_STATEMENT = re.compile(r"from\s+([\w.]+)\s+import\s+\*")
# A call and nothing else: no awaiting, no calls within, whose results nobody else would see.
_CALL = re.compile(r"[\w.]+\([^()]*\);?")


def written_through(run: Run) -> set[str]:
    """Files that the run wrote by what was open before it."""
    return {
        path
        for version in set(run.before_versions.values())
        for facts in version.facts.values()
        if WRITES in facts.marks
        for path, digest in facts.files.items()
        if os.path.isfile(path) and path_digest(path) != digest
    }


_PATCHES = re.compile(
    r"`[\w.]*\bpatch[\w.]*\(\)` (sets something|may change state) inside unittest"
)


def has_begun_patches() -> bool:
    """True while something is patched that `start` of `unittest.mock` patched."""
    patch = getattr(sys.modules.get("unittest.mock"), "_patch", None)
    return bool(getattr(patch, "_active_patches", None))


def without_undone(why: list[str], *, was_patched: bool) -> list[str]:
    """Without patches of `unittest.mock` that nobody has any more: what a `with` or a decorator patched is as it was.

    While one is in force that was begun, whatever is called may be told of to the mock.
    """
    if was_patched or has_begun_patches():
        return [*why, "a patch of unittest.mock is in force"]
    if not any(map(_PATCHES.fullmatch, why)) or _has_patches():
        return why
    return [text for text in why if not _PATCHES.fullmatch(text)]


def _has_patches() -> bool:
    """True while there is a patch that may be begun or ended, apart from those of decorated functions, which end."""
    mock = sys.modules.get("unittest.mock")
    kinds = (getattr(mock, "_patch", None), getattr(mock, "_patch_dict", None))
    if None in kinds:
        return True
    objects = gc.get_objects()
    of_functions = {
        id(one)
        for function in objects
        if type(function) is types.FunctionType
        for one in vars(function).get("patchings", ())
    }
    # In force, it keeps what was there.
    return any(
        id(one) not in of_functions or "temp_original" in vars(one)
        for one in objects
        if type(one) in kinds
    )

"""Where the things come from that code changes and hands on, as far as its bytecode tells without running it.

`registry()["mine"] = 1` changes what a call gives back, `m = registry()` and then `m["mine"] = 1` does too, and
`fill(registry)` hands something to a function that may change it.
"""

from __future__ import annotations

import dis
import types
from collections.abc import Iterator
from dataclasses import dataclass, replace

# A dotted name in code, part by part. `@json` for the first part is a module that the code imports itself.
Chain = tuple[str, ...]

CALLED, HELD = "()", "[]"


@dataclass(frozen=True)
class Origin:
    """An object by the name that led to it: itself, what calling it gives, or what it holds."""

    chain: Chain
    how: str = ""
    # -1: nobody knows.
    n_args: int = 0
    # Attributes of what the call gave, or of what was held.
    rest: Chain = ()

    def attribute(self, name: str) -> Origin:
        """Its attribute of this name."""
        if self.how:
            return replace(self, rest=(*self.rest, name))
        return replace(self, chain=(*self.chain, name))


@dataclass(frozen=True)
class Changes:
    """What one code object changes that it did not make, and what it hands to calls."""

    # Of these an item or an attribute is set or deleted, or a method is called by these names: (of what, which).
    changed: frozenset[tuple[Origin, str]]
    called: frozenset[tuple[Origin, str]]
    # Things that are an argument of a call: (what, of which call).
    handed: frozenset[tuple[Chain, Chain]]
    # Of some of what it sets items of, nobody knows where it comes from.
    has_unknown: bool


_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_LOCAL_LOADS = frozenset(
    {"LOAD_FAST", "LOAD_FAST_BORROW", "LOAD_FAST_CHECK", "LOAD_DEREF", "LOAD_CLOSURE"}
)
_STORES = frozenset({"STORE_FAST", "STORE_DEREF", "STORE_NAME", "STORE_GLOBAL"})
# How far below the top the thing lies of which an item or an attribute is set.
_BELOW = {
    "STORE_SUBSCR": 2, "DELETE_SUBSCR": 2, "STORE_SLICE": 3, "STORE_ATTR": 1, "DELETE_ATTR": 1,
}  # fmt: skip
# Instructions after which the top of the stack is something new.
_MAKES = (
    "BINARY_", "BUILD_", "COMPARE_", "CONTAINS_", "CONVERT_", "FORMAT_", "GET_", "IS_", "LIST_", "UNARY_", "YIELD_",
)  # fmt: skip


def imported(name: str, names: object) -> str:
    """What `import name` gives: the package, or, when it asks for `names` in it, the module itself."""
    return f"@{name if names else name.partition('.')[0]}"


class _Reading:
    """Goes through the instructions in order, with what the stack would hold."""

    def __init__(self) -> None:
        self.changed: set[tuple[Origin, str]] = set()
        self.called: set[tuple[Origin, str]] = set()
        self.handed: set[tuple[Chain, Chain]] = set()
        self.has_unknown = False
        self._stack: list[Origin | None] = []
        self._bound: dict[str, Origin | None] = {}
        self._constant: object = None

    def read(self, code: types.CodeType) -> None:
        for op in dis.get_instructions(code):
            if op.opname != "CACHE":
                self._step(op)

    def _pop(self, n: int) -> list[Origin | None]:
        """The upper `n` of the stack, the deepest first. Behind a jump there may be fewer than there will be."""
        missing = max(n - len(self._stack), 0)
        taken = [None] * missing + self._stack[len(self._stack) - n + missing :]
        del self._stack[len(self._stack) - n + missing :]
        return taken

    def _step(self, op: dis.Instruction) -> None:
        name, stack = op.opname, self._stack
        if name == "PRECALL":
            return
        if name == "LOAD_CONST":
            self._constant = op.argval
        effect = dis.stack_effect(op.opcode, op.arg, jump=False)
        if name in _LOADS:
            # Python's own marker for calls, where there is one, comes before or behind.
            stack.extend([None] * (effect - 1))
            stack.append(self._bound.get(op.argval) or Origin((op.argval,)))
        elif name in _LOCAL_LOADS:
            stack.append(self._bound.get(op.argval))
        elif name in _STORES:
            self._bound[op.argval] = self._pop(1)[0]
        elif name == "IMPORT_NAME":
            self._pop(2)
            stack.append(Origin((imported(op.argval, self._constant),)))
        elif name == "IMPORT_FROM":
            top = stack[-1] if stack else None
            stack.append(top and top.attribute(op.argval))
        elif name in {"LOAD_ATTR", "LOAD_METHOD"}:
            owner = self._pop(1)[0]
            stack.append(owner and owner.attribute(op.argval))
            stack.extend([None] * effect)
        elif name in {"CALL", "CALL_KW", "CALL_FUNCTION_EX"}:
            n_args = op.arg or 0
            n_taken = {"CALL": n_args + 2, "CALL_KW": n_args + 3}.get(name, 1 - effect)
            self._call(name, n_args, self._pop(n_taken))
        elif name in {"BINARY_SUBSCR", "BINARY_SLICE"}:
            owner = self._pop(1 - effect)[0]
            stack.append(owner and Origin(owner.chain, owner.how or HELD, owner.n_args))
        elif name.startswith(("UNPACK_", "BEFORE_")):
            self._pop(1)
            stack.extend([None] * (effect + 1))
        elif name == "COPY":
            at = op.arg or 1
            stack.append(stack[-at] if len(stack) >= at else None)
        elif name == "SWAP" and len(stack) >= (op.arg or 1):
            at = op.arg or 1
            stack[-1], stack[-at] = stack[-at], stack[-1]
        elif name in _BELOW:
            taken = self._pop(-effect)
            owner = taken[-_BELOW[name]]
            if owner is not None:
                self.changed.add((owner, op.argval if name.endswith("ATTR") else ""))
            elif not name.endswith("ATTR"):
                self.has_unknown = True
        else:
            self._pop(max(-effect, 0))
            stack.extend([None] * effect)
            if name.startswith(_MAKES) and stack:
                stack[-1] = None

    def _call(self, name: str, n_args: int, taken: list[Origin | None]) -> None:
        is_spread = name == "CALL_FUNCTION_EX"
        lower = taken[:-1] if is_spread else taken[: len(taken) - n_args]
        callee = next((one for one in lower if one is not None), None)
        self._stack.append(None)
        if callee is None:
            return
        n_args = -1 if is_spread else n_args
        for argument in taken[len(lower) :]:
            if argument is not None and not argument.how:
                self.handed.add((argument.chain, callee.chain))
        if callee.how:
            if callee.rest:
                self.called.add((replace(callee, rest=callee.rest[:-1]), callee.rest[-1]))
            return
        self._stack[-1] = Origin(callee.chain, CALLED, n_args)


def read(code: types.CodeType) -> Changes:
    """What the code changes and hands on (with `dis`: per Python version). Jumps are not followed."""
    reading = _Reading()
    reading.read(code)
    return Changes(
        frozenset(reading.changed),
        frozenset(reading.called),
        frozenset(reading.handed),
        reading.has_unknown,
    )


def shallow(obj: object) -> tuple[object, ...]:
    """What a container holds, object by object, as far as a later look can be compared with it."""
    if isinstance(obj, dict):
        return tuple(_ids(dict.items(obj)))
    return tuple(map(id, obj))  # type: ignore[call-overload]


def _ids(items: object) -> Iterator[int]:
    for key, value in items:  # type: ignore[attr-defined]
        yield id(key)
        yield id(value)

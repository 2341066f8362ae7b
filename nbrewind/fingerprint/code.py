"""What code names, by its bytecode: globals, words in constant texts, attributes, and ways to what nobody names."""

from __future__ import annotations

import dis
import re
import types
from dataclasses import dataclass
from typing import Any

_GLOBAL_OPS = frozenset(
    {
        "LOAD_GLOBAL",
        "LOAD_NAME",
        "STORE_GLOBAL",
        "DELETE_GLOBAL",
        "LOAD_FROM_DICT_OR_GLOBALS",
        "LOAD_CLASSDEREF",
    }
)
# Of these, formulas come with their data.
ALSO_FUNCTIONS_OF_NUMBERS = frozenset({"logit", "probit", "poisson"})
IDENTIFIER = re.compile(r"[^\W\d]\w*")
# Builtins through which code can reach names that no bytecode shows.
DYNAMIC = frozenset({"exec", "eval", "globals", "__import__", "compile", "get_ipython"})
# And attributes: the namespace itself, and classes and objects that nobody names.
REACHING = frozenset(
    """f_globals f_locals __globals__ user_ns user_global_ns user_module __subclasses__ get_objects
    get_referrers last_value last_exc last_type last_traceback print_last testmod""".split()
)
# Methods and functions that evaluate text over the names around their caller.
EVALUATORS = frozenset(
    """query eval sql sqldf ols wls gls glm logit probit poisson mixedlm rlm gee dmatrix dmatrices
    from_formula""".split()
)
# Attributes through which code finds the text of code, or where in the text something is.
TEXTS = frozenset(
    """getsource getsourcelines getcomments findsource getlines co_firstlineno tb_lineno f_lineno
    format_exc print_exc print_exception format_exception format_tb print_tb extract_tb format_stack
    print_stack extract_stack walk_tb""".split()
)


@dataclass(frozen=True)
class CodeNames:
    """What a code object and the code inside it name: globals in order of name, identifiers in strings."""

    global_names: tuple[str, ...]
    stored: frozenset[str]
    idents: frozenset[str]
    attributes: frozenset[str]
    imports: frozenset[str] = frozenset()
    # False when `globals()` may be asked for any name, not only for names in constant strings.
    names_what_it_asks: bool = True
    # It evaluates text that is not there as a constant.
    evaluates: bool = False

    def reaching(self) -> str | None:
        """By what the code may reach names that it does not name; None: it cannot."""
        found = sorted(self.attributes & REACHING)
        if "modules" in self.attributes and "sys" in {*self.global_names, *self.imports}:
            found.append("sys.modules")
        if "main" in self.attributes and "unittest" in {*self.global_names, *self.imports}:
            found.append("unittest.main")
        if "builtins" in {*self.global_names, *self.imports}:
            found += sorted(self.attributes & DYNAMIC)
        if "__main__" in {*self.imports, *self.idents, *self.global_names}:
            found.append("__main__")
        if self.evaluates:
            found.append("text that it evaluates")
        return found[0] if found else None


_code_names: dict[int, tuple[types.CodeType, CodeNames]] = {}


def code_names(code: types.CodeType) -> CodeNames:
    """The global names that the code reads or binds, nested functions included (with `dis`: per Python version)."""
    known = _code_names.get(id(code))
    if known is not None:
        return known[1]
    names: set[str] = set()
    stored: set[str] = set()
    idents: set[str] = set()
    attributes: set[str] = set(code.co_names)
    imports: set[str] = set()
    names_what_it_asks = _names_what_it_asks(code)
    evaluates = _evaluates_built_text(code)
    for instruction in dis.get_instructions(code):
        if instruction.opname in _GLOBAL_OPS:
            names.add(instruction.argval)
            if instruction.opname in {"STORE_GLOBAL", "DELETE_GLOBAL"}:
                stored.add(instruction.argval)
        elif instruction.opname == "IMPORT_NAME" and instruction.argval:
            imports.add(instruction.argval)
    pending: list[Any] = list(code.co_consts)
    while pending:
        const = pending.pop()
        if isinstance(const, types.CodeType):
            inner = code_names(const)
            names.update(inner.global_names)
            stored |= inner.stored
            idents |= inner.idents
            attributes |= inner.attributes
            imports |= inner.imports
            names_what_it_asks = names_what_it_asks and inner.names_what_it_asks
            evaluates = evaluates or inner.evaluates
        elif isinstance(const, str):
            idents.update(IDENTIFIER.findall(const))
        elif isinstance(const, tuple | frozenset):
            pending.extend(const)
    found = CodeNames(
        tuple(sorted(names)),
        frozenset(stored),
        frozenset(idents),
        frozenset(attributes),
        frozenset(imports),
        names_what_it_asks,
        evaluates,
    )
    _code_names[id(code)] = (code, found)
    return found


_SILENT_OPS = frozenset({"CACHE", "PRECALL", "PUSH_NULL", "RESUME", "NOP"})
_ITEM_OPS = frozenset({"BINARY_SUBSCR", "STORE_SUBSCR", "DELETE_SUBSCR"})
_ASKING_METHODS = frozenset({"get", "pop", "setdefault"})


def _names_what_it_asks(code: types.CodeType) -> bool:
    """True when every `globals()` in the code is asked for a name that a constant string gives, there and then."""
    ops = [one for one in dis.get_instructions(code) if one.opname not in _SILENT_OPS]
    for at, op in enumerate(ops):
        if op.opname not in _GLOBAL_OPS or op.argval != "globals":
            continue
        after = [*ops[at + 1 : at + 4], None, None, None]
        call, second, third = after[:3]
        if call is None or call.opname != "CALL" or call.argval != 0 or second is None:
            return False
        if second.opname == "CONTAINS_OP":
            name = ops[at - 1] if at else None
        elif second.opname == "LOAD_CONST" and third is not None and third.opname in _ITEM_OPS:
            name = second
        elif second.opname in {"LOAD_METHOD", "LOAD_ATTR"} and second.argval in _ASKING_METHODS:
            name = third
        else:
            return False
        if name is None or name.opname != "LOAD_CONST" or not _is_own_name(name.argval):
            return False
    return True


def _evaluates_built_text(code: types.CodeType) -> bool:
    """True when `df.query(...)` or the like is given something else than a constant first."""
    ops = [one for one in dis.get_instructions(code) if one.opname not in _SILENT_OPS]
    for at, op in enumerate(ops):
        if op.opname in {"LOAD_METHOD", "LOAD_ATTR"} and op.argval in EVALUATORS:
            first = ops[at + 1] if at + 1 < len(ops) else None
            if first is None or op.argval in ALSO_FUNCTIONS_OF_NUMBERS:
                continue
            # `model.eval()` is given nothing.
            is_constant = (
                first.opname == "LOAD_CONST"
                and isinstance(first.argval, str)
                and not _is_built_on(ops[at + 2 :])
            )
            if not is_constant and not (first.opname.startswith("CALL") and not first.argval):
                return True
    return False


def _is_built_on(ops: list[dis.Instruction]) -> bool:
    """True when what was just loaded is a part of a text that is made before the next call ends."""
    for op in ops:
        if op.opname.startswith("CALL"):
            return False
        if op.opname in {"LOAD_METHOD", "LOAD_ATTR"} or op.opname.startswith(
            ("BINARY_", "BUILD_STRING", "FORMAT_", "CONVERT_")
        ):
            return True
    return False


def _is_own_name(value: Any) -> bool:
    """True for what may be a name of the user's, and none that the shell keeps."""
    return (
        isinstance(value, str)
        and value.isidentifier()
        and not value.startswith("_")
        and value not in {"In", "Out"}
    )

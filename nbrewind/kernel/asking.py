"""Cells that ask the namespace itself: `'x' in globals()`, `dir()`, `vars()`.

Nobody can say what such a cell reads, unless it says so itself: by a constant string. Then it reads that name, there
or not, like any other code.
"""

from __future__ import annotations

import ast
from typing import Any

from nbrewind.fingerprint.code import (
    ALSO_FUNCTIONS_OF_NUMBERS,
    EVALUATORS,
    REACHING,
    TEXTS,
)
from nbrewind.kernel.namespace import is_tracked

_ASKS = frozenset({"globals", "dir", "vars", "locals"})
_METHODS = frozenset({"get", "pop", "setdefault", "__contains__", "__getitem__"})


def names_asked_for(source: str, n_questions: int) -> set[str] | None:
    """The names that the code asks `globals()` and its kin for; None when it may ask for any.

    `n_questions` is how many there are: those in the text of a magic do not show in the Python that it becomes.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return None
    finder = _Finder()
    finder.visit(tree)
    is_known = not finder.is_unknown and finder.n_questions >= n_questions
    return finder.names if is_known else None


def is_asked(entry: dict[str, Any]) -> bool:
    """True for an unknown construct that is answered by `names_asked_for`."""
    return str(entry["construct"]).removesuffix("()") in _ASKS


class Reaching(ast.NodeVisitor):
    """How the cell's own statements may reach what they do not name. What its functions do counts where they run."""

    def __init__(self, source: str) -> None:
        # Each is a construct that nothing can see through.
        self.found: dict[str, None] = {}
        # It evaluates a text that it reads.
        self.is_evaluated = False
        # It asks for the text of code, or for places in it.
        self.reads_text = False
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError):
            return
        self.visit(tree)

    def visit_FunctionDef(self, node: Any) -> None:
        for part in [*node.decorator_list, node.args]:
            self.visit(part)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Import(self, node: ast.Import) -> None:
        if any(alias.name == "__main__" for alias in node.names):
            self.found["__main__"] = None

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.module == "__main__":
            self.found["__main__"] = None

    def visit_Name(self, node: ast.Name) -> None:
        if node.id == "__main__":
            self.found["__main__"] = None

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr in REACHING:
            self.found[node.attr] = None
        if node.attr == "main" and isinstance(node.value, ast.Name) and node.value.id == "unittest":
            self.found["unittest.main"] = None
        self.reads_text = self.reads_text or node.attr in TEXTS
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        func = node.func
        name = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
        if any(isinstance(arg, ast.Constant) and arg.value == "__main__" for arg in node.args):
            self.found["__main__"] = None
        if name == "run_line_magic" and node.args and isinstance(node.args[0], ast.Constant):
            magic = node.args[0].value
            if magic in _MAGICS_OF_NAMES:
                self.found[f"%{magic}"] = None
        is_method = isinstance(func, ast.Attribute) or name not in {"eval"}
        n_given = len(node.args) + len(node.keywords)
        if name in EVALUATORS and is_method and n_given > (name in ALSO_FUNCTIONS_OF_NUMBERS):
            first = node.args[0] if node.args else node.keywords[0].value
            self._evaluated(first, name)
        self.generic_visit(node)

    def _evaluated(self, text: ast.expr, name: str) -> None:
        """A text that is evaluated: a constant shows its names, a name or an item leads to a text that does."""
        if isinstance(text, ast.Constant):
            return
        self.is_evaluated = True
        if isinstance(text, ast.JoinedStr):
            before = ""
            for part in text.values:
                own = str(part.value) if isinstance(part, ast.Constant) else ""
                if isinstance(part, ast.FormattedValue):
                    if not isinstance(part.value, ast.Name | ast.Subscript | ast.Attribute):
                        self.found[f"{name}() of a text that it makes"] = None
                    if _ends_in_name(before):
                        self.found[f"{name}() of a text that it makes"] = None
                elif before == "{" and own[:1].isidentifier():
                    self.found[f"{name}() of a text that it makes"] = None
                before = own if isinstance(part, ast.Constant) else "{"
            return
        if not isinstance(text, ast.Name | ast.Subscript | ast.Attribute):
            self.found[f"{name}() of a text that it makes"] = None


# Magics that show names or what was sent.
_MAGICS_OF_NAMES = frozenset(
    "who who_ls whos psearch history hist notebook recall rerun save macro tb debug logstart".split()
)


def _ends_in_name(text: str) -> bool:
    return text[-1:].isalnum() or text[-1:] == "_" or text == "{"


class _Finder(ast.NodeVisitor):
    def __init__(self) -> None:
        self.names: set[str] = set()
        self.is_unknown = False
        self.n_questions = 0
        self._depth = 0

    def visit_FunctionDef(self, node: Any) -> None:
        self._depth += 1
        self.generic_visit(node)
        self._depth -= 1

    # In a function, `dir()` and `locals()` tell of something else.
    visit_AsyncFunctionDef = visit_Lambda = visit_ClassDef = visit_FunctionDef
    visit_GeneratorExp = visit_ListComp = visit_SetComp = visit_DictComp = visit_FunctionDef

    def visit_Compare(self, node: ast.Compare) -> None:
        one = len(node.ops) == 1 and isinstance(node.ops[0], ast.In | ast.NotIn)
        if one and self._is_question(node.comparators[0]):
            self._ask(node.left)
            return
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if self._is_question(node.value, but="dir"):
            self._ask(node.slice)
            return
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        func = node.func
        if (
            isinstance(func, ast.Attribute)
            and func.attr in _METHODS
            and node.args
            and self._is_question(func.value, but="dir")
        ):
            self._ask(node.args[0])
            for child in [*node.args[1:], *node.keywords]:
                self.visit(child)
            return
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in _ASKS:
            self.is_unknown = True

    def _is_question(self, node: ast.expr, but: str = "") -> bool:
        return (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in _ASKS
            and node.func.id != but
            and (self._depth == 0 or node.func.id == "globals")
            and not node.args
            and not node.keywords
        )

    def _ask(self, node: ast.expr) -> None:
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node.value.isidentifier()
            and is_tracked(node.value)
        ):
            self.names.add(node.value)
            self.n_questions += 1
        else:
            self.is_unknown = True

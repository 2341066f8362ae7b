"""Everything that is done to a notebook between its run and the question which of its cells are stale."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bench.verdicts.pages import Cells, Page

# Kinds of edits after which no other cell may be flagged.
HARMLESS = ("comment", "layout", "independent")


@dataclass
class Edit:
    """What the notebook becomes, and which of its cells are the edit itself."""

    kind: str
    what: str
    cells: Cells


Span = tuple[int, int, str]

# How a value of a kind is changed in place, and what a name of that kind is bound to instead.
IN_PLACE = {
    "builtins.list": "{name}.insert(0, {name}[-1] if {name} else 0)",
    "builtins.dict": "{name}.pop(next(iter({name}), None), None)",
    "builtins.set": "{name}.add('zz')",
    "numpy.ndarray": "{name}.flat[0] = {name}.flat[0] * 2 + 1",
    "pandas.DataFrame": "{name}.drop(index={name}.index[0], inplace=True)",
    "pandas.Series": "{name}.drop(index={name}.index[0], inplace=True)",
}
OTHERWISE = {
    "builtins.int": "{name} = {name} + 2",
    "builtins.float": "{name} = {name} * 0.75",
    "builtins.str": "{name} = {name} + 'y'",
    "builtins.list": "{name} = {name}[1:]",
    "builtins.dict": "{name} = dict(list({name}.items())[1:])",
    "numpy.ndarray": "{name} = {name} * 2",
    "pandas.DataFrame": "{name} = {name}.iloc[1:]",
    "pandas.Series": "{name} = {name}.iloc[1:]",
}
_SWAPPED: dict[type[ast.AST], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "+"),
    ast.Div: ("/", "*"),
    ast.Gt: (">", "<"),
    ast.Lt: ("<", ">"),
    ast.GtE: (">=", "<"),
}


def all_edits(page: Page, trace: list[dict[str, Any]], seed: int) -> list[Edit]:
    """Every edit of every kind, in an order that depends on the seed alone; `trace` is the run of the notebook."""
    draw = random.Random(f"{page.name} {seed}")
    makers: list[Callable[[Page, list[dict[str, Any]], random.Random], Iterator[Edit]]] = [
        _constants,
        _operators,
        _late,
        _inserted,
        _in_place,
        _deleted,
        _moved,
        _duplicated,
        _renamed,
        _harmless,
    ]
    found = [edit for make in makers for edit in make(page, trace, draw)]
    draw.shuffle(found)
    return found


def _replaced(page: Page, at: int, source: str) -> Cells:
    cells = list(page.cells)
    cells[at] = (cells[at][0], source)
    return cells


def _with_new(page: Page, at: int, source: str) -> Cells:
    return [*page.cells[:at], ("new", source), *page.cells[at:]]


def _tree(source: str) -> ast.Module | None:
    try:
        return ast.parse(source)
    except SyntaxError:
        return None


def _position(source: str, line: int, column: int) -> int:
    lines = source.split("\n")
    before = sum(len(one) + 1 for one in lines[: line - 1])
    return before + len(lines[line - 1].encode()[:column].decode())


def _span(source: str, node: Any) -> tuple[int, int]:
    return (
        _position(source, node.lineno, node.col_offset),
        _position(source, node.end_lineno, node.end_col_offset),
    )


def _apply(source: str, span: Span) -> str:
    start, end, text = span
    return source[:start] + text + source[end:]


def _constants(page: Page, trace: list[dict[str, Any]], draw: random.Random) -> Iterator[Edit]:
    for at, (cell, source) in enumerate(page.cells):
        tree = _tree(source)
        if tree is None:
            # Magics: their numbers and words.
            for found in re.finditer(r"(?<![\w.'])\d+|\b(?:high|one|shell)\b", source):
                text = str(int(found[0]) + 1) if found[0].isdigit() else f"{found[0]}x"
                edited = source[: found.start()] + text + source[found.end() :]
                yield Edit("constant", f"{cell}: {found[0]} -> {text}", _replaced(page, at, edited))
            continue
        for node in ast.walk(tree):
            if not isinstance(node, ast.Constant) or isinstance(node.value, bool):
                continue
            start, end = _span(source, node)
            if source[start:end] != repr(node.value):
                # A part of an f-string, or written in another way.
                continue
            if isinstance(node.value, int | float):
                text = repr(node.value + 1 if isinstance(node.value, int) else node.value * 1.5)
            elif isinstance(node.value, str) and node.value and draw.random() < 0.4:
                text = repr(node.value + "x")
            else:
                continue
            edited = _apply(source, (start, end, text))
            yield Edit(
                "constant", f"{cell}: {source[start:end]} -> {text}", _replaced(page, at, edited)
            )


def _operators(page: Page, trace: list[dict[str, Any]], draw: random.Random) -> Iterator[Edit]:
    for at, (cell, source) in enumerate(page.cells):
        for node in ast.walk(_tree(source) or ast.Module([], [])):
            if isinstance(node, ast.BinOp):
                left, operator, right = node.left, node.op, node.right
            elif isinstance(node, ast.Compare) and len(node.ops) == 1:
                left, operator, right = node.left, node.ops[0], node.comparators[0]
            else:
                continue
            old, new = _SWAPPED.get(type(operator), ("", ""))
            start, end = _span(source, left)[1], _span(source, right)[0]
            if not old or source[start:end].count(old) != 1:
                continue
            text = source[start:end].replace(old, new)
            edited = _apply(source, (start, end, text))
            what = source[_span(source, left)[0] : _span(source, right)[1]]
            yield Edit("body", f"{cell}: {what} with {new}", _replaced(page, at, edited))


def _late(page: Page, trace: list[dict[str, Any]], draw: random.Random) -> Iterator[Edit]:
    """A line more in the body of a function."""
    for at, (cell, source) in enumerate(page.cells):
        for node in ast.walk(_tree(source) or ast.Module([], [])):
            if isinstance(node, ast.FunctionDef) and node.body[0].lineno > node.lineno:
                lines = source.split("\n")
                first = node.body[0]
                lines.insert(first.lineno - 1, " " * first.col_offset + f"print('in {node.name}')")
                yield Edit(
                    "body", f"{cell}: {node.name} prints", _replaced(page, at, "\n".join(lines))
                )


def _bound(trace: list[dict[str, Any]], at: int) -> dict[str, str]:
    """Names that are there before the cell, with their kinds."""
    return dict(trace[at - 1]["kinds"]) if at else {}


def _inserted(page: Page, trace: list[dict[str, Any]], draw: random.Random) -> Iterator[Edit]:
    """A new cell that binds a name otherwise."""
    for at in range(1, len(page.cells) + 1):
        for name, kind in _some(_bound(trace, at), OTHERWISE, draw, 2):
            source = OTHERWISE[kind].format(name=name)
            yield Edit("insert", f"at {at}: {source}", _with_new(page, at, source))


def _in_place(page: Page, trace: list[dict[str, Any]], draw: random.Random) -> Iterator[Edit]:
    """A new cell that changes a value in place: under another name, or in a function."""
    for at in range(1, len(page.cells) + 1):
        for name, kind in _some(_bound(trace, at), IN_PLACE, draw, 2):
            alias = f"other_name = {name}\n" + IN_PLACE[kind].format(name="other_name")
            yield Edit("alias", f"at {at}: {name}", _with_new(page, at, alias))
            callee = IN_PLACE[kind].format(name="it")
            callee = f"def touch(it):\n    {callee}\n\ntouch({name})"
            yield Edit("callee", f"at {at}: {name}", _with_new(page, at, callee))


def _some(
    names: dict[str, str], table: dict[str, str], draw: random.Random, n: int
) -> list[tuple[str, str]]:
    possible = sorted((name, kind) for name, kind in names.items() if kind in table)
    return draw.sample(possible, min(n, len(possible)))


def _deleted(page: Page, trace: list[dict[str, Any]], draw: random.Random) -> Iterator[Edit]:
    for at, (cell, _) in enumerate(page.cells):
        yield Edit("delete", cell, [*page.cells[:at], *page.cells[at + 1 :]])


def _moved(page: Page, trace: list[dict[str, Any]], draw: random.Random) -> Iterator[Edit]:
    for at in range(len(page.cells)):
        cells = list(page.cells)
        moved = cells.pop(at)
        to = draw.randrange(len(page.cells))
        if to != at:
            cells.insert(to, moved)
            yield Edit("move", f"{moved[0]} to {to + 1}", cells)


def _duplicated(page: Page, trace: list[dict[str, Any]], draw: random.Random) -> Iterator[Edit]:
    for at, (cell, source) in enumerate(page.cells):
        to = draw.randrange(at + 1, len(page.cells) + 1)
        yield Edit("duplicate", f"{cell} at {to + 1}", _with_new(page, to, source))


def _renamed(page: Page, trace: list[dict[str, Any]], draw: random.Random) -> Iterator[Edit]:
    """A name that others use is called otherwise where it is bound, and nowhere else."""
    for at, (cell, source) in enumerate(page.cells):
        used = {name for done in trace[at + 1 :] for name in done["reads"]}
        for name in [name for name in trace[at]["binds"] if name in used][:2]:
            # A module is not renamed, only the name that it gets.
            module = rf"^((?:from [\w.]+ )?import (?:.*, )?)({name})(?=$|,)"
            edited = re.sub(module, rf"\1\2 as {name}", source, flags=re.MULTILINE)
            edited = re.sub(rf"\b{name}\b(?! as {name}\b)", f"{name}_new", edited)
            if edited != source:
                yield Edit("rename", f"{cell}: {name}", _replaced(page, at, edited))


def _harmless(page: Page, trace: list[dict[str, Any]], draw: random.Random) -> Iterator[Edit]:
    for at, (cell, source) in enumerate(page.cells):
        tree = _tree(source)
        new = "fresh_name = [1, 2, 3]\nprint(len(fresh_name))"
        yield Edit("independent", f"at {at + 1}", _with_new(page, at, new))
        if tree is None:
            continue
        yield Edit("comment", cell, _replaced(page, at, f"# as discussed\n{source}  # here"))
        if tree.body and not source.rstrip().endswith(";"):
            laid_out = ast.unparse(tree)
            if laid_out != source and ast.dump(ast.parse(laid_out)) == ast.dump(tree):
                yield Edit("layout", cell, _replaced(page, at, laid_out))

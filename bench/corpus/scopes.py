"""Names as CPython resolves them: the analysis beside `symtable`, over code that nobody here wrote.

    python bench/corpus/scopes.py [--files N] [--show N] [FOLDER ...]

Every file of the standard library and of site-packages (or of the folders given) is analysed as one cell. For the whole
file, the global names that are loaded anywhere and those that are bound; for every function and class at its top level,
the global names that it loads and binds. `symtable` of CPython 3.11 says what is right. Exit code 1 if anything differs
outside the list of what may.

What may differ, and why:

* A function called `top`: 3.11's symtable.py takes every scope of this name for the module's.
* Annotations of local variables: symtable has their names, but CPython never evaluates them. Files that differ are
  compared again with these annotations taken out.
* A class body that binds a name may read the global of that name before (`styles = styles`): symtable calls it local.
* `x += 1` reads `x`, and `x: int` alone binds nothing: symtable has the first as a binding only, the second as one.
* A name that a function declares `global` and binds counts as loaded (its old value may stay), and so does the name in
  `globals()['x']`; symtable sees neither.
* `del x` looks `x` up, so we count it among the reads; symtable has it among the bindings alone.
* Code that nests deeper than the analysis allows (`MAX_DEPTH` in syntax.rs) is refused and marked unknown.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import symtable
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nbrewind import _native

# Reads and bindings of global names.
Names = tuple[set[str], set[str]]


def walk(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    """A scope and all scopes in it."""
    yield table
    for child in table.get_children():
        yield from walk(child)


def names_of(table: symtable.SymbolTable, is_module: bool) -> Names:
    """Global names that this scope and those in it read and bind."""
    reads: set[str] = set()
    binds: set[str] = set()
    for scope in walk(table):
        at_top = is_module and scope is table
        for symbol in scope.get_symbols():
            if at_top:
                # Everything in a module's own scope is global.
                if symbol.is_referenced():
                    reads.add(symbol.get_name())
                if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace():
                    binds.add(symbol.get_name())
            elif symbol.is_global():
                if symbol.is_referenced():
                    reads.add(symbol.get_name())
                if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace():
                    binds.add(symbol.get_name())
    return reads, binds


def class_locals(table: symtable.SymbolTable) -> set[str]:
    """Names that class bodies both read and bind: the first read may find the global."""
    return {
        symbol.get_name()
        for scope in walk(table)
        if scope.get_type() == "class"
        for symbol in scope.get_symbols()
        if symbol.is_referenced() and symbol.is_local()
    }


def read_otherwise(source: str) -> set[str]:
    """Names that are read without a plain load: by `+=`, by `global`, by `globals()['x']`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.AugAssign(target=ast.Name(id=name)):
                found.add(name)
            case ast.Global(names=names):
                found.update(names)
            case ast.Subscript(
                value=ast.Call(func=ast.Name(id="globals")), slice=ast.Constant(value=str(name))
            ):
                found.add(name)
    return found


def declared(source: str) -> set[str]:
    """Names that are declared without a value."""
    return {
        node.target.id
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.AnnAssign) and not node.value and isinstance(node.target, ast.Name)
    }


def oracle(source: str, name: str) -> tuple[Names, dict[str, Names]]:
    """What CPython says of a file, and of each function at its top level that is defined once."""
    table = symtable.symtable(source, name, "exec")
    functions: dict[str, Names] = {}
    seen: set[str] = set()
    for child in table.get_children():
        if child.get_name() in seen:
            functions.pop(child.get_name(), None)
        elif child.get_type() == "function" and child.get_name() not in ("lambda", "genexpr"):
            functions[child.get_name()] = names_of(child, False)
        seen.add(child.get_name())
    return names_of(table, True), functions


def has_scope_called_top(source: str) -> bool:
    """What symtable.py of CPython 3.11 gets wrong."""
    table = symtable.symtable(source, "file", "exec")
    return any(scope.get_name() == "top" for child in table.get_children() for scope in walk(child))


class NoLocalAnnotations(ast.NodeTransformer):
    """Takes the annotations of local variables out."""

    depth = 0

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """A scope whose variables are local."""
        self.depth += 1
        self.generic_visit(node)
        self.depth -= 1
        return node

    visit_AsyncFunctionDef = visit_FunctionDef  # type: ignore[assignment]

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """Annotations of a class are evaluated, wherever it stands."""
        depth, self.depth = self.depth, 0
        self.generic_visit(node)
        self.depth = depth
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        """`x: T = v` without its `T`."""
        self.generic_visit(node)
        if self.depth and isinstance(node.target, ast.Name):
            node.annotation = ast.Constant(None)
        return node


def without_local_annotations(source: str) -> str:
    """The same code without what is never evaluated."""
    return ast.unparse(NoLocalAnnotations().visit(ast.parse(source)))


def differences(source: str, name: str, judged: str | None = None) -> tuple[int, list[str]]:
    """How many scopes were compared, and what differs. `judged`: what the judge reads instead."""
    (reads, binds), functions = oracle(judged or source, name)
    ours: dict[str, Any] = json.loads(_native.analyze_cell(source))
    if ours["parse_errors"]:
        return 1, [f"{name}: we see a syntax error: {ours['parse_errors'][0]}"]
    found = []
    writes = set(ours["writes"]) | set(ours["deletes"])
    for function in ours["functions"].values():
        writes |= set(function["writes"])
    may_read = set(ours["deletes"]) | class_locals(symtable.symtable(source, name, "exec"))
    may_read |= read_otherwise(source)

    def compare(what: str, expected: set[str], given: set[str]) -> None:
        if expected != given:
            missing, extra = sorted(expected - given), sorted(given - expected)
            found.append(f"{name}: {what}: missing {missing}, extra {extra}")

    compare("reads", reads, set(ours["loads"]) - (may_read - reads))
    compare("binds", binds - (declared(source) - writes), writes)
    for function, (function_reads, function_binds) in functions.items():
        own = ours["functions"].get(function)
        if own is not None:
            own_reads = set(own["reads"]) - (may_read - function_reads)
            compare(f"{function}: reads", function_reads, own_reads)
            compare(f"{function}: binds", function_binds, set(own["writes"]))
    return 1 + len(functions), found


def files(folders: list[Path]) -> list[Path]:
    """All Python files below."""
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def main() -> int:
    """Compare, and say what differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--files", type=int, help="a fixed sample of this many")
    parser.add_argument("--show", type=int, default=20)
    arguments = parser.parse_args()
    if sys.version_info[:2] != (3, 11):
        print("CPython 3.11 is the judge: later ones leave out comprehensions")
        return 2
    paths = sysconfig.get_paths()
    chosen = files(arguments.folders or [Path(paths["stdlib"]), Path(paths["purelib"])])
    if arguments.files:
        chosen = sorted(random.Random(11).sample(chosen, min(arguments.files, len(chosen))))
    warnings.simplefilter("ignore")
    n_files = n_scopes = n_refused = n_allowed = 0
    found: list[str] = []
    for path in chosen:
        try:
            source = path.read_bytes().decode("utf-8")
            compile(source, str(path), "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            n_refused += 1
            continue
        n_files += 1
        more, wrong = differences(source, str(path))
        n_scopes += more
        if wrong:
            if has_scope_called_top(source) or "nested too deeply" in wrong[0]:
                n_allowed += 1
                continue
            _, wrong = differences(source, str(path), without_local_annotations(source))
            n_allowed += not wrong
        found += wrong
    for line in found[: arguments.show]:
        print(line)
    print(
        f"{n_files} files, {n_scopes} scopes, {len(found)} differ"
        f" ({n_refused} files that CPython refuses, {n_allowed} where differences are explained)"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

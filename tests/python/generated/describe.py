"""The state of a notebook in words that know nothing of NBRewind: content, and who shares what with whom.

Runs inside the kernel. Every mutable object gets a number when it is met first (names in alphabetical order), so that
two descriptions are equal exactly when contents and sharing are. Nothing is called that could change state.
"""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import fractions
import functools
import hashlib
import importlib
import json
import os
import pathlib
import random
import re
import sys
import types
import weakref
from typing import Any

MANAGED = re.compile(r"In|Out|exit|quit|get_ipython|open|_dh|_ih|_oh|_+|_i{1,3}|_i?\d+|__\w+__")
_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_PLACES = re.compile(r"\S*ipykernel_\d+/\d+")
_ATOMS = (
    type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented), range, decimal.Decimal,
    fractions.Fraction, datetime.date, datetime.timedelta, datetime.time, pathlib.PurePath, re.Pattern,
)  # fmt: skip
_NOISE = frozenset(
    {
        "__dict__", "__weakref__", "__module__", "__slotnames__", "__static_attributes__", "__firstlineno__",
        "_abc_impl", "__orig_bases__", "__annotations_cache__",
    }
)  # fmt: skip


def masked(text: str) -> str:
    """The text without addresses, colours and the places of temporary files."""
    return _PLACES.sub("ipykernel", _COLOUR.sub("", _ADDRESS.sub("0x", text)))


def user_names(namespace: dict[str, Any]) -> list[str]:
    """The names of the user's program."""
    return sorted(name for name in namespace if MANAGED.fullmatch(name) is None)


def _bounds(array: Any) -> tuple[int, int]:
    """Where an array's items lie, in numpy 1 and 2."""
    import numpy as np

    low, high = getattr(np.lib, "array_utils", np).byte_bounds(array)
    return low, high


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


class Describer:
    """One description; `roots` are the names it begins with."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        self.namespace = namespace
        self.numbers: dict[int, int] = {}
        self.kept: list[Any] = []
        # Memory of arrays and frames, in the order in which they are met: (what, first byte, one past the last).
        self.memory: list[tuple[str, int, int]] = []
        # Names that functions on the way read when they are called.
        self.reads: set[str] = set()

    def node(self, obj: Any) -> Any:
        """The description of one object."""
        if isinstance(obj, _ATOMS) and type(obj).__module__ != "__main__":
            if isinstance(obj, enum.Enum):
                return ["member", self.node(type(obj)), obj.name]
            text = repr(obj)
            return [type(obj).__name__, text if len(text) < 200 else _digest(text.encode())]
        if isinstance(obj, tuple) and type(obj) is tuple:
            return ["tuple", [self.node(item) for item in obj]]
        if isinstance(obj, frozenset):
            return ["frozenset", sorted(json.dumps(self.node(item)) for item in obj)]
        if isinstance(obj, enum.Enum):
            return ["member", self.node(type(obj)), obj.name]
        known = self._importable(obj)
        if known is not None:
            return known
        if type(obj).__module__ == "numpy.dtypes":
            return ["dtype", repr(getattr(obj, "descr", obj))]
        if isinstance(obj, types.MethodType):
            # Made anew at every look: only what it binds counts.
            return ["method", self.node(obj.__func__), self.node(obj.__self__)]
        number = self.numbers.get(id(obj))
        if number is not None:
            return ["same", number]
        self.numbers[id(obj)] = number = len(self.numbers)
        self.kept.append(obj)
        return [number, *self._content(obj)]

    def _importable(self, obj: Any) -> Any:
        if isinstance(obj, types.ModuleType):
            return None if self._is_own(obj) else ["module", obj.__name__]
        if isinstance(obj, type | types.FunctionType | types.BuiltinFunctionType):
            owner = getattr(obj, "__self__", None)
            if owner is not None and not isinstance(owner, types.ModuleType):
                return None
            module = getattr(obj, "__module__", None) or "builtins"
            found: Any = sys.modules.get(module)
            if found is None and module.partition(".")[0] == "numpy":
                # Numpy loads some of its parts when they are asked for.
                found = importlib.import_module(module)
            if module == "__main__" or found is None or self._is_own(found):
                return None
            for part in obj.__qualname__.split("."):
                found = getattr(found, part, None)
            return ["import", module, obj.__qualname__] if found is obj else None
        return None

    def _is_own(self, module: types.ModuleType) -> bool:
        return module.__name__ in {"helpers", "extra"}

    def _pairs(self, items: Any) -> list[Any]:
        return [[self.node(key), self.node(value)] for key, value in items]

    def _content(self, obj: Any) -> list[Any]:
        kind = type(obj)
        special = getattr(self, f"_{kind.__module__.partition('.')[0]}_{kind.__name__}", None)
        if (
            special is None
            and kind.__module__.startswith("pandas")
            and kind.__name__.endswith("Index")
        ):
            special = self._pandas_Index
        if special is not None:
            found: list[Any] = special(obj)
            return found
        if isinstance(obj, enum.EnumMeta):
            return ["enum", obj.__name__, [[one.name, self.node(one.value)] for one in obj]]
        if isinstance(obj, type):
            return self._class(obj)
        if isinstance(obj, types.ModuleType):
            public = {key: value for key, value in vars(obj).items() if not key.startswith("__")}
            return ["own module", obj.__name__, self._pairs(sorted(public.items()))]
        return self._instance(obj)

    def _class(self, cls: type) -> list[Any]:
        body = {key: value for key, value in vars(cls).items() if key not in _NOISE}
        bases = [self.node(base) for base in cls.__bases__]
        return ["class", cls.__qualname__, bases, self._pairs(sorted(body.items()))]

    def _instance(self, obj: Any) -> list[Any]:
        found: list[Any] = [type(obj).__name__, self.node(type(obj))]
        if isinstance(obj, dict):
            factory = getattr(obj, "default_factory", None)
            found += [self._pairs(dict.items(obj)), self.node(factory)]
        elif isinstance(obj, list | collections.deque):
            found += [[self.node(item) for item in obj], getattr(obj, "maxlen", None)]
        elif isinstance(obj, set):
            found.append(sorted(json.dumps(self.node(item)) for item in obj))
        elif isinstance(obj, bytearray):
            found.append(bytes(obj).hex())
        elif isinstance(obj, tuple):
            found.append([self.node(item) for item in obj])
        elif isinstance(obj, BaseException):
            found.append(self.node(obj.args))
        if hasattr(obj, "__dict__"):
            found.append(self._pairs(vars(obj).items()))
        slots = [
            name
            for base in type(obj).__mro__
            for name in vars(base).get("__slots__", ())
            if name not in {"__dict__", "__weakref__"} and hasattr(obj, name)
        ]
        if slots and type(obj).__module__ == "__main__":
            found.append([[name, self.node(getattr(obj, name))] for name in slots])
        if len(found) == 2 and type(obj).__module__ not in {"__main__", "helpers"}:
            found.append(self._reduced(obj))
        return found

    def _reduced(self, obj: Any) -> Any:
        try:
            reduced = obj.__reduce_ex__(2)
        except Exception:
            return "opaque"
        return reduced if isinstance(reduced, str) else [self.node(part) for part in reduced[1:]]

    # --- Functions and what belongs to them

    def _code(self, code: types.CodeType) -> list[Any]:
        consts = [
            self._code(const) if isinstance(const, types.CodeType) else self.node(const)
            for const in code.co_consts
        ]
        self.reads.update(code.co_names)
        names = [code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars]
        return [code.co_name, _digest(code.co_code), consts, names, code.co_argcount, code.co_flags]

    def _builtins_function(self, func: types.FunctionType) -> list[Any]:
        return [
            "function",
            func.__qualname__,
            func.__doc__,
            self._code(func.__code__),
            self.node(func.__defaults__),
            self.node(func.__kwdefaults__),
            [self.node(cell) for cell in func.__closure__ or ()],
            self._pairs(vars(func).items()),
            func.__globals__ is self.namespace,
        ]

    def _builtins_code(self, code: types.CodeType) -> list[Any]:
        return ["code", self._code(code)]

    def _builtins_cell(self, cell: types.CellType) -> list[Any]:
        try:
            return ["cell", self.node(cell.cell_contents)]
        except ValueError:
            return ["empty cell"]

    def _builtins_builtin_function_or_method(self, func: Any) -> list[Any]:
        return ["bound", func.__name__, self.node(func.__self__)]

    def _builtins_property(self, one: property) -> list[Any]:
        return ["property", self.node(one.fget), self.node(one.fset), one.__doc__]

    def _builtins_staticmethod(self, one: Any) -> list[Any]:
        return [type(one).__name__, self.node(one.__func__)]

    _builtins_classmethod = _builtins_staticmethod

    def _builtins_member_descriptor(self, one: Any) -> list[Any]:
        return ["member descriptor", one.__name__]

    _builtins_getset_descriptor = _builtins_member_descriptor

    def _functools__lru_cache_wrapper(self, one: Any) -> list[Any]:
        shown = [list(one.cache_info()), sorted(one.cache_parameters().items())]
        return ["lru_cache", self.node(one.__wrapped__), shown]

    def _functools_partial(self, one: functools.partial[Any]) -> list[Any]:
        return [
            "partial",
            self.node(one.func),
            self.node(one.args),
            self._pairs(one.keywords.items()),
        ]

    def _builtins_generator(self, one: Any) -> list[Any]:
        frame = one.gi_frame
        if frame is None:
            return ["ended generator", one.__qualname__]
        return [
            "generator",
            one.__qualname__,
            frame.f_lasti,
            self._pairs(sorted(frame.f_locals.items())),
        ]

    def _builtins_memoryview(self, one: memoryview) -> list[Any]:
        return ["memoryview", bytes(one).hex(), one.readonly, self.node(one.obj)]

    def _weakref_ReferenceType(self, one: weakref.ref[Any]) -> list[Any]:
        return ["weakref", self.node(one())]

    def _builtins_slice(self, one: slice) -> list[Any]:
        return ["slice", self.node((one.start, one.stop, one.step))]

    def _decimal_Context(self, one: decimal.Context) -> list[Any]:
        return ["decimal context", repr(one)]

    # --- numpy and pandas

    def _numpy_ndarray(self, array: Any) -> list[Any]:
        import numpy as np

        low, high = _bounds(array)
        self.memory.append(("array", low, high))
        values = (
            [self.node(item) for item in array.ravel(order="K").tolist()]
            if array.dtype.hasobject
            else _digest(np.ascontiguousarray(array).tobytes())
        )
        flags = (array.flags.writeable, array.flags.c_contiguous, array.flags.f_contiguous)
        return ["array", str(array.dtype), array.shape, flags, values]

    def _numpy_void(self, row: Any) -> list[Any]:
        import numpy as np

        if row.base is not None:
            first = np.frombuffer(row, dtype=np.uint8).__array_interface__["data"][0]
            self.memory.append(("array", first, first + row.nbytes))
        return ["row", type(row).__name__, repr(row.dtype.descr), self.node(row.item())]

    _numpy_record = _numpy_void

    def _numpy_MaskedArray(self, array: Any) -> list[Any]:
        return ["masked", str(array.dtype), array.tolist(), repr(array.fill_value)]

    def _numpy_Generator(self, one: Any) -> list[Any]:
        return ["rng", repr(one.bit_generator.state)]

    def _columns(self, columns: list[Any], index: Any) -> list[Any]:
        import numpy as np

        found = []
        for column in columns:
            values = column._values
            if isinstance(values, np.ndarray) and not values.dtype.hasobject:
                self.memory.append(("frame", *_bounds(values)))
            found.append([str(column.dtype), [self.node(item) for item in column.tolist()]])
        return [found, repr(index), str(index.dtype), list(map(str, index.names))]

    def _pandas_DataFrame(self, frame: Any) -> list[Any]:
        columns = [frame.iloc[:, at] for at in range(frame.shape[1])]
        shown = [repr(list(frame.columns)), self._pairs(frame.attrs.items())]
        return ["frame", shown, self._columns(columns, frame.index)]

    def _pandas_Index(self, index: Any) -> list[Any]:
        # Not by what it keeps once it was asked.
        items = _digest(repr(index.tolist()).encode())
        facts = [str(index.dtype), list(map(str, index.names)), str(getattr(index, "freq", None))]
        return ["index", type(index).__name__, items, *facts]

    def _pandas_Series(self, series: Any) -> list[Any]:
        return ["series", repr(series.name), self._columns([series], series.index)]

    def sharing(self) -> list[list[int]]:
        """Pairs of arrays, or of an array and a frame, that have memory in common, and how far apart they begin."""
        return [
            [one, other, low - self.memory[other][1]]
            for one, (what, low, high) in enumerate(self.memory)
            for other in range(one)
            if (what == "array" or self.memory[other][0] == "array")
            and low < self.memory[other][2]
            and self.memory[other][1] < high
        ]


def names_in_use(namespace: dict[str, Any], names: set[str]) -> set[str]:
    """These names, and those that functions among their values read when they are called, and so on."""
    seen: set[str] = set()
    todo = {name for name in names if name in namespace}
    while todo:
        name = todo.pop()
        seen.add(name)
        describer = Describer(namespace)
        describer.node(namespace[name])
        found = {one for one in describer.reads if one in namespace} - seen
        todo |= {one for one in found if MANAGED.fullmatch(one) is None}
    return seen


def words_of(namespace: dict[str, Any], names: set[str]) -> set[str]:
    """Names and attributes that functions among these values use."""
    describer = Describer(namespace)
    for name in sorted(names):
        describer.node(namespace[name])
    return describer.reads


def describe(namespace: dict[str, Any], names: list[str] | None = None) -> dict[str, Any]:
    """Every name's value (or those of `names`), and what they share."""
    describer = Describer(namespace)
    chosen = user_names(namespace) if names is None else names
    found = {name: describer.node(namespace[name]) for name in chosen if name in namespace}
    return json.loads(masked(json.dumps([found, describer.sharing()])))


def settings() -> dict[str, Any]:
    """What cells set in the process, as far as this module looks."""
    import logging
    import math
    import warnings

    found: dict[str, Any] = {
        "environment": {key: value for key, value in os.environ.items() if key.startswith("NB_")},
        "working directory": os.path.basename(os.getcwd()),
        # Without the flags that arithmetic raises.
        "decimal": re.sub(r"flags=\[.*?\]", "", repr(decimal.getcontext())),
        "random": _digest(repr(random.getstate()).encode()),
        "recursion": sys.getrecursionlimit(),
        # Without those that numpy makes when it is imported.
        "warnings": [
            repr(one[:3])
            for one in warnings.filters
            if "size changed" not in repr(one[1]) and "numpy" not in one[2].__module__
        ],
        "logging": logging.getLogger("mine").level,
        "math": getattr(math, "kk", None),
        "module path": [entry for entry in sys.path if entry.startswith("lib")],
    }
    np, pd = sys.modules.get("numpy"), sys.modules.get("pandas")
    if np is not None:
        found["numpy random"] = _digest(repr(np.random.get_state()).encode())
        found["numpy print"] = repr(np.get_printoptions())
        found["numpy errors"] = repr(np.geterr())
    if pd is not None:
        found["pandas"] = [pd.get_option("display.precision"), pd.get_option("display.max_rows")]
    return found

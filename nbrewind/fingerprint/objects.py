"""Facts for Python's own objects: functions, classes, modules, handles, and whatever pickle can describe."""

from __future__ import annotations

import _abc  # type: ignore[import-not-found]
import builtins
import collections
import copyreg
import decimal
import dis
import enum
import functools
import gc
import io
import pathlib
import re
import sys
import types
from typing import Any

from nbrewind.fingerprint.code import DYNAMIC, IDENTIFIER, TEXTS, code_names
from nbrewind.fingerprint.library import (
    is_importable,
    is_library_module,
    module_version,
    place_of_function,
)
from nbrewind.fingerprint.walker import LIBRARY_OBJECT, OWNER, Context, Fact, register
from nbrewind.hush import standard_stream


def _import_fact(module: str, qualname: str) -> Fact:
    marks = (*_pickling_marks(module), *_seeding_marks(qualname))
    return Fact("import", (module, qualname, module_version(module)), marks=marks)


def _pickling_marks(module: str) -> tuple[str, ...]:
    top = module.partition(".")[0].lstrip("_")
    return ("unpickles",) if top in {*_UNPICKLING, "cloudpickle"} else ()


def _seeding_marks(name: str) -> tuple[str, ...]:
    return ("seeds",) if name.rpartition(".")[2] in _SET_STATE else ()


_CLOCKS = frozenset({"time", "random", "uuid", "secrets"})
# Parts of names that speak of setting a generator's state.
_SEEDING = ("seed", "state", "generator")
_SET_STATE = frozenset({"manual_seed", "seed", "set_state", "setstate"})
# And of loading pickles, which name classes and functions of the notebook.
_UNPICKLING = ("pickle", "joblib", "dill", "shelve")
# Attributes through which a function learns the working directory.
_PLACES = frozenset({"getcwd", "cwd", "abspath", "resolve", "absolute", "realpath", "__file__"})


@register("builtins:code")
def _code_fact(code: types.CodeType, ctx: Context) -> Fact:
    return Fact(
        "code",
        (
            code.co_code,
            code.co_exceptiontable,
            (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags),
            code.co_names,
            code.co_varnames,
            code.co_freevars,
            code.co_cellvars,
            code.co_name,
            code.co_consts,
        ),
    )


class _Absent:
    """Stands for a global that is not there."""


def _module_marks(module: str | None, is_own: bool) -> list[str]:
    """The mark by which a cell's inputs learn that an edited `helpers.py` concerns them."""
    if is_own or not module or module == "__main__" or is_library_module(module):
        return []
    if module.startswith("namedtuple_") and module not in sys.modules:
        # What a named tuple's own methods say they are from.
        return []
    return [f"module: {module}"]


def _label_in_module(obj: Any) -> str | None:
    """What one of the user's modules is told by, beside what the notebook has of it; None for all else."""
    module = obj.__module__
    return f"{module}.{obj.__qualname__}" if _module_marks(module, is_own=False) else None


# Every function that `functools.singledispatch` returns has this code.
_DISPATCHES = vars(functools)["singledispatch"](lambda value: value).__code__
_OF_DISPATCHER = frozenset({"register", "dispatch", "registry", "_clear_cache", "__wrapped__"})


def generic_parts(
    func: types.FunctionType,
) -> tuple[list[tuple[type, Any]], dict[str, Any]] | None:
    """Of a generic function: its implementations by class, the first the default, and attributes of the user's.

    None for all other functions. To which one it has dispatched before is only remembered, and no content.
    """
    if func.__code__ is not _DISPATCHES:
        return None
    own = {name: value for name, value in vars(func).items() if name not in _OF_DISPATCHER}
    return list(func.registry.items()), own  # type: ignore[attr-defined]


@register("builtins:function")
def _function_fact(func: types.FunctionType, ctx: Context) -> Fact:
    if is_importable(func):
        return _import_fact(func.__module__, func.__qualname__)
    place = place_of_function(func)
    if place is not None:
        return _import_fact(*place)
    write = written_through(func)
    if write is not None:
        return ctx.facts(write)
    generic = generic_parts(func)
    if generic is not None:
        known_as = (func.__name__, func.__qualname__, func.__doc__)
        return Fact("singledispatch", (*generic, *known_as), mutable=True)
    names = code_names(func.__code__)
    # A function of the notebook finds its globals in the live namespace when it is called; any other function carries
    # its module's globals with it.
    late_bound = func.__globals__ is ctx.namespace and not ctx.follow_globals
    scope = func.__globals__
    marks = _module_marks(func.__module__, late_bound or ctx.follow_globals)
    if not ctx.follow_globals:
        # An import inside the body happens when the function is called.
        marks += [f"module: {name}" for name in names.imports if not is_library_module(name)]
    if names.attributes & _PLACES:
        marks.append("reads: cwd")
    if names.attributes & TEXTS:
        marks.append("reads: source")
    named = [name.lower() for name in (*names.attributes, *names.global_names, *names.imports)]
    if any(part in name for name in named for part in _SEEDING):
        marks.append("seeds")
    if any(part in name for name in named for part in _UNPICKLING):
        marks.append("unpickles")
    if "import_module" in named:
        marks.append("imports by name")
    opaque = None
    reaching = None if ctx.follow_globals else names.reaching()
    if reaching is not None:
        marks.append(f"unknown: {func.__qualname__} uses {reaching}")
    followed: list[Any] = []
    for name in names.global_names:
        if name == "globals" and late_bound and names.names_what_it_asks:
            # The strings are among the identifiers, and count as names that it reads.
            continue
        if name in DYNAMIC and (name not in scope or name == "get_ipython"):
            if ctx.follow_globals:
                opaque = f"{func.__qualname__} calls {name}()"
            marks.append(f"unknown: {func.__qualname__} calls {name}()")
        if late_bound:
            continue
        value = scope.get(name, _Absent)
        if value is _Absent and hasattr(builtins, name):
            continue
        if isinstance(value, types.ModuleType) and value.__name__ in _CLOCKS:
            marks.append(f"nondeterministic: {func.__qualname__} uses {value.__name__}")
        followed.append((name, None if value is _Absent else (value,)))
    doc = func.__doc__
    annotations, annotated = _annotations_of(func)
    parts = (
        func.__code__,
        func.__name__,
        func.__qualname__,
        doc,
        func.__defaults__,
        tuple(sorted(func.__kwdefaults__.items())) if func.__kwdefaults__ else None,
        func.__closure__,
        tuple(sorted(func.__dict__.items(), key=lambda item: item[0])),
        tuple(followed),
        annotations,
    )
    label = func.__name__ if ctx.follow_globals else _label_in_module(func)
    if late_bound:
        return Fact(
            "function",
            parts,
            mutable=True,
            refs=names.global_names,
            idents=names.idents | annotated,
            marks=marks,
        )
    return Fact(
        "function",
        parts,
        mutable=True,
        label=label,
        idents=names.idents | annotated,
        marks=marks,
        opaque=opaque,
    )


_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def _annotations_of(func: types.FunctionType) -> tuple[tuple[tuple[bytes, bytes], ...], set[str]]:
    """A function's annotations as text, and what they name: they tell of classes, and hold none."""
    try:
        annotations = func.__annotations__
    except Exception:  # noqa: BLE001 - they may be evaluated only now
        annotations = {"": None}
    found = []
    named: set[str] = set()
    for name, value in annotations.items():
        if isinstance(value, str):
            named.update(IDENTIFIER.findall(value))
            text = f"text {value}"
        elif isinstance(value, type) and not hasattr(value, "__origin__"):
            text = f"{value.__module__}.{value.__qualname__}"
        else:
            try:
                text = _ADDRESS.sub("", repr(value))
            except Exception:  # noqa: BLE001 - anything may stand there
                text = type(value).__qualname__
        # As bytes: no name of a file.
        found.append((name.encode(), text.encode("utf-8", "surrogateescape")))
    return tuple(found), named


@register("builtins:cell")
def _cell_fact(cell: types.CellType, ctx: Context) -> Fact:
    try:
        return Fact("cell", (cell.cell_contents,), mutable=True)
    except ValueError:
        return Fact("empty cell", mutable=True)


@register("builtins:method")
def _method_fact(method: types.MethodType, ctx: Context) -> Fact:
    name = getattr(method, "__name__", "")
    marks = ["seeds"] if any(part in name.lower() for part in _SEEDING) else []
    return Fact("method", (method.__func__, method.__self__), marks=marks)


@register("builtins:builtin_function_or_method")
def _builtin_fact(func: types.BuiltinFunctionType, ctx: Context) -> Fact:
    owner = func.__self__
    marks = ["seeds"] if any(part in func.__name__.lower() for part in _SEEDING) else []
    if owner is None or isinstance(owner, types.ModuleType):
        module = func.__module__ or getattr(owner, "__name__", "builtins")
        if is_library_module(module) or module == "builtins":
            return _import_fact(module, func.__qualname__)
        return Fact(
            "opaque", opaque=f"compiled function {module}.{func.__qualname__} has no version"
        )
    return Fact("bound builtin", (func.__name__, owner), marks=marks)


@register(
    "builtins:method_descriptor",
    "builtins:wrapper_descriptor",
    "builtins:getset_descriptor",
    "builtins:member_descriptor",
    "builtins:classmethod_descriptor",
)
def _descriptor_fact(obj: Any, ctx: Context) -> Fact:
    return Fact(
        "descriptor", (obj.__objclass__.__module__, obj.__objclass__.__qualname__, obj.__name__)
    )


@register("builtins:method-wrapper")
def _method_wrapper_fact(obj: Any, ctx: Context) -> Fact:
    return Fact("method wrapper", (obj.__name__, obj.__self__))


@register("builtins:staticmethod", "builtins:classmethod")
def _wrapped_fact(obj: Any, ctx: Context) -> Fact:
    return Fact(type(obj).__name__, (obj.__func__,))


@register("builtins:property")
def _property_fact(obj: property, ctx: Context) -> Fact:
    return Fact("property", (obj.fget, obj.fset, obj.fdel, obj.__doc__))


@register("functools:cached_property")
def _cached_property_fact(obj: Any, ctx: Context) -> Fact:
    return Fact("cached_property", (obj.func, obj.attrname))


@register("functools:_lru_cache_wrapper")
def _lru_cache_fact(obj: Any, ctx: Context) -> Fact:
    if is_importable(obj):
        return _import_fact(obj.__module__, obj.__qualname__)
    # What is in the cache is part of what it does, and cannot be stored.
    kept = (tuple(obj.cache_info()), cached_by(obj))
    return Fact(
        "lru_cache",
        (obj.__wrapped__, tuple(sorted(obj.cache_parameters().items())), kept),
        mutable=True,
    )


def cached_by(cached: Any) -> tuple[Any, ...]:
    """Keys and results, which only the collector shows: a table, or one by one in the order of their use."""
    if not cached.cache_info().currsize:
        return ()
    own = {
        id(cached.__wrapped__),
        id(vars(cached)),
        id(type(cached)),
        id(type(cached.cache_info())),
    }
    return tuple(
        one for one in gc.get_referents(cached) if id(one) not in own and not _is_link(one)
    )


def _is_link(one: Any) -> bool:
    """True for the parts of which the table itself is made."""
    if type(one) is object or (
        isinstance(one, type) and one.__name__ in {"CacheInfo", "_CacheInfo"}
    ):
        return True
    if type(one) is dict:
        one = next(iter(one.values()), None)
    kind = one if isinstance(one, type) else type(one)
    return kind.__name__ == "_lru_list_elem" and kind.__module__ == "functools"


@register("functools:partial")
def _partial_fact(obj: functools.partial[Any], ctx: Context) -> Fact:
    return Fact("partial", (type(obj), obj.func, obj.args, obj.keywords, vars(obj)), mutable=True)


def namespace_fact() -> Fact:
    """Stands for the namespace itself, through which code can reach every name."""
    text = "it is the notebook's namespace"
    return Fact("opaque", opaque=text, mutable=True, marks=[f"unknown: {text}"])


@register("IPython.core.interactiveshell:InteractiveShell")
def _shell_fact(shell: Any, ctx: Context) -> Fact:
    # Through it code can reach every name, and shares none with who else has it.
    text = "it is the shell of IPython"
    return Fact("opaque", opaque=text, marks=[f"unknown: {text}"])


@register("comm.base_comm:BaseComm", "ipykernel.kernelbase:Kernel")
def _live_fact(obj: Any, ctx: Context) -> Fact:
    # What a front end says may run any code. All widgets have the kernel, which is not theirs, and share nothing by it.
    text = "it speaks with a front end"
    return Fact("opaque", opaque=text, marks=[f"unknown: {text}"])


@register("builtins:module")
def _module_fact(module: types.ModuleType, ctx: Context) -> Fact:
    name = module.__name__
    if vars(module) is ctx.namespace:
        return namespace_fact()
    if is_library_module(name):
        return Fact("module", (name, module_version(name)), marks=_pickling_marks(name))
    return Fact(
        "user module",
        (
            name,
            tuple(
                (key, value)
                for key, value in sorted(vars(module).items())
                if not (key.startswith("__") and key.endswith("__")) or key == "__version__"
            ),
        ),
        mutable=True,
        label=name,
        marks=_module_marks(name, ctx.follow_globals),
    )


# Py_TPFLAGS_HEAPTYPE: classes made at run time, which no version stands for.
_HEAP_TYPE = 1 << 9

_CLASS_NOISE = frozenset(
    {
        "__dict__",
        "__weakref__",
        "__module__",
        "__firstlineno__",
        "__static_attributes__",
        "__slotnames__",
        "_abc_impl",
        "__orig_bases__",
    }
)


@register("builtins:type")
def _class_fact(cls: type, ctx: Context) -> Fact:
    if (cls.__module__ == "builtins" and not cls.__flags__ & _HEAP_TYPE) or is_importable(cls):
        return _import_fact(cls.__module__, cls.__qualname__)
    if is_library_module(cls.__module__):
        # Made at run time inside a library (namedtuple fields, dynamic subclasses): its dictionary says what it is.
        pass
    body = tuple(
        (key, value) for key, value in sorted(vars(cls).items()) if key not in _CLASS_NOISE
    )
    label = cls.__name__ if ctx.follow_globals else _label_in_module(cls)
    marks = _module_marks(cls.__module__, ctx.follow_globals)
    if "__del__" in vars(cls):
        marks.append(FINALIZES)
    parts: tuple[Any, ...] = (cls.__name__, cls.__qualname__, type(cls), cls.__bases__, body)
    if "_abc_impl" in vars(cls):
        parts += (_registered_with(cls),)
    return Fact("class", parts, mutable=True, label=label, marks=marks)


# Of values whose end runs code or writes a file: a run that rebinds such a name reads it.
FINALIZES = "finalizes"


def _registered_with(cls: type) -> tuple[Any, ...]:
    """Classes that were registered with an abstract one, in order of name."""
    registry = _abc._get_dump(cls)[0]
    found = [one for one in (ref() for ref in registry) if one is not None]
    return tuple(sorted(found, key=lambda one: (one.__module__, one.__qualname__)))


@register("enum:Enum")
def _enum_fact(obj: enum.Enum, ctx: Context) -> Fact:
    return Fact("enum member", (type(obj), obj.name))


# What the metaclass gives every member.
_MEMBER_FIELDS = frozenset({"_value_", "_name_", "__objclass__", "_sort_order_", "_inverted_"})


def _added_to(member: enum.Enum) -> tuple[tuple[str, Any], ...]:
    return tuple(
        (name, value) for name, value in sorted(vars(member).items()) if name not in _MEMBER_FIELDS
    )


# What the metaclass keeps in a class of members.
_OF_ENUM = re.compile(r"_[a-z0-9][a-z0-9_]*_|__new_member__|__new__|__doc__|__annotations__")
_DERIVED_BY_ENUM = (getattr(enum, "property", types.DynamicClassAttribute),)


@register("enum:EnumType", "enum:EnumMeta")
def _enum_class_fact(cls: Any, ctx: Context) -> Fact:
    if is_importable(cls):
        return _import_fact(cls.__module__, cls.__qualname__)
    members = tuple(
        (name, member.name, member.value, _added_to(member))
        for name, member in cls.__members__.items()
    )
    body = tuple(
        (key, value)
        for key, value in sorted(vars(cls).items())
        if key not in _CLASS_NOISE
        and key not in cls.__members__
        and not _OF_ENUM.fullmatch(key)
        and not isinstance(value, _DERIVED_BY_ENUM)
    )
    return Fact(
        "enum class", (cls.__name__, cls.__qualname__, cls.__bases__, members, body), mutable=True
    )


# Plain values.


@register("builtins:ellipsis", "builtins:NotImplementedType", "builtins:range", "builtins:slice")
def _plain_fact(obj: Any, ctx: Context) -> Fact:
    return Fact(
        type(obj).__name__,
        (repr(obj),) if not isinstance(obj, slice) else (obj.start, obj.stop, obj.step),
    )


def mapping_of(view: Any) -> dict[Any, Any] | None:
    """The dict behind a mapping proxy or a dict's view. None when it is no plain dict."""
    held = [one for one in gc.get_referents(view) if type(one) is dict]
    return held[0] if len(held) == 1 else None


@register(
    "builtins:mappingproxy", "builtins:dict_keys", "builtins:dict_values", "builtins:dict_items"
)
def _view_fact(view: Any, ctx: Context) -> Fact:
    mapping = mapping_of(view)
    if mapping is None:
        return Fact("opaque", opaque=f"{type(view).__name__} of something that is no dict")
    return Fact("view of a dict", (type(view).__name__, mapping))


@register("re:Match")
def _match_fact(match: Any, ctx: Context) -> Fact:
    return Fact("match", (match.re, match.string, match.pos, match.endpos, match.regs))


@register("builtins:weakref", "weakref:ReferenceType")
def _weakref_fact(ref: Any, ctx: Context) -> Fact:
    if ref.__callback__ is not None:
        return Fact("opaque", opaque="a weak reference with a callback", mutable=True)
    return Fact("weak reference", (ref(),), mutable=True)


@register("weakref:WeakValueDictionary", "weakref:WeakKeyDictionary")
def _weak_mapping_fact(obj: Any, ctx: Context) -> Fact:
    return Fact("weak mapping", (type(obj), tuple(obj.items())), mutable=True)


@register("weakref:WeakSet", "_weakrefset:WeakSet")
def _weak_set_fact(obj: Any, ctx: Context) -> Fact:
    return Fact("weak set", tuple(obj), mutable=True, unordered=True)


# Objects that libraries keep and hand to everyone: the very same in every process, and joining no names.
_HELD_TYPES = frozenset(
    {
        "builtins:object", "matplotlib.path:Path", "jinja2.environment:Template",
        "_thread:lock", "_thread:RLock",
    }
)  # fmt: skip
_held: dict[int, tuple[Any, str, str]] = {}
# Objects of a library's own classes that its modules keep (`matplotlib.colormaps`), by identity: module and name.
_instances: dict[int, tuple[str, str]] = {}
# Lists, dicts and sets that libraries keep as attributes of their modules and classes, in the same way.
_containers: dict[int, tuple[str, str]] = {}
_CONTAINERS: set[type] = {
    dict, list, set, collections.OrderedDict, collections.defaultdict, collections.deque,
}  # fmt: skip
# Types that attributes of libraries have: are such objects held, classes that may hold some, containers, or instances?
_kinds_of_held: dict[type, str] = {}
# Module -> the number of its names when it was looked at.
_modules_seen: dict[str, tuple[Any, int]] = {}
_n_modules_seen = 0


# In the place of lists and dicts of which there is only one.
_PLAIN: set[type] = {list, dict}


def counts_as_plain(kind: type) -> None:
    """Objects of this class stand in the place of a plain list or dict that a library keeps."""
    _PLAIN.add(kind)
    _CONTAINERS.add(kind)


def is_plain(obj: Any) -> bool:
    """True for lists and dicts, and for what stands in the place of one."""
    return type(obj) in _PLAIN


def library_name_of(obj: Any) -> tuple[str, str] | None:
    """Module and dotted name under which a library keeps this very object. None: it is the user's own."""
    known = _held.get(id(obj))
    if known is None:
        _look_at_modules()
        known = _held.get(id(obj))
    return None if known is None or known[0] is not obj else known[1:]


def library_name_of_instance(obj: Any) -> tuple[str, str] | None:
    """Module and name under which a library keeps this instance of a class of its own; None for all others."""
    if _kinds_of_held.get(type(obj), "instance") != "instance":
        return None
    _look_at_modules()
    found = _instances.get(id(obj))
    if found is None or getattr(sys.modules.get(found[0]), found[1], None) is not obj:
        return None
    return found


def library_name_of_container(obj: Any) -> tuple[str, str] | None:
    """Module and dotted name under which a library keeps this list, dict or set; None for all others."""
    if type(obj) not in _CONTAINERS:
        return None
    _look_at_modules()
    found = _containers.get(id(obj))
    return None if found is None or _found_at(*found) is not obj else found


def _found_at(module: str, name: str) -> Any:
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        try:
            found = vars(found).get(part)
        except TypeError:
            return None
    return found


def _look_at_modules() -> None:
    """Note what the libraries keep that were loaded since."""
    global _n_modules_seen
    if len(sys.modules) == _n_modules_seen:
        return
    _n_modules_seen = len(sys.modules)
    for name, module in list(sys.modules.items()):
        attributes = vars(module) if is_library_module(name) else {}
        # Markers are there from the beginning; paths are kept on first use, by their own class.
        if _modules_seen.get(name) != (module, len(attributes)) or name == "matplotlib.path":
            _modules_seen[name] = module, len(attributes)
            _note_held(name, "", attributes)


# Of these, which object it is counts for nothing, or they are found by name already.
_VALUES = (
    int, float, complex, str, bytes, tuple, frozenset, enum.Enum, BaseException, types.FunctionType,
    types.ModuleType,
)  # fmt: skip


def _kind_of_held(kind: type) -> str:
    if f"{kind.__module__}:{kind.__qualname__}" in _HELD_TYPES:
        return "held"
    if issubclass(kind, type):
        return "class"
    if kind in _CONTAINERS:
        return "container"
    is_own = not issubclass(kind, _VALUES) and is_library_module(kind.__module__)
    return "instance" if is_own and kind.__flags__ & _HEAP_TYPE else "other"


def _note_held(module: str, prefix: str, attributes: Any) -> None:
    for name, value in list(attributes.items()):
        kind = type(value)
        what = _kinds_of_held.get(kind)
        if what is None:
            what = _kinds_of_held[kind] = _kind_of_held(kind)
        if what == "held":
            _held.setdefault(id(value), (value, module, prefix + name))
        elif what == "container" and not name.startswith("__"):
            _containers[id(value)] = module, prefix + name
        elif what == "instance" and not prefix:
            if kind.__module__.partition(".")[0] == module.partition(".")[0]:
                _instances[id(value)] = module, name
        elif what == "class" and not prefix and value.__module__ == module:
            _note_held(module, f"{name}.", vars(value))


def held_fact(obj: Any) -> Fact | None:
    """The fact of an object that a library keeps; None when it is the user's own."""
    found = library_name_of(obj)
    return None if found is None else _import_fact(*found)


# Objects in which libraries keep what providers of ambient state look after: module, and name there.
_SINGLETONS = (
    ("os", "environ"),
    ("sys", "path"),
    ("sys", "modules"),
    ("warnings", "filters"),
    ("random", "_inst"),
    ("numpy.random.mtrand", "_rand"),
    ("matplotlib", "rcParams"),
    ("pandas._config.config", "options"),
)


def singleton_name(obj: Any) -> tuple[str, str] | None:
    """Module and name of an object that a library has only one of, and that has its state elsewhere."""
    for module, name in _SINGLETONS:
        if getattr(sys.modules.get(module), name, None) is obj:
            return module, name
    return None


def singleton_fact(obj: Any) -> Fact | None:
    """The fact of such an object; None for all others."""
    found = singleton_name(obj)
    return None if found is None else Fact("the one object", found)


@register(
    "os:_Environ", "random:Random", "numpy.random.mtrand:RandomState", "matplotlib:RcParams",
    "pandas._config.config:DictWrapper",
)  # fmt: skip
def _perhaps_singleton_fact(obj: Any, ctx: Context) -> Fact:
    return singleton_fact(obj) or _reduce_fact(obj, ctx)


@register("decimal:Context")
def _decimal_context_fact(obj: Any, ctx: Context) -> Fact:
    # What the current one is set to is ambient state.
    return Fact("current decimal context") if is_current(obj) else _reduce_fact(obj, ctx)


def is_current(context: decimal.Context) -> bool:
    """True for the context in which decimal numbers are computed."""
    return context is decimal.getcontext()


@register("builtins:object")
def _bare_object_fact(obj: object, ctx: Context) -> Fact:
    if type(obj) is not object:
        return _reduce_fact(obj, ctx)
    return held_fact(obj) or Fact("object()", mutable=True)


@register("builtins:BaseException")
def _exception_fact(error: BaseException, ctx: Context) -> Fact:
    # Not by its reduction: some libraries register one that holds the traceback.
    kind = type(error)
    fields = tuple(
        (name, getattr(error, name, None))
        for base in kind.__mro__
        if not base.__flags__ & _HEAP_TYPE
        for name, member in sorted(vars(base).items())
        if isinstance(member, types.MemberDescriptorType)
    )
    parts = (kind, error.args, vars(error), slots_of(error), fields)
    return Fact("exception", parts, mutable=True)


@register("_io:StringIO", "_io:BytesIO")
def _buffer_file_fact(obj: Any, ctx: Context) -> Fact:
    return _reduce_fact(obj, ctx)


@register("re:Pattern")
def _pattern_fact(obj: re.Pattern[Any], ctx: Context) -> Fact:
    return Fact("pattern", (obj.pattern, obj.flags))


@register("builtins:memoryview")
def _memoryview_fact(obj: memoryview, ctx: Context) -> Fact:
    return Fact(
        "memoryview", (obj.format, obj.shape, obj.readonly, obj.tobytes(), obj.obj), mutable=True
    )


@register("pathlib:PurePath")
def _purepath_fact(obj: pathlib.PurePath, ctx: Context) -> Fact:
    if ctx.follow_globals:
        found = ctx.path_fact(str(obj))
        if found is not None:
            return found
    return Fact("path", (type(obj).__name__, str(obj)))


@register(
    "datetime:date", "datetime:time", "datetime:timedelta", "datetime:tzinfo", "decimal:Decimal", "fractions:Fraction",
    "uuid:UUID", "zoneinfo:ZoneInfo",
)  # fmt: skip
def _immutable_fact(obj: Any, ctx: Context) -> Fact:
    fact = _reduce_fact(obj, ctx)
    fact.mutable = False
    return fact


@register("typing:TypeVar")
def _type_variable_fact(obj: Any, ctx: Context) -> Fact:
    if is_importable(obj):
        return _import_fact(obj.__module__, obj.__name__)
    kinds = (obj.__covariant__, obj.__contravariant__)
    # Which object it is counts: a class is generic over this one.
    parts = (obj.__name__, obj.__module__, obj.__bound__, obj.__constraints__, kinds)
    return Fact("type variable", parts, mutable=True)


@register("builtins:coroutine")
def _coroutine_fact(coroutine: types.CoroutineType[Any, Any, Any], ctx: Context) -> Fact:
    return _suspended_fact(coroutine, coroutine.cr_frame, ctx)


@register("builtins:async_generator")
def _async_generator_fact(generator: types.AsyncGeneratorType[Any, Any], ctx: Context) -> Fact:
    return _suspended_fact(generator, generator.ag_frame, ctx)


def _suspended_fact(obj: Any, frame: types.FrameType | None, ctx: Context) -> Fact:
    """Code that goes on when somebody asks: without content to compare, and it reads what a function would."""
    fact = _opaque_fact(obj, ctx)
    if frame is None:
        return fact
    closure = tuple(types.CellType() for _ in frame.f_code.co_freevars)
    reading = [types.FunctionType(frame.f_code, frame.f_globals, closure=closure)]
    # Not by `f_locals`, which would keep alive what the frame lets go of.
    todo, seen = [obj], {id(obj)}
    while todo:
        for held in gc.get_referents(todo.pop()):
            if isinstance(held, types.GeneratorType) and id(held) not in seen:
                seen.add(id(held))
                todo.append(held)
            elif isinstance(held, types.MethodType):
                held = held.__func__
            if isinstance(held, types.FunctionType):
                reading.append(held)
    facts = [ctx.facts(function) for function in reading]
    fact.refs = {name for one in facts for name in one.refs}
    fact.idents = {name for one in facts for name in one.idents}
    fact.marks = [*fact.marks, *(mark for one in facts for mark in one.marks)]
    return fact


@register(
    "builtins:frame", "builtins:traceback",
    "threading:Thread", "socket:socket", "sqlite3:Connection", "sqlite3:Cursor", "subprocess:Popen", "mmap:mmap",
    "contextvars:ContextVar", "asyncio.events:AbstractEventLoop",
    "weakref:finalize", "nbrewind.hush:_Hushed", "unittest.mock:NonCallableMock", "argparse:ArgumentParser",
    "numpy:finfo", "PIL.ImageFont:FreeTypeFont",
)  # fmt: skip
def _opaque_fact(obj: Any, ctx: Context) -> Fact:
    return Fact(
        "opaque",
        opaque=f"{type(obj).__name__} has no content to compare",
        mutable=True,
        marks=[FINALIZES] if _ends_with_effects(obj) else (),
    )


@register("_asyncio:Future")
def _awaited_fact(future: Any, ctx: Context) -> Fact:
    return _given_fact(future, future._result, ctx)


@register("concurrent.futures._base:Future")
def _future_fact(future: Any, ctx: Context) -> Fact:
    # Its classes may do something when they are asked.
    return _given_fact(future, vars(future).get("_result"), ctx)


def _given_fact(future: Any, result: Any, ctx: Context) -> Fact:
    fact = _opaque_fact(future, ctx)
    # Whoever asked for its result has the very object.
    fact.parts = (result,)
    return fact


def parts_of_closed(file: Any) -> tuple[Any, ...] | None:
    """What is left of a file that was opened by its name and is closed: how it was opened. None for all others.

    What it holds by then is no part of it: nobody reads it through a closed file.
    """
    layers, seen, text = [file], None, None
    if type(file) is io.TextIOWrapper and file.closed:
        seen = file.newlines
        text = (file.mode, file.encoding, file.errors, file.line_buffering, file.write_through)
        layers.append(file := file.buffer)
    if type(file) in BUFFERED:
        layers.append(file.raw)
    raw = layers[-1]
    if type(raw) is not io.FileIO or not raw.closed:
        return None
    name = getattr(raw, "name", None)
    # Whatever was hung onto it, too, and what it saw of lines, must come back.
    is_plain = all(vars(one).keys() <= {"mode", "name", "__IOBase_closed"} for one in layers)
    if not is_plain or "x" in raw.mode or (seen is not None and raw.mode != "rb"):
        return None
    if not isinstance(name, str | bytes | pathlib.PurePath):
        return None
    return type(file).__name__, name, raw.mode, text, seen


BUFFERED = (io.BufferedReader, io.BufferedWriter, io.BufferedRandom)


def name_of_stream(obj: Any) -> str | None:
    """As what the kernel has this very stream; None for all others."""
    return next((name for name in ("stdout", "stderr") if standard_stream(name) is obj), None)


def written_through(func: types.FunctionType) -> types.MethodType | None:
    """The method `write` of a stream, of what the shell puts before it while a cell runs; None for all others."""
    found: Any = func
    while isinstance(found, types.FunctionType):
        if (found.__module__, found.__qualname__) != _TEE or found.__closure__ is None:
            return None
        names = found.__code__.co_freevars
        if "original_write" not in names:
            return None
        found = found.__closure__[names.index("original_write")].cell_contents
    return found if isinstance(found, types.MethodType) else None


_TEE = ("IPython.core.interactiveshell", "InteractiveShell._tee.<locals>.write")


@register("ipykernel.iostream:OutStream")
def _stream_fact(stream: Any, ctx: Context) -> Fact:
    # What is written to it is shown by the cell that wrote: it holds nothing.
    name = name_of_stream(stream)
    return _opaque_fact(stream, ctx) if name is None else Fact("the kernel's stream", (name,))


def _ends_with_effects(obj: Any) -> bool:
    """True for files that may have text to write, and generators that may have more to do."""
    if isinstance(obj, io.IOBase):
        return not obj.closed and obj.writable()
    # Others are asked for nothing: a mock has whatever it is asked for, and a future of Parsl starts a task for it.
    if not isinstance(obj, types.GeneratorType):
        return False
    # Only a `with` or `finally` in it runs when it is thrown away.
    return obj.gi_frame is not None and bool(obj.gi_code.co_exceptiontable)


@register(
    "concurrent.futures._base:Executor",
    "distributed.client:Client",
    "distributed.deploy.cluster:Cluster",
    "ndcctools.taskvine.manager:Manager",
)
def _handle_fact(obj: Any, ctx: Context) -> Fact:
    # A compute engine is not content: another address changes nothing (rule 9).
    name = f"{type(obj).__module__}.{type(obj).__qualname__}"
    # A client and the cluster that it was made for belong together: a recipe makes both, and once.
    owner = getattr(obj, "cluster", None) or obj
    return Fact("handle", (name,), mutable=True, handle=name, buffers=[(id(owner), 1, 0)])


def slots_of(obj: Any) -> tuple[tuple[str, Any], ...]:
    """What stands in the object's slots."""
    names = copyreg._slotnames(type(obj))  # type: ignore[attr-defined]
    return tuple((name, getattr(obj, name)) for name in names if hasattr(obj, name))


def refuses_pickling(kind: type) -> bool:
    """True when a library has not taught a class to be pickled that is nothing but attributes and slots.

    Handles say that they cannot be pickled (`TypeError`), and so does whatever keeps something outside of Python.
    """
    func = getattr(kind, "__getstate__", None)
    if not isinstance(func, types.FunctionType) or not is_library_module(func.__module__):
        return False
    is_bare = all(base is object or base.__flags__ & _HEAP_TYPE for base in kind.__mro__)
    is_plain = all(
        getattr(kind, name) is getattr(object, name)
        for name in ("__new__", "__reduce__", "__reduce_ex__")
    )
    return is_bare and is_plain and not hasattr(kind, "__del__") and _only_refuses(func.__code__)


@functools.lru_cache(maxsize=1024)
def _only_refuses(code: types.CodeType) -> bool:
    """True for functions that raise `NotImplementedError` whatever they are given."""
    if code.co_names != ("NotImplementedError",):
        return False
    ops = [op.opname for op in dis.get_instructions(code)]
    return any(name == "RAISE_VARARGS" for name in ops) and not any(
        "JUMP" in name or name.startswith("RETURN") for name in ops
    )


@register("*")
def _reduce_fact(obj: Any, ctx: Context) -> Fact:
    """Whatever pickle would keep of the object; for the user's own classes also what their reduction leaves out."""
    kind = type(obj)
    table = copyreg.dispatch_table.get(kind)
    if table is None and refuses_pickling(kind):
        kept = (getattr(obj, "__dict__", None), slots_of(obj))
        return Fact(LIBRARY_OBJECT, (object.__new__, (kind,), kept, (), (), ()), mutable=True)
    if table is None and hasattr(kind, "__getattr__"):
        # Asking such an object for what it does not have may fill in what it holds lazily.
        obj.__reduce_ex__(4)
    reduced = obj.__reduce_ex__(4) if table is None else table(obj)
    if isinstance(reduced, str):
        module = getattr(obj, "__module__", None) or kind.__module__
        if is_library_module(module):
            return _import_fact(module, reduced)
        return Fact("opaque", opaque=f"{reduced} is known only by its name", mutable=True)
    func, args, *rest = reduced
    state = rest[0] if rest else None
    items = tuple(rest[1]) if len(rest) > 1 and rest[1] is not None else ()
    pairs = tuple(tuple(pair) for pair in rest[2]) if len(rest) > 2 and rest[2] is not None else ()
    parts = (func, args, state, items, pairs)
    if is_importable(kind):
        # What is made in C may have given an array its own memory.
        buffers = [] if kind.__dictoffset__ else [(id(obj), 1, OWNER)]
        return Fact(LIBRARY_OBJECT, (*parts, ()), mutable=True, buffers=buffers)
    if state is None and "<locals>" in kind.__qualname__:
        # Nothing in it can change, and what its class closes over is the library's own (`sympy.test`).
        place = library_name_of_instance(obj)
        if place is not None:
            return _import_fact(*place)
    dropped = (getattr(obj, "__dict__", None), slots_of(obj))
    return Fact("object", (*parts, dropped), mutable=True)

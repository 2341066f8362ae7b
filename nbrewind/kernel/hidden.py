"""What code may change inside this process where no walk and no provider of ambient state looks.

Such a run is never replayed, and it is an input of all runs that follow. It is found by what code names: a setting of
a library, an attribute or a registry of a module. The cell's own statements count, and the functions that they can
reach: `def setup(): calendar.setfirstweekday(6)` is called in another cell.
"""

from __future__ import annotations

import builtins
import contextlib
import dis
import functools
import logging
import re
import sys
import types
import weakref
from collections.abc import Callable, Iterator, MutableMapping, MutableSequence, MutableSet
from dataclasses import dataclass
from typing import Any

from nbrewind.fingerprint import is_importable, is_library_module
from nbrewind.fingerprint.objects import (
    generic_parts,
    library_name_of_container,
    library_name_of_instance,
)
from nbrewind.hush import hushed
from nbrewind.kernel import stores
from nbrewind.kernel.stores import CALLED, Chain, Origin

# Kinds of statements that are executed when their cell is replayed, if they read nothing of the user's.
_EXECUTED_ANYWAY = frozenset({"import", "config", "magic"})
# Magics that only show something: a replay shows it again.
_SHOWS_ONLY = re.compile(
    r"\s*(%%(html|markdown|latex|javascript|js|svg|css|mermaid)\b|"
    r"%?(pinfo2?|pdoc|pdef|psource|pfile|psearch|pycat|page|quickref|lsmagic|magic|hist|history|who|whos|who_ls|pwd|"
    r"dirs|ls|ll)\b|\?|[^\n]*\?\s*$)",
    re.IGNORECASE,
)

# Packages whose functions, called for their effect, change nothing but what is looked after elsewhere: the
# namespace, files, figures, and the providers of ambient state. Any other library call whose result is thrown away
# may have changed something in the process that no record shows.
_TAME = frozenset(
    """IPython PIL altair array awkward base64 bisect bokeh boost_histogram collections copy csv cv2 dask datetime
    distributed folium functools gc geopandas glob gzip h5py hashlib heapq hist io itertools joblib json lightgbm
    logging loguru math matplotlib missingno networkx numpy operator os pandas pathlib pickle plotly plotnine polars
    pprint prettytable pyarrow random re rich scipy seaborn shap shapely shutil skimage sklearn statistics statsmodels
    string struct sympy sys tabulate tempfile textwrap time torch tqdm types typing uproot uuid vector warnings
    wordcloud xarray xgboost yaml zipfile zlib""".split()
)
# In functions, calls are often made for their effect on what they are given.
_TAME_IN_FUNCTIONS = _TAME | frozenset(
    """abc ast builtins calendar cmath concurrent contextlib dateutil decimal difflib dis enum fractions getpass html
    importlib inspect ipaddress keyword locale multiprocessing numbers platform posix posixpath pytz queue shlex
    subprocess threading timeit tokenize traceback unicodedata unittest urllib weakref zoneinfo""".split()
)
# What is awaited has ended with the cell.
_AWAITED = frozenset(
    f"asyncio.{name}" for name in ("gather", "sleep", "to_thread", "wait", "wait_for")
)
# Functions that only set something, by their names.
_SETTING = re.compile(
    r"^set(_|[A-Z]|$)|^add(_|(?-i:[A-Z]))|backend|config|option|enable|disable|filter|install|patch|umask|tzset|^pandas$",
    re.IGNORECASE,
)
# And functions of tame libraries that set something by other names.
_ALSO_SETS = {
    "IPython": "run_line_magic run_cell_magic",
    "bokeh": "output_file output_notebook reset_output",
    "csv": "field_size_limit",
    "logging": "addLevelName captureWarnings",
    "loguru": "add bind configure level remove",
    "matplotlib": "addfont register switch_backend unregister",
    "numpy": "add_docstring",
    "os": "putenv unsetenv",
    "plotly": "init_notebook_mode",
    "scipy": "seterr",
    "sympy": "init_printing init_session",
    "sys": "addaudithook",
    "unittest": "patch",
    "torch": "use_deterministic_algorithms",
    "vector": "register_awkward register_numba",
}
# Of these the result may be used as well: it is what was set before.
_SETS = re.compile(r"^(set(_|[A-Z]|$|errcall$|bufsize$)|enable_|disable_|install_|patch_)")
_SETS_IN_PYTHON = re.compile(r"^(set[a-z_]|signal$)")
# Settings that a provider of ambient state looks after, or that are none.
_LOOKED_AFTER = {
    "warnings": "filterwarnings simplefilter resetwarnings",
    "numpy": "set_printoptions set_state seterr setdiff1d setxor1d",
    "pandas": "set_option reset_option get_option option_context",
    "matplotlib": "set_cmap setp",
    # What else it sets gives colours' letters another meaning.
    "seaborn": "set_style set_context set_hls_values",
    "sklearn": "set_config config_context",
    "random": "setstate",
    "locale": "setlocale",
    "_locale": "setlocale",
    "sys": "setrecursionlimit",
    "decimal": "setcontext",
    "operator": "setitem",
    "_operator": "setitem",
    "posix": "sched_setaffinity",
}
# Functions that give what the library has, not what they make.
_ASKS_FOR_WHAT_IS = re.compile(r"(get|cur|current|default)([_A-Z]|$)|cur[a-z]+$")
_OF_LOGGERS = frozenset({"level", "disabled", "propagate", "handlers"})
# Of what these give, a provider looks after some attributes, or all (None).
_GIVES_WHAT_IS_LOOKED_AFTER: dict[str, frozenset[str] | None] = {
    "decimal.getcontext": None,
    "logging.getLogger": _OF_LOGGERS,
    # Figures are values.
    "matplotlib.pyplot.get_current_fig_manager": None,
}
# Packages whose functions do not change the containers that they are given.
_ONLY_READ = frozenset(
    "builtins collections copy itertools json matplotlib numpy operator pandas pprint random string".split()
)
_CHANGES_A_CONTAINER = frozenset(
    """append extend insert remove pop clear sort reverse update setdefault popitem move_to_end add discard
    difference_update intersection_update symmetric_difference_update""".split()
)


@dataclass(frozen=True)
class _Steps:
    """What one code object does with what it names."""

    # Calls whose result is thrown away, and everything that is named.
    discarded: frozenset[Chain]
    named: frozenset[Chain]
    # Attributes that are set or deleted; things of which an item is.
    stored: frozenset[Chain]
    items: frozenset[Chain]
    changes: stores.Changes
    attributes: frozenset[str]
    inner: tuple[types.CodeType, ...]


_QUIET_OPS = frozenset(
    "CACHE EXTENDED_ARG KW_NAMES MAKE_CELL NOP NOT_TAKEN PRECALL PUSH_NULL COPY_FREE_VARS RESUME".split()
)
_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_LOCAL_LOADS = frozenset(
    {"LOAD_FAST", "LOAD_FAST_BORROW", "LOAD_FAST_CHECK", "LOAD_DEREF", "LOAD_CLOSURE"}
)
_LOCAL_STORES = frozenset({"STORE_FAST", "STORE_DEREF", "STORE_NAME"})

_steps: dict[int, tuple[types.CodeType, _Steps]] = {}


def _steps_of(code: types.CodeType) -> _Steps:
    known = _steps.get(id(code))
    if known is None:
        known = _steps[id(code)] = (code, _read(code))
    return known[1]


def _read(code: types.CodeType) -> _Steps:
    """The chains of a code object (with `dis`: per Python version).

    In a statement that is a call, its function is what is loaded first; behind a jump, too, because the statement may
    be a choice. That takes some calls for thrown away that are not, and misses none.
    """
    discarded: set[Chain] = set()
    named: set[Chain] = set()
    stored: set[Chain] = set()
    items: set[Chain] = set()
    imported: dict[str, Chain] = {}
    heads: list[list[str]] = []
    chains: list[list[str]] = []
    chain: list[str] | None = None
    module: Chain | None = None
    at_head, before = True, ""
    constant: object = None

    def new_chain(parts: Chain) -> list[str]:
        made = list(parts)
        chains.append(made)
        if at_head:
            heads.append(made)
        return made

    for op in dis.get_instructions(code):
        name = op.opname
        if name in _QUIET_OPS:
            continue
        if name in _LOADS:
            chain, at_head = new_chain((op.argval,)), False
        elif name in _LOCAL_LOADS and op.argval in imported:
            chain, at_head = new_chain(imported[op.argval]), False
        elif name in {"LOAD_ATTR", "LOAD_METHOD"} and chain is not None:
            chain.append(op.argval)
        elif name == "IMPORT_NAME":
            module, chain, at_head = (stores.imported(op.argval, constant),), None, False
        elif name == "IMPORT_FROM" and module is not None:
            imported[f"{op.argval}\0"] = (*module, op.argval)
            chain = None
        else:
            if name in {"STORE_ATTR", "DELETE_ATTR"} and chain is not None:
                stored.add((*chain, op.argval))
            elif name in {"STORE_SUBSCR", "DELETE_SUBSCR", "STORE_SLICE"}:
                items.update(map(tuple, chains))
            elif name in _LOCAL_STORES and before == "IMPORT_NAME" and module is not None:
                # `import a.b` binds `a`, `import a.b as c` what is below: that is asked of it by name.
                imported[op.argval] = module
            elif name in _LOCAL_STORES and before.startswith("IMPORT_FROM "):
                imported[op.argval] = imported[f"{before.partition(' ')[2]}\0"]
            chain = None
            if name == "POP_TOP" and before.startswith("CALL"):
                discarded.update(map(tuple, heads))
                if any(head[-1] in {"setattr", "delattr"} for head in heads):
                    stored.update((*map(str, one), "*") for one in chains if one not in heads)
            ends = name == "POP_TOP" or name.startswith(("STORE_", "DELETE_", "RETURN_"))
            if ends:
                named.update(map(tuple, chains))
                heads, chains = [], []
            at_head = ends or "JUMP" in name or name in {"FOR_ITER", "BEFORE_WITH", "GET_ITER"}
        if name not in {"SWAP", "POP_TOP"} or not before.startswith("IMPORT_FROM "):
            # `import a.b as c` takes the package off the stack before it binds.
            before = f"{name} {op.argval}" if name == "IMPORT_FROM" else name
        if name == "LOAD_CONST":
            constant = op.argval
    named.update(map(tuple, chains))
    inner = tuple(const for const in code.co_consts if isinstance(const, types.CodeType))
    return _Steps(
        frozenset(discarded),
        frozenset(named),
        frozenset(stored),
        frozenset(items),
        stores.read(code),
        frozenset(code.co_names),
        inner,
    )


_MISSING = object()


def _root(name: str, scope: dict[str, Any]) -> Any:
    if name.startswith("@"):
        return sys.modules.get(name[1:], _MISSING)
    return scope.get(name, getattr(builtins, name, _MISSING))


def _attribute(obj: Any, name: str) -> Any:
    """An attribute, without running code of the user's."""
    if isinstance(obj, types.ModuleType):
        return vars(obj) if name == "__dict__" else vars(obj).get(name, _MISSING)
    kinds = list(type(obj).__mro__)
    if isinstance(obj, type):
        kinds = [*obj.__mro__, *kinds]
    for kind in kinds:
        if name in vars(kind):
            found = vars(kind)[name]
            if isinstance(found, staticmethod | classmethod):
                return found.__func__
            if isinstance(obj, type) or isinstance(found, types.FunctionType):
                return found
            if isinstance(found, types.MemberDescriptorType):
                return found.__get__(obj)
            if not hasattr(type(found), "__get__"):
                return found
            break
    # Objects of libraries may make their `__dict__` only when it is asked for.
    if isinstance(obj, type) or _is_of_library(type(obj)):
        return _MISSING
    try:
        return object.__getattribute__(obj, "__dict__").get(name, _MISSING)
    except AttributeError:
        return _MISSING


def _is_of_library(kind: type) -> bool:
    return kind.__module__ == "builtins" or is_library_module(kind.__module__)


def _along(chain: Chain, scope: dict[str, Any]) -> Iterator[Any]:
    """The objects on the way, as far as they can be found."""
    obj = _root(chain[0], scope)
    for name in (*chain[1:], None):
        if obj is _MISSING:
            return
        yield obj
        if name is not None:
            obj = _attribute(obj, name)


def _along_to(chain: Chain, scope: dict[str, Any]) -> Any:
    """The object at the end; `_MISSING` when it cannot be found."""
    path = list(_along(chain, scope))
    return path[-1] if len(path) == len(chain) else _MISSING


def at_end_of(chain: Chain, scope: dict[str, Any]) -> Any:
    """The object that a chain of names leads to; None when it cannot be found."""
    found = _along_to(chain, scope)
    return None if found is _MISSING else found


def library_of(obj: Any) -> str | None:
    """The library module that this object is or comes from by name; None for the user's own things and for values."""
    if isinstance(obj, types.ModuleType):
        return obj.__name__ if is_library_module(obj.__name__) else None
    if isinstance(obj, type | types.FunctionType | types.BuiltinFunctionType | types.MethodType):
        owner = getattr(obj, "__func__", obj)
        if is_importable(owner) or (
            isinstance(obj, types.MethodType) and is_library_module(owner.__module__)
        ):
            return str(owner.__module__)
        return None
    place = library_name_of_container(obj) or library_name_of_instance(obj)
    if place is None and type(obj).__name__ == "cython_function_or_method" and is_importable(obj):
        return str(obj.__module__)
    return None if place is None else place[0]


def _provided() -> list[Any]:
    """Containers of libraries whose content a provider of ambient state looks after."""
    found: list[Any] = [sys.modules.get("os") and sys.modules["os"].environ, sys.path]
    found.append(getattr(sys.modules.get("warnings"), "filters", None))
    found.append(getattr(sys.modules.get("matplotlib"), "rcParams", None))
    found.append(getattr(sys.modules.get("pandas._config.config"), "options", None))
    return [one for one in found if one is not None]


def _is_looked_after(module: str, name: str) -> bool:
    top = module.partition(".")[0]
    return name in _LOOKED_AFTER.get(top, "").split()


def _is_setting(module: str, name: str) -> bool:
    """True for functions that set something in the process which no provider of ambient state looks after."""
    if _SETTING.search(name):
        return not name.startswith("get") and not _is_looked_after(module, name)
    return name in _ALSO_SETS.get(module.partition(".")[0], "").split()


def _is_of_settings(path: list[Any]) -> bool:
    """`polars.Config.load(...)`: a method of a class that stands for settings."""
    return any(isinstance(one, type) and _SETTING.search(one.__name__) for one in path[:-1])


def _only_makes(obj: Any, name: str) -> bool:
    """True for classes: what they make is thrown away. Some stand for a setting (`xarray.set_options`)."""
    return isinstance(obj, type) and not _SETTING.search(name)


# By identity: the container, and what it holds.
Containers = dict[int, tuple[Any, tuple[Any, ...]]]


class _Crawl:
    """Goes through the functions that code can reach, and notes what each may change."""

    def __init__(self, before: Containers | None = None) -> None:
        self.why: dict[str, None] = {}
        # Containers of libraries that the code hands to calls, as they are now.
        self.containers: Containers = {}
        self._before = before
        self._handed_to: frozenset[tuple[Chain, Chain]] = frozenset()
        self._seen: set[int] = set()
        self._functions: dict[int, types.FunctionType] = {}
        self._todo: list[tuple[types.CodeType, dict[str, Any], bool]] = []
        self._attributes: set[str] = set()
        self._kinds: dict[type, None] = {}
        self._provided = _provided()

    def add(self, code: types.CodeType, scope: dict[str, Any], *, is_cell: bool = False) -> None:
        if id(code) not in self._seen:
            self._seen.add(id(code))
            self._todo.append((code, scope, is_cell))

    def run(self) -> None:
        while self._todo:
            while self._todo:
                self._look(*self._todo.pop())
            for kind in list(self._kinds):
                self._methods(kind)

    def _look(self, code: types.CodeType, scope: dict[str, Any], is_cell: bool) -> None:
        steps = _steps_of(code)
        self._attributes |= steps.attributes
        for inner in steps.inner:
            # What a cell defines is looked at when something names it; lambdas and the like run where they stand.
            is_function = inner.co_flags & 0x1 and not inner.co_name.startswith("<")
            if not (is_cell and is_function):
                self.add(inner, scope)
        for chain in sorted(steps.named):
            self._named(chain, scope)
        for chain in sorted(steps.discarded):
            self._discarded(chain, scope)
        for chain in sorted(steps.stored):
            self._stored(chain, scope)
        items = steps.items if steps.changes.has_unknown else frozenset()
        items |= {one.chain for one, name in steps.changes.changed if not (one.how or name)}
        for chain in sorted(items):
            self._item(chain, scope)
        self._handed_to = steps.changes.handed
        for origin, name in steps.changes.changed:
            self._changed_within(origin, name, scope)
        for origin, name in steps.changes.called:
            if name in _CHANGES_A_CONTAINER:
                self._changed_within(origin, "", scope)
        for chain, callee in sorted(steps.changes.handed):
            self._handed(chain, callee, scope)

    def _named(self, chain: Chain, scope: dict[str, Any]) -> None:
        path = list(_along(chain, scope))
        for obj in path:
            self._follow(obj)
        if len(path) != len(chain) or not path:
            self._method_of_held(chain, path)
            return
        found = path[-1]
        if found is weakref.finalize:
            self._note(f"`{_text(chain)}()` has something done at the end of a value")
        is_partial = isinstance(found, functools.partial)
        while isinstance(found, functools.partial):
            found = found.func
        module = library_of(found)
        # A method of a value, or one that a class of the user's inherits, is seen in the value and the class.
        owner = path[-2] if len(path) > 1 else None
        is_own = isinstance(owner, type) and library_of(owner) is None
        is_method = owner is not None and not isinstance(owner, types.ModuleType | type)
        is_made = isinstance(found, types.ModuleType | type)
        if module is None or is_own or is_made or (is_method and not is_partial):
            self._method_of_held(chain, path)
            return
        name = getattr(found, "__name__", "") if is_partial else chain[-1]
        if "register" in name.lower():
            self._note(f"`{_text(chain)}()` registers something inside {module.partition('.')[0]}")
            return
        is_python = module.partition(".")[0].lstrip("_") in sys.stdlib_module_names
        sets = (
            _SETS.match(name)
            or (is_python and _SETS_IN_PYTHON.match(name))
            or name in _ALSO_SETS.get(module.partition(".")[0], "").split()
        )
        if sets and module != "builtins" and not _is_looked_after(module, name):
            self._note(f"`{_text(chain)}()` sets something inside {module.partition('.')[0]}")

    def _method_of_held(self, chain: Chain, path: list[Any]) -> None:
        """`module.registry.update(...)`."""
        if len(chain) < 2 or chain[-1] not in _CHANGES_A_CONTAINER or len(path) < len(chain) - 1:
            return
        self._item(chain[:-1], scope={}, path=path[: len(chain) - 1])

    def _discarded(self, chain: Chain, scope: dict[str, Any]) -> None:
        path = list(_along(chain, scope))
        module = library_of(path[0]) if path else None
        is_made = len(path) == len(chain) and _only_makes(path[-1], chain[-1])
        if module is None or module == "builtins" or is_made:
            return
        top, name = module.partition(".")[0], chain[-1]
        if _is_looked_after(module, name) or (len(path) > 1 and self._is_provided(path[1:])):
            return
        chooses_backend = (
            name == "use" and len(path) == len(chain) and library_of(path[-1]) == "matplotlib"
        )
        sets = _is_setting(module, name) or _is_of_settings(path)
        if top not in _TAME_IN_FUNCTIONS or sets or chooses_backend:
            self._note(f"`{_text(chain)}()` may change state inside {top}")

    def _stored(self, chain: Chain, scope: dict[str, Any]) -> None:
        path = list(_along(chain[:-1], scope))
        if not path or self._is_provided(path):
            return
        if isinstance(path[-1], logging.Logger) and chain[-1] not in _OF_LOGGERS:
            self._note(f"it sets `{_text(chain)}` of a logger")
        elif any(library_of(obj) for obj in path) or isinstance(path[-1], types.ModuleType):
            if library_of(path[-1]) or not isinstance(path[-1], type):
                self._note(f"it sets `{_text(chain)}` inside a module")

    def _item(self, chain: Chain, scope: dict[str, Any], path: list[Any] | None = None) -> None:
        path = list(_along(chain, scope)) if path is None else path
        if not path or library_of(path[0]) is None:
            return
        if len(path) == 1:
            # What it holds was imported by its own name.
            place = library_name_of_container(path[0]) or library_name_of_instance(path[0])
            if place is not None and not self._is_provided(path):
                self._note(f"it changes `{_text(chain)}` of a library")
            return
        held = path[-1]
        is_container = (
            isinstance(held, MutableMapping | MutableSequence | MutableSet)
            or library_name_of_instance(held) is not None
        )
        # What an object of the library holds, and would have to be asked for.
        is_within = len(path) < len(chain) and not isinstance(held, types.ModuleType | type)
        if (is_within or (is_container and len(path) == len(chain))) and not self._is_provided(
            path
        ):
            self._note(f"it changes `{_text(chain)}` of a library")

    def _changed_within(self, origin: Origin, name: str, scope: dict[str, Any]) -> None:
        """`registry()["mine"] = 1` where the library keeps what it gives; `registry["mine"].x = 1`."""
        path = list(_along(origin.chain, scope))
        if not origin.how or len(path) != len(origin.chain) or self._is_provided(path):
            return
        found = path[-1]
        module = library_of(found) if origin.how == CALLED else library_of(path[0])
        if module is None:
            return
        if origin.how != CALLED:
            # `np.r_[1, 2]` makes what it gives.
            if not isinstance(found, MutableMapping | MutableSequence):
                return
        else:
            if found is getattr or found is vars:
                # Of a module's or a class's; of values the namespace tells.
                of_library = [
                    library_of(_along_to(chain, scope))
                    for chain, callee in self._handed_to
                    if callee == origin.chain
                ]
                if not any(of_library):
                    return
            elif isinstance(found, type) or not _ASKS_FOR_WHAT_IS.match(origin.chain[-1]):
                return
            elif f"{module}.{found.__name__}" in _GIVES_WHAT_IS_LOOKED_AFTER:
                known = _GIVES_WHAT_IS_LOOKED_AFTER[f"{module}.{found.__name__}"]
                if known is None or name in known:
                    return
            elif origin.n_args != 0:
                return
        self._note(f"it changes what `{_text(origin.chain)}` gives, inside {module}")

    def _handed(self, chain: Chain, callee: Chain, scope: dict[str, Any]) -> None:
        """A container of a library is an argument of a call, which may change it."""
        obj = _along_to(chain, scope)
        if not isinstance(obj, dict | list | set) or self._is_provided([obj]):
            return
        place = library_name_of_container(obj) or library_name_of_instance(obj)
        if place is None:
            return
        self.containers[id(obj)] = obj, stores.shallow(obj)
        taker = (library_of(_along_to(callee, scope)) or "").partition(".")[0].lstrip("_")
        if self._before is None or taker in _ONLY_READ:
            return
        before = self._before.get(id(obj))
        # What was not there before the run may have been loaded and changed in it.
        if before is None or before[1] != self.containers[id(obj)][1]:
            self._note(f"it may change `{_text(chain)}` of a library")

    def _is_provided(self, path: list[Any]) -> bool:
        return any(obj is one for obj in path for one in self._provided)

    def _follow(self, obj: Any) -> None:
        """Code of the user's that using this object may run."""
        while isinstance(obj, functools.partial):
            obj = obj.func
        if isinstance(obj, types.MethodType):
            obj = obj.__func__
        # Nothing of the user's is asked: it might run.
        wrapped = None
        if isinstance(obj, types.FunctionType | functools._lru_cache_wrapper):
            wrapped = vars(obj).get("__wrapped__")
        if isinstance(wrapped, types.FunctionType):
            self._function(wrapped)
        if isinstance(obj, types.FunctionType):
            self._function(obj)
            implementations, _ = generic_parts(obj) or ((), {})
            for _, one in implementations:
                if isinstance(one, types.FunctionType):
                    self._function(one)
            return
        kind = obj if isinstance(obj, type) else type(obj)
        for base in kind.__mro__:
            if not _is_of_library(base):
                self._kinds.setdefault(base)

    def _function(self, func: types.FunctionType) -> None:
        if is_library_module(func.__module__) or id(func) in self._functions:
            return
        self._functions[id(func)] = func
        self.add(func.__code__, func.__globals__)
        for cell in func.__closure__ or ():
            with contextlib.suppress(ValueError):
                if isinstance(cell.cell_contents, types.FunctionType):
                    self._function(cell.cell_contents)

    def _methods(self, kind: type) -> None:
        """Methods that the code so far names, and those that Python calls by itself."""
        for name, member in vars(kind).items():
            is_special = name.startswith("__") and name.endswith("__")
            if not is_special and name not in self._attributes:
                continue
            for one in _functions_of(member):
                self._function(one)

    def _note(self, text: str) -> None:
        self.why[text] = None


def _functions_of(member: Any) -> list[types.FunctionType]:
    if isinstance(member, staticmethod | classmethod):
        member = member.__func__
    found: list[Any] = [member]
    if isinstance(member, property):
        found = [member.fget, member.fset, member.fdel]
    elif isinstance(member, functools.cached_property):
        found = [member.func]
    return [one for one in found if isinstance(one, types.FunctionType)]


def _text(chain: Chain) -> str:
    return ".".join(part.lstrip("@") for part in chain if part != "*")


def container_within(value: Any) -> str | None:
    """A container of a library that a small structure holds: it would come back as a copy. None: there is none."""
    todo, seen = [value], {id(value)}
    while todo and len(seen) < _MAX_LOOKED_AT:
        one = todo.pop()
        if isinstance(one, dict):
            inner = list(one.values())
        elif isinstance(one, list | tuple | set):
            inner = list(one)
        elif isinstance(one, types.SimpleNamespace) or not _is_of_library(type(one)):
            inner = list(getattr(one, "__dict__", {}).values())
        else:
            continue
        for part in inner[:_MAX_LOOKED_AT]:
            if id(part) in seen:
                continue
            seen.add(id(part))
            place = library_name_of_container(part)
            if place is not None:
                return ".".join(place)
            todo.append(part)
    return None


_MAX_LOOKED_AT = 1000


def of_code(
    codes: list[types.CodeType], scope: dict[str, Any], before: Containers | None = None
) -> list[str]:
    """What these code objects, and the functions they can reach, may change inside the process.

    `before` are the containers that `containers_of` gave before the code ran.
    """
    return list(_crawl(codes, scope, before).why)


def _crawl(codes: list[types.CodeType], scope: dict[str, Any], before: Containers | None) -> _Crawl:
    crawl = _Crawl(before)
    for code in codes:
        crawl.add(code, scope, is_cell=True)
    crawl.run()
    return crawl


def containers_of(
    source: str, scope: dict[str, Any], transform: Callable[[str], str]
) -> Containers:
    """Containers of libraries that a cell, or a function it can reach, hands to calls. Asked before it runs."""
    try:
        code = _compiled(transform(source))
    except (SyntaxError, ValueError):
        return {}
    return _crawl([code], scope, None).containers


def is_executed_anyway(item: dict[str, Any], text: str, scope: dict[str, Any]) -> bool:
    """True for statements that are executed when their cell is replayed.

    A setting that reads the user's names is none: its text does not say what it sets.
    """
    if item["kind"] == "import":
        return True
    if item["kind"] not in _EXECUTED_ANYWAY:
        return False
    if item["kind"] == "magic" and _SHOWS_ONLY.match(text):
        return False
    return not any(
        library_of(scope[name]) is None if name in scope else not hasattr(builtins, name)
        for name in item["reads"]
    )


def _of_statements(effects: dict[str, Any], scope: dict[str, Any], texts: list[str]) -> list[str]:
    """What the cell's own statements may have changed, as the analysis tells of them."""
    why: list[str] = []
    provided = _provided()
    # Where a cell waits, what it sets in context variables ends with it; a replay would set it in the session.
    sets = any(item["kind"] == "config" for item in effects["statements"])
    for item, text in zip(effects["statements"], texts, strict=True):
        call = item.get("discarded_call")
        if call and not is_executed_anyway(item, text, scope):
            parts = tuple(call.split("."))
            path = list(_along(parts, scope))
            module = library_of(path[0]) if path else None
            is_made = len(path) == len(parts) and _only_makes(path[-1], parts[-1])
            is_known = (
                module in {None, "builtins"}
                or _is_looked_after(str(module), parts[-1])
                or any(obj is one for obj in path[1:] for one in provided)
                or (call in _AWAITED and not sets and text.lstrip().startswith("await "))
            )
            if module is not None and not is_known and not is_made:
                top = module.partition(".")[0]
                # What is last is shown, not thrown away.
                tame = _TAME_IN_FUNCTIONS if item is effects["statements"][-1] else _TAME
                if top not in tame or _is_setting(module, parts[-1]) or _is_of_settings(path):
                    why.append(f"`{call}()` may change state inside {top}")
        if item["kind"] == "magic" and not is_executed_anyway(item, text, scope):
            if not _SHOWS_ONLY.match(text):
                why.append(f"`{text.strip()[:60]}` depends on names")
        if item["kind"] == "other" and _SHELL_CALLS.search(text):
            why.append("it calls magics of the shell, which may change it")
        for target in item.get("attribute_stores", []):
            if is_executed_anyway(item, text, scope):
                continue
            way = list(_along(tuple(target.split(".")[:-1]), scope))
            if any(obj is one for obj in way for one in provided):
                continue
            root = scope.get(target.partition(".")[0])
            if library_of(root) is not None or isinstance(root, types.ModuleType):
                why.append(f"it sets `{target}` inside a module")
        if item["kind"] == "definition":
            why += [
                f"`{name}` may register itself with {module}"
                for name in item["writes"]
                if (module := _registers_itself(scope.get(name))) is not None
            ]
    for name in effects["mutates"]:
        root = scope.get(name)
        if (isinstance(root, types.ModuleType) or library_of(root)) and any(
            name in item["mutates"] and not {"setattr", "delattr"}.isdisjoint(item["calls"])
            for item in effects["statements"]
        ):
            why.append(f"it sets attributes of `{name}`, which belongs to a module")
    return why


# Libraries whose metaclasses and base classes keep no list of the classes that are derived from them.
_KEEP_NO_LIST = _TAME_IN_FUNCTIONS - {"yaml"} | frozenset(
    """attr attrs ctypes hist ipywidgets pydantic sqlalchemy traitlets traits typing_extensions
    zope""".split()
)


def _registers_itself(cls: Any) -> str | None:
    """The library that a class of the user's may have told of itself when it was made; None for all others."""
    if not isinstance(cls, type) or is_library_module(cls.__module__):
        return None
    kinds: list[type] = list(type(cls).mro(type(cls)))
    kinds += [base for base in cls.__mro__[1:] if "__init_subclass__" in vars(base)]
    for kind in kinds:
        top = kind.__module__.partition(".")[0].lstrip("_")
        if is_library_module(kind.__module__) and top not in _KEEP_NO_LIST:
            return top
    return None


# In the text of a cell, not in what IPython makes of its magics.
_SHELL_CALLS = re.compile(
    r"\b(run_line_magic|run_cell_magic|ast_node_interactivity)\b|\bget_ipython\(\)\.magic\("
)


def of_cell(
    source: str,
    effects: dict[str, Any],
    scope: dict[str, Any],
    transform: Callable[[str], str],
    before: Containers | None = None,
) -> list[str]:
    """What a cell may have changed; statements that a replay executes as well are left out."""
    raw = source.encode()
    texts = [
        raw[item["start"] : item["end"]].decode(errors="replace") for item in effects["statements"]
    ]
    codes = []
    for item, text in zip(effects["statements"], texts, strict=True):
        if is_executed_anyway(item, text, scope) or item["kind"] == "magic":
            continue
        with contextlib.suppress(SyntaxError, ValueError):
            codes.append(_compiled(transform(text)))
    found = [*_of_statements(effects, scope, texts), *of_code(codes, scope, before or {})]
    return list(dict.fromkeys(found))


# ast.PyCF_ALLOW_TOP_LEVEL_AWAIT.
_AWAIT = 0x2000


def _compiled(text: str) -> types.CodeType:
    # Python warns of doubtful syntax each time; this kernel's user has seen it.
    with hushed():
        return compile(text, "<nbrewind>", "exec", _AWAIT, dont_inherit=True)


def of_module(name: str) -> list[str]:
    """What importing one of the user's modules may have changed."""
    module = sys.modules.get(name)
    path = getattr(module, "__file__", None) or ""
    if module is None or not path.endswith(".py"):
        return []
    try:
        with open(path, "rb") as file:
            code = compile(file.read(), path, "exec", dont_inherit=True)
    except (OSError, SyntaxError, ValueError):
        return []
    return of_code([code], vars(module))

"""What surrounds a task's function besides its arguments, its globals and the files that it reads.

* Settings: options of libraries that differ from their defaults are an input of every task.
* Generators of random numbers that belong to the whole process: a state that nobody has seeded is an outside
  input; one that somebody has seeded decides what is drawn next.
* Libraries that the user has changed: functions put into their modules, methods put into their classes.
* Code that travels by name: a worker has its own copy of the user's modules, which may be an older one.
"""

from __future__ import annotations

import builtins
import decimal
import importlib
import locale
import os
import random
import sys
import threading
import time
import types
import warnings
from collections.abc import Callable, Iterator, Set
from typing import Any

from nbrewind.fingerprint import is_importable, is_library_module

# --- Settings ------------------------------------------------------------------------------------

_NUMPY_ERRORS = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}
_NUMPY_PRINT = {
    "edgeitems": 3,
    "threshold": 1000,
    "floatmode": "maxprec",
    "precision": 8,
    "suppress": False,
    "linewidth": 75,
    "nanstr": "nan",
    "infstr": "inf",
    "sign": "-",
    "formatter": None,
    "legacy": False,
    "override_repr": None,
}
# Options of pandas that come otherwise in a terminal.
_DEFAULTS_BY_TERMINAL = {"display.max_columns": (0, 20), "display.encoding": ("utf-8", "UTF-8")}
_CATEGORIES = ("LC_NUMERIC", "LC_TIME", "LC_COLLATE", "LC_MONETARY")


def _others(now: dict[str, Any], default: dict[str, Any]) -> list[tuple[str, str]]:
    return sorted(
        (name, repr(value)) for name, value in now.items() if value != default.get(name, value)
    )


def _decimal() -> list[tuple[str, str]]:
    now, default = decimal.getcontext(), decimal.DefaultContext
    names = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp", "traps")
    return [
        (name, repr(getattr(now, name)))
        for name in names
        if getattr(now, name) != getattr(default, name)
    ]


def _numpy() -> list[tuple[str, str]]:
    numpy = sys.modules.get("numpy")
    if numpy is None or not hasattr(numpy, "get_printoptions"):
        return []
    return [
        *_others(numpy.geterr(), _NUMPY_ERRORS),
        *_others(numpy.get_printoptions(), _NUMPY_PRINT),
    ]


def _pandas() -> list[tuple[str, str]]:
    config = sys.modules.get("pandas._config.config")
    registered = getattr(config, "_registered_options", None)
    if config is None or registered is None:
        return []
    # dask.dataframe sets this one, whoever imports it.
    check = sys.modules.get("pandas.core.computation.check")
    without_effect = set() if getattr(check, "NUMEXPR_INSTALLED", True) else {"compute.use_numexpr"}
    found = []
    for key, option in registered.items():
        place: Any = config._global_config
        for part in key.split("."):
            place = place[part]
        defaults = (option.defval, *_DEFAULTS_BY_TERMINAL.get(key, ()))
        if place not in defaults and key not in without_effect:
            found.append((key, repr(place)))
    return sorted(found)


def _sklearn() -> list[tuple[str, str]]:
    config = sys.modules.get("sklearn._config")
    default = getattr(config, "_global_config", None)
    return [] if config is None or default is None else _others(config.get_config(), default)


def _locale() -> list[tuple[str, str]]:
    found = ((name, locale.setlocale(getattr(locale, name))) for name in _CATEGORIES)
    return [(name, value) for name, value in found if value != "C"]


def _warnings() -> list[tuple[str, str]]:
    """Only filters that raise decide on results; the shell has one for itself."""
    return [
        ("warnings", repr(tuple(map(repr, one))))
        for one in warnings.filters
        if one[0] == "error" and not one[2].__module__.startswith("IPython")
    ]


def settings() -> str:
    """Settings of this thread and of libraries that are not as they come; empty when all of them are.

    That they are asked for makes them inputs of the cell that makes tasks as well: other processes begin with them.
    """
    parts = (_decimal, _numpy, _pandas, _sklearn, _locale, _warnings)
    return "; ".join(f"{name} {value}" for part in parts for name, value in part())


# Of a process that runs tasks of another one: its settings before it ran any.
_settings_met: dict[int, str] = {}


def are_settings_as_met() -> bool:
    """Are settings of this process as they were before anything of the user's ran here?

    What the session has set is known to nobody here, and no matter.
    """
    return _settings_met.setdefault(os.getpid(), now := settings()) == now


def drawing_settings() -> str:
    """matplotlib's parameters, for tasks that draw with it; where it draws belongs to the front end."""
    params: Any = getattr(sys.modules.get("matplotlib"), "rcParams", None)
    if params is None:
        return ""
    names = (name for name in sorted(params) if not name.startswith(("backend", "interactive")))
    return str([(name, str(dict.__getitem__(params, name))) for name in names])


def time_zone() -> str:
    """Where this process is, for tasks that ask for local time."""
    return f"{time.tzname} {time.timezone} {time.altzone}"


# --- Generators of random numbers of the process ---------------------------------------------------

# The states with which generators were first met, or that were reached from there by drawing: key of the
# Mersenne Twister, by name.
_unseeded: dict[str, tuple[int, ...]] = {}
_generators_lock = threading.Lock()
_N_WORDS = 624
# Draws of so many words are followed; whoever has drawn more counts as having seeded.
_MAX_TWISTS = 2_000


def _numpy_key() -> tuple[int, ...] | None:
    module = sys.modules.get("numpy.random")
    if module is None or not hasattr(module, "get_state"):
        return None
    state = module.get_state(legacy=False)
    key = state["state"].get("key") if isinstance(state["state"], dict) else None
    return None if key is None or len(key) != _N_WORDS else tuple(map(int, key))


_KEYS: dict[str, Callable[[], tuple[int, ...] | None]] = {
    "random": lambda: random.getstate()[1][:_N_WORDS],
    "numpy": _numpy_key,
}


def meet_generators() -> None:
    """What generators hold now came from no seed of the user's, unless they have been met before."""
    with _generators_lock:
        for name, ask in _KEYS.items():
            key = ask() if name not in _unseeded else None
            if key is not None:
                _unseeded[name] = key


# The process of the session: there the user may have seeded before anybody looked.
_session: int | None = None


def begin_session(*, is_fresh: bool) -> None:
    """Tasks of this process are planned here. `is_fresh`: nobody can have seeded a generator in it before."""
    global _session
    _session = os.getpid()
    if is_fresh:
        meet_generators()


def meet_generators_on_workers() -> None:
    """The same in a process that runs tasks of another one, also for generators that a task imports first."""
    if _session == os.getpid():
        return
    _leave_generator_to_tasks()
    meet_generators()
    are_settings_as_met()
    if "numpy" not in _unseeded:
        from nbrewind.tasks import engines

        engines.expect("numpy.random")


def _leave_generator_to_tasks() -> None:
    """Dask guesses the sizes of what it sends by samples, which it draws from Python's generator beside any task.

    From one of its own they say as much, and only tasks are seen to draw.
    """
    sizes: Any = sys.modules.get("dask.sizeof")
    if sizes is not None and getattr(sizes, "random", None) is random:
        sizes.random = random.Random()


def _after_fork() -> None:
    """Python's generator has just been seeded anew, by Python."""
    global _generators_lock
    _generators_lock = threading.Lock()
    if _unseeded.pop("random", None) is not None:
        meet_generators()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def hook_numpy(module: types.ModuleType) -> None:
    """numpy has just been imported: its generator is as it comes."""
    meet_generators()


def unhook_numpy(module: types.ModuleType) -> None:
    """Nothing was changed."""


def generator_states(with_python: bool) -> tuple[Any, ...]:
    """State from which a task would draw that is no input of it.

    A child reseeds Python's generator when it is forked, and leaves the others as its parent has them.
    """
    found: list[Any] = []
    numpy = sys.modules.get("numpy.random")
    if numpy is not None and hasattr(numpy, "get_state"):
        state = numpy.get_state(legacy=False)
        inner = state["state"]
        key = inner.get("key") if isinstance(inner, dict) else None
        found.append(
            (key.tobytes(), inner.get("pos"), state.get("has_gauss"), state.get("gauss"))
            if key is not None
            else repr(state)
        )
    torch = _of_torch()
    if torch is not None:
        found.append(torch)
    if with_python:
        found.append(random.getstate())
    return tuple(found)


def have_moved(before: tuple[Any, ...]) -> bool:
    """Has a generator been drawn from, or seeded, since it had this state?"""
    now = generator_states(True)
    if len(now) == len(before):
        return now != before
    # numpy has been imported meanwhile: its generator is where it was met, unless something was drawn from it.
    is_met = _of_torch() is None and _unseeded.get("numpy") == _numpy_key()
    return now[-1] != before[-1] or not is_met


def _of_torch() -> bytes | None:
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "get_rng_state"):
        return None
    found: bytes = torch.get_rng_state().numpy().tobytes()
    return found


def are_seeded(since: tuple[Any, ...] | None = None) -> bool:
    """Has somebody set the state of a generator? Its state cannot be reached by drawing then.

    torch begins every process with the same seed, so that what it draws is never an outside input; unless it has not
    moved `since` then.
    """
    if "torch" in sys.modules and (since is None or _of_torch() not in since):
        return True
    with _generators_lock:
        return not all(_is_reached(name, ask()) for name, ask in _KEYS.items())


def _is_reached(name: str, now: tuple[int, ...] | None) -> bool:
    if now is None:
        return True
    before = _unseeded.get(name)
    if before is None:
        return False
    twister = random.Random()
    twister.setstate((3, (*before, _N_WORDS), None))
    for _ in range(_MAX_TWISTS):
        if before == now:
            _unseeded[name] = now
            return True
        twister.getrandbits(32 * _N_WORDS)
        before = twister.getstate()[1][:_N_WORDS]
    return False


# --- Libraries that the user has changed -----------------------------------------------------------

_BUILTINS = dict(vars(builtins))
# Classes to which users add methods.
_OPEN_CLASSES = (
    ("pandas", "DataFrame"),
    ("pandas", "Series"),
    ("pandas", "Index"),
    ("pandas.core.groupby", "DataFrameGroupBy"),
    ("pandas.core.groupby", "SeriesGroupBy"),
    ("xarray", "DataArray"),
    ("xarray", "Dataset"),
    ("polars", "DataFrame"),
    ("polars", "LazyFrame"),
    ("polars", "Series"),
    ("polars", "Expr"),
    ("sklearn.base", "BaseEstimator"),
)


def is_users_own(value: Any) -> bool:
    """Is this function or class, found in a library, not the library's?"""
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    elif isinstance(value, property):
        value = value.fget
    inner = getattr(value, "_accessor", None)
    if isinstance(inner, type):
        value = inner
    if not isinstance(value, types.FunctionType | type):
        return False
    module = getattr(value, "__module__", None)
    return module is not None and module != "builtins" and not is_library_module(module)


def added_to_classes() -> dict[str, list[Any]]:
    """Name -> what the user has put under it into classes of libraries."""
    found: dict[str, list[Any]] = {}
    for module_name, class_name in _OPEN_CLASSES:
        module = sys.modules.get(module_name)
        cls = vars(module).get(class_name) if module is not None else None
        for base in getattr(cls, "__mro__", ()):
            for name, value in vars(base).items():
                if not isinstance(value, str) and is_users_own(value):
                    found.setdefault(name, []).append(getattr(value, "_accessor", value))
    return found


def put_into(module: types.ModuleType, names: Set[str]) -> Iterator[tuple[str, Any]]:
    """What the user has put into a library's module, or one below it, under one of these names."""
    pending, seen = [module], {id(module)}
    while pending:
        one = pending.pop()
        inside = vars(one)
        for name in names:
            value = inside.get(name)
            if type(value) is types.ModuleType:
                if id(value) not in seen and is_library_module(value.__name__):
                    seen.add(id(value))
                    pending.append(value)
            elif value is not None and is_users_own(value):
                yield f"{one.__name__}.{name}", value


def changed_builtin(name: str) -> bool:
    """Is this builtin another one than Python's, or none of Python's?"""
    value = vars(builtins)[name]
    if name in _BUILTINS and _BUILTINS[name] is value:
        return False
    if isinstance(value, types.FunctionType | type) and is_importable(value):
        return False
    # The shell's own helpers.
    return not is_library_module(getattr(value, "__module__", None) or type(value).__module__)


# --- Code that travels by name ---------------------------------------------------------------------


def travels_by_name(obj: Any) -> tuple[str, str] | None:
    """Module and name of a function, class or module of the user's that is sent as no more than that."""
    if isinstance(obj, types.ModuleType):
        name: Any = obj.__name__
        return None if name == "__main__" or is_library_module(name) else (name, "")
    module = getattr(obj, "__module__", None)
    if not isinstance(module, str) or module in {"__main__", "__mp_main__", "builtins"}:
        return None
    if is_library_module(module) or find(module, obj.__qualname__) is not obj:
        return None
    return module, obj.__qualname__


def why_not_the_same(by_name: list[tuple[str, str, str]], absent: list[str]) -> str | None:
    """Why code that came by its name is not the code that was planned; None: it is."""
    from nbrewind.tasks.content import fingerprint_by_name

    for name in absent:
        if hasattr(builtins, name):
            return f"{name} means something on the worker alone"
    for module, qualname, fp in by_name:
        found = find(module, qualname)
        if found is None or fingerprint_by_name(found) != fp:
            return f"the worker has another {module}{qualname and '.'}{qualname}"
    return None


def find(module: str, qualname: str) -> Any:
    """What has this name here; None when there is nothing."""
    found: Any = sys.modules.get(module)
    if found is None:
        try:
            found = importlib.import_module(module)
        except Exception:  # noqa: BLE001 - a module may raise anything
            return None
    for part in filter(None, qualname.split(".")):
        found = getattr(found, part, None)
    return found

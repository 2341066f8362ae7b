"""Ambient state: what cells change outside the namespace, in this process.

Each provider can snapshot, restore and fingerprint one kind of state. Two sorts:

* generators of random numbers are an input of the runs that drew from them (their state changed meanwhile);
* settings (options, contexts, the working directory, the environment) are an input of every run, apart from those of
  which it is known who looked at them (`settings.py`).

A generator that nobody has seeded has the fingerprint `initial`, however often it was drawn from: its entropy is an
outside input, and what was drawn is given back as recorded.
"""

from __future__ import annotations

import asyncio
import builtins
import decimal
import functools
import locale
import os
import random
import re
import sys
import uuid
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from nbrewind.fingerprint import is_library_module, walk
from nbrewind.kernel import figures, settings

INITIAL = "initial"


class CannotReset(Exception):
    """Some ambient state cannot be made as it was when the session began."""


# Variables that are credentials, or belong to the session rather than to the work: they stay live, never stored.
_PRIVATE = re.compile(
    r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_KEY|PRIVATE|^(JPY_|DISPLAY|SSH_|XDG_|DBUS_)|^(PWD|OLDPWD|_|SHLVL)$"
)


@dataclass(frozen=True)
class Provider:
    """One kind of ambient state. `get` returns None while its module is not loaded.

    `default` gives the state of a module that was just loaded; for a generator it draws a new state, as a new process
    would.
    """

    name: str
    get: Callable[[], Any]
    set: Callable[[Any], None]
    is_generator: bool = False
    default: Callable[[], Any] | None = None
    # It speaks of names: it can be restored only when they are loaded.
    is_late: bool = False
    # The default is known also while the module is not loaded.
    is_default_known: bool = False
    # Kept in a context variable: what a cell with top-level `await` sets is gone when it ends.
    is_contextual: bool = False


def is_transient() -> bool:
    """True in a cell with top-level `await`: it is a task of its own, with a copy of the context variables."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return False
    code = getattr(task.get_coro(), "cr_code", None) if task is not None else None
    return code is not None and code.co_name == "run_cell_async"


def _module(name: str) -> Any:
    return sys.modules.get(name)


def _numpy_random_get() -> Any:
    numpy = _module("numpy.random")
    return None if numpy is None else numpy.get_state(legacy=False)


def _numpy_random_set(state: Any) -> None:
    import numpy as np

    np.random.set_state(state)


def _torch_get() -> Any:
    torch = _module("torch")
    return None if torch is None else torch.get_rng_state().numpy().tobytes()


def _torch_set(state: Any) -> None:
    import numpy as np
    import torch

    torch.set_rng_state(torch.from_numpy(np.frombuffer(state, dtype="uint8").copy()))


def _numpy_random_new() -> Any:
    import numpy as np

    np.random.seed(None)
    return _numpy_random_get()


def _random_new() -> Any:
    random.seed()
    return random.getstate()


def _torch_new() -> Any:
    import torch

    # The seed with which every process begins.
    torch.manual_seed(67280421310721)
    return _torch_get()


def _pandas_default() -> Any:
    return _pandas_defaults(_pandas_get())


def _pandas_tables_default() -> Any:
    return _pandas_defaults(_pandas_tables_get())


def _pandas_defaults(keys: Iterable[str]) -> Any:
    registered = _module("pandas._config.config")._registered_options
    return {key: registered[key].defval for key in keys}


def _rc_default() -> Any:
    import matplotlib

    original = getattr(matplotlib, "rcParamsOrig", matplotlib.rcParamsDefault)
    # Drawing as one types belongs to the front end, like the backend.
    return {
        key: text if key == "interactive" else str(dict.__getitem__(original, key))
        for key, text in _rc_get().items()
    }


def _backend_get() -> Any:
    """The backend of pyplot once it is chosen: with it comes how figures are shown."""
    pyplot = _module("matplotlib.pyplot")
    if pyplot is None or getattr(pyplot, "_backend_mod", None) is None:
        return None
    return _backend_name(dict.__getitem__(_module("matplotlib").rcParams, "backend"))


def _backend_name(name: Any) -> str:
    return "inline" if name == _INLINE else str(name)


_INLINE = "module://matplotlib_inline.backend_inline"


def _backend_set(state: str) -> None:
    import matplotlib.pyplot as plt

    if _backend_get() != state:
        plt.switch_backend(_INLINE if state == "inline" else state)


def _backend_default() -> Any:
    # What the front end asks for; pyplot chooses it when the first figure is made.
    chosen = os.environ.get("MPLBACKEND")
    return _backend_name(chosen) if chosen else _backend_get()


def _sklearn_default() -> Any:
    return dict(_module("sklearn._config")._global_config)


def _numpy_print_default() -> Any:
    known = {
        "edgeitems": 3, "threshold": 1000, "floatmode": "maxprec", "precision": 8, "suppress": False,
        "linewidth": 75, "nanstr": "nan", "infstr": "inf", "sign": "-", "formatter": None, "legacy": False,
        "override_repr": None,
    }  # fmt: skip
    return {key: known.get(key) for key in _numpy_print_get() or ()}


def _numpy_errors_default() -> Any:
    return {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}


def _pandas_get() -> Any:
    return _pandas_options(lambda key: not settings.is_of_tables(key))


def _pandas_tables_get() -> Any:
    return _pandas_options(settings.is_of_tables)


def _pandas_options(is_wanted: Callable[[str], bool]) -> Any:
    pandas = _module("pandas")
    config = _module("pandas._config.config")
    if pandas is None or config is None:
        return None
    registered = getattr(config, "_registered_options", None)
    if registered is None:
        return None
    deprecated = getattr(config, "_deprecated_options", {})
    wanted = [key for key in sorted(registered) if key not in deprecated and is_wanted(key)]
    try:
        # `get_option` takes each for a pattern and looks for what else it could mean, at the end of every cell.
        places = [(key, config._get_root(key)) for key in wanted]
        return {key: root[last] for key, (root, last) in places}
    except (AttributeError, KeyError, TypeError, ValueError):
        return {key: pandas.get_option(key) for key in wanted}


def _pandas_set(state: dict[str, Any]) -> None:
    import pandas as pd

    for key, value in state.items():
        if pd.get_option(key) != value:
            pd.set_option(key, value)


def _rc_get() -> Any:
    matplotlib = _module("matplotlib")
    params = getattr(matplotlib, "rcParams", None)
    if params is None:
        return None
    # The backend belongs to the front end.
    return {
        key: str(dict.__getitem__(params, key))
        for key in sorted(params)
        if not key.startswith("backend")
    }


def _rc_set(state: dict[str, str]) -> None:
    import matplotlib

    for key, text in state.items():
        if str(dict.__getitem__(matplotlib.rcParams, key)) != text:
            matplotlib.rcParams[key] = text


def _sklearn_get() -> Any:
    config = _module("sklearn._config")
    return None if config is None else dict(config.get_config())


def _sklearn_set(state: dict[str, Any]) -> None:
    import sklearn

    sklearn.set_config(**state)


def _numpy_print_get() -> Any:
    numpy = _module("numpy")
    return (
        None
        if numpy is None or not hasattr(numpy, "get_printoptions")
        else numpy.get_printoptions()
    )


def _numpy_legacy_get() -> Any:
    # What numbers by themselves look like: compiled code reads it where nobody sees it.
    options = _numpy_print_get()
    return None if options is None else {"legacy": options.get("legacy", False)}


def _numpy_legacy_set(state: dict[str, Any]) -> None:
    import numpy as np

    np.set_printoptions(**state)


def _numpy_legacy_default() -> Any:
    return {"legacy": False}


def _numpy_print_set(state: dict[str, Any]) -> None:
    import numpy as np

    np.set_printoptions(**{key: value for key, value in state.items() if key != "override_repr"})


class Places:
    """Working directory, environment and module path, as differences from how the session began."""

    def __init__(self) -> None:
        self.root = os.path.realpath(os.getcwd())
        self.env = dict(os.environ)
        self.path = list(sys.path)
        # Variables that cells set which are never recorded.
        self.unrecorded: set[str] = set()

    def is_private(self, name: str) -> bool:
        """True for variables that stay live and are never stored."""
        return name in self.unrecorded or _PRIVATE.search(name) is not None

    def adopt(
        self, before: tuple[dict[str, str], list[str]], named: set[str], *, path: bool
    ) -> None:
        """Take what starting an engine changed since `before` as part of how the session began.

        Variables that the cell's own code names, and the module path if the code speaks of it, stay changes.
        """
        env, entries = before
        now = dict(os.environ)
        for name in set(env) | set(now):
            if env.get(name) != now.get(name) and name not in named:
                if name in now:
                    self.env[name] = now[name]
                else:
                    self.env.pop(name, None)
        if path:
            self.path += [
                entry for entry in sys.path if entry not in entries and not _is_workers(entry)
            ]

    def cwd_get(self) -> Any:
        """The working directory relative to where the session began."""
        try:
            return os.path.relpath(os.path.realpath(os.getcwd()), self.root)
        except OSError:
            return None

    def cwd_set(self, state: str) -> None:
        """Go there."""
        os.chdir(os.path.join(self.root, state))

    def env_get(self) -> dict[str, str | None]:
        """Variables that differ from the session's beginning; None: unset since."""
        now = dict(os.environ)
        names = sorted(set(now) | set(self.env))
        return {
            name: now.get(name)
            for name in names
            if now.get(name) != self.env.get(name) and not self.is_private(name)
        }

    def private_changes(self, before: dict[str, str]) -> list[str]:
        """Names of credentials and session variables that changed since: they are never stored."""
        names = set(before) | set(os.environ)
        return sorted(
            name
            for name in names
            if self.is_private(name) and before.get(name) != os.environ.get(name)
        )

    def env_set(self, state: dict[str, str | None]) -> None:
        """Apply the recorded differences."""
        for name in self.env_get():
            if name not in state:
                if name in self.env:
                    os.environ[name] = self.env[name]
                else:
                    os.environ.pop(name, None)
        for name, value in state.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    def path_get(self) -> list[Any]:
        """What was put on the module path since the session began, and where: how many of the first entries come
        before it, -1 for all. And which of those are gone.
        """
        found: list[Any] = []
        n_before, own = 0, set(self.path)
        n_left = sum(entry in own for entry in sys.path)
        for entry in sys.path:
            if _is_workers(entry):
                continue
            if entry in own:
                n_before += 1
            else:
                found.append([entry, -1 if n_before == n_left and n_before else n_before])
        gone = [at for at, entry in enumerate(self.path) if entry not in sys.path]
        return [*found, {"gone": gone}] if gone else found

    def path_set(self, state: list[Any]) -> None:
        """Put the same entries where they were, and take away what else came since."""
        sys.path[:] = [*filter(_is_workers, sys.path), *self.path_of(state)]

    def path_of(self, state: list[Any]) -> list[Any]:
        """The module path with these entries, without folders of workers."""
        gone = [at for item in state if isinstance(item, dict) for at in item["gone"]]
        path = [entry for at, entry in enumerate(self.path) if at not in gone]
        added: list[Any] = [item for item in state if not isinstance(item, dict)]
        # Older records have them all in front.
        added = [[item, 0] if isinstance(item, str) else item for item in added]
        made = [entry for entry, n_before in added if n_before == 0]
        for at, entry in enumerate(path, 1):
            made.append(entry)
            made += [one for one, n_before in added if n_before == at]
        made += [one for one, n_before in added if n_before == -1 or n_before > len(path)]
        return made

    def reset(self) -> None:
        """Everything as the session began, credentials and session variables too."""
        os.chdir(self.root)
        for name in set(os.environ) - set(self.env):
            del os.environ[name]
        for name, value in self.env.items():
            if os.environ.get(name) != value:
                os.environ[name] = value
        sys.path[:] = [*filter(_is_workers, sys.path), *self.path]


def _is_workers(entry: str) -> bool:
    """True for the folder of one of Dask's workers in this process, which puts it on the module path.

    Workers come and go with the cluster, at any moment. What is uploaded into that folder is told by the upload.
    """
    return _OF_WORKERS.search(str(entry)) is not None


_OF_WORKERS = re.compile(r"[/\\]dask-(?:scratch|worker)-space[/\\]")


def _numpy_errors_get() -> Any:
    numpy = _module("numpy")
    return None if numpy is None or not hasattr(numpy, "geterr") else numpy.geterr()


def _numpy_errors_set(state: dict[str, Any]) -> None:
    import numpy as np

    np.seterr(**state)


def _logging_get() -> dict[str, Any]:
    """Level, handlers and filters of every logger that somebody set up; the kernel's own libraries do not count."""
    import logging

    loggers = {"": logging.root, **logging.root.manager.loggerDict}
    found = {}
    for name, logger in sorted(loggers.items()):
        top = name.partition(".")[0]
        if not isinstance(logger, logging.Logger) or top in _SERVICE_LOGGERS:
            continue
        kept: tuple[str, ...] = ()
        if logger.handlers or logger.filters:
            handlers = [one for one in logger.handlers if not isinstance(one, logging.NullHandler)]
            kept = (*map(_handler_text, handlers), *map(_filter_text, logger.filters))
        state = (logger.level, logger.disabled, logger.propagate, kept)
        if state == _UNTOUCHED and name in _set_up_by_library:
            # Most of some hundreds.
            continue
        # What a library sets up for itself when it is imported counts only once it changes.
        if is_library_module(top) and name not in _set_up_by_user:
            if _set_up_by_library.setdefault(name, state) == state:
                continue
        if state != _UNTOUCHED:
            found[name] = state
    return found


_UNTOUCHED: tuple[int, bool, bool, tuple[str, ...]] = (0, False, True, ())
_set_up_by_library: dict[str, tuple[int, bool, bool, tuple[str, ...]]] = {}
# Names of loggers that the user's code set something of, perhaps in the cell that imports their library.
_set_up_by_user: set[str] = set()


def _watch_loggers() -> None:
    """Note which loggers the user's code sets up."""
    import logging

    for name in ("setLevel", "addHandler", "addFilter"):
        original = getattr(logging.Logger, name)
        if not hasattr(original, "_nbrewind_original"):
            setattr(logging.Logger, name, _noting_loggers(original))


def _noting_loggers(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if not is_library_module(caller) and caller.partition(".")[0] != "nbrewind":
            _set_up_by_user.add(self.name)
        return original(self, *args, **kwargs)

    call._nbrewind_original = original  # type: ignore[attr-defined]
    return call


def _handler_text(handler: Any) -> str:
    """What a handler writes where, as far as a text can say it."""
    formatter, stream = handler.formatter, getattr(handler, "stream", None)
    file = os.path.basename(getattr(handler, "baseFilename", ""))
    parts = [
        type(handler).__qualname__,
        handler.level,
        file or str(getattr(stream, "name", None)),
        formatter and (type(formatter).__qualname__, formatter._fmt, formatter.datefmt),
        type(getattr(formatter, "_style", None)).__qualname__,
        list(map(_filter_text, handler.filters)),
    ]
    return repr(parts)


def _filter_text(one: Any) -> str:
    code = getattr(one, "__code__", None)
    name = getattr(one, "__qualname__", None) or type(one).__qualname__
    return f"{name} {code.co_code.hex()} {code.co_consts}" if code is not None else str(name)


def _made_by_first_message() -> tuple[str, ...]:
    """The handler that `logging.warning()` gives to the root when it has none."""
    import logging

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(logging.BASIC_FORMAT))
    return (_handler_text(handler),)


def handlers_of(state: dict[str, Any]) -> dict[str, Any]:
    """Of the state of logging what cannot be given back: objects that write somewhere."""
    basic = ("", _made_by_first_message())
    kept = {name: found[3] for name, found in state.items() if found[3]}
    return {name: texts for name, texts in kept.items() if (name, texts) != basic}


def _logging_set(state: dict[str, Any]) -> None:
    import logging

    for name in {*_logging_get(), *state}:
        found = state.get(name, _set_up_by_library.get(name, _UNTOUCHED))
        level, disabled, propagate, kept = found
        logger = logging.getLogger(name)
        if not name and kept == _made_by_first_message() and not logger.handlers:
            logging.basicConfig()
        logger.setLevel(level)
        logger.disabled, logger.propagate = disabled, propagate


# `distributed` sets up the logger of `bokeh`, whether that is there or not.
_SERVICE_LOGGERS = frozenset(
    "IPKernelApp traitlets tornado asyncio distributed bokeh zmq parso concurrent".split()
)


def _decimal_set(state: tuple[Any, ...]) -> None:
    # The context itself stays: names may hold it.
    context = decimal.getcontext()
    names = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")
    *values, traps = state
    for name, value in zip(names, values, strict=True):
        setattr(context, name, value)
    for signal in context.traps:
        context.traps[signal] = signal.__name__ in traps


class Filters:
    """Filters of warnings that the user's code made. Those that libraries make for themselves do not count: which
    library is imported first is no setting.
    """

    def __init__(self) -> None:
        self._own: list[Any] = []
        self._first = list(warnings.filters)
        self._is_cleared = False
        for name in ("simplefilter", "filterwarnings", "resetwarnings"):
            setattr(warnings, name, self._watched(getattr(warnings, name)))

    def _watched(self, original: Callable[..., None]) -> Callable[..., None]:
        original = getattr(original, "_nbrewind_original", original)

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> None:
            before = list(warnings.filters)
            original(*args, **kwargs)
            note(before)
            settings.heed_filters()

        def note(before: list[Any]) -> None:
            if is_library_module(sys._getframe(2).f_globals.get("__name__", "")):
                return
            now = list(warnings.filters)
            if not now:
                self._own, self._is_cleared = [], True
            elif now != before:
                # A filter is put at the front or, when asked for, at the end.
                added = now[-1] if now[:1] == before[:1] else now[0]
                self._own = [one for one in self._own if one != added] + [added]

        call._nbrewind_original = original  # type: ignore[attr-defined]
        return call

    def get(self) -> Any:
        """The user's filters in order, as text."""
        now = settings.filters()
        shown = []
        for at, (action, message, category, module, line) in enumerate(now):
            if now[at] in self._own:
                texts = [getattr(part, "pattern", part) for part in (message, module)]
                kind = (category.__module__, category.__qualname__)
                is_last = any(one not in self._own for one in now[:at])
                shown.append((action, *texts, kind, line, is_last))
        return (tuple(shown), self._is_cleared)

    def set(self, state: Any) -> None:
        """These filters instead of the user's others. A class of warnings that is not there any more is left out."""
        shown, is_cleared = state
        rest = [one for one in warnings.filters if one not in self._own]
        if is_cleared != self._is_cleared:
            rest = [] if is_cleared else list(self._first)
        front: list[Any] = []
        back: list[Any] = []
        for action, message, module, (place, name), line, is_last in shown:
            category = getattr(sys.modules.get(place) or builtins, name, None)
            if category is None:
                continue
            patterns = [
                text and re.compile(text, flag) for text, flag in ((message, re.I), (module, 0))
            ]
            (back if is_last else front).append((action, patterns[0], category, patterns[1], line))
        self._own, self._is_cleared = [*front, *back], is_cleared
        warnings.filters[:] = [*front, *rest, *back]  # type: ignore[index]
        # Leaving this block tells the interpreter that the filters changed.
        with warnings.catch_warnings():
            pass


def _locale_set(state: str) -> None:
    locale.setlocale(locale.LC_ALL, state)


def _decimal_get() -> tuple[Any, ...]:
    now = decimal.getcontext()
    # The flags that arithmetic raises are not looked after: every division would be a change of the settings.
    traps = tuple(sorted(signal.__name__ for signal, is_on in now.traps.items() if is_on))
    return (now.prec, now.rounding, now.Emin, now.Emax, now.capitals, now.clamp, traps)


def providers(places: Places) -> list[Provider]:
    """Every kind of ambient state that a session looks after."""
    filters = Filters()
    _watch_loggers()
    # fmt: off
    return [
        Provider("random", lambda: _module("random") and random.getstate(), random.setstate, True, _random_new),
        Provider("numpy.random", _numpy_random_get, _numpy_random_set, True, _numpy_random_new),
        Provider("torch random", _torch_get, _torch_set, True, _torch_new),
        Provider("working directory", places.cwd_get, places.cwd_set),
        Provider("environment", places.env_get, places.env_set),
        Provider("module path", places.path_get, places.path_set),
        Provider("pandas options", _pandas_get, _pandas_set, default=_pandas_default),
        Provider(settings.TABLES, _pandas_tables_get, _pandas_set, default=_pandas_tables_default),
        Provider(settings.PARAMETERS, _rc_get, _rc_set, default=_rc_default),
        Provider("backend of pyplot", _backend_get, _backend_set, default=_backend_default, is_default_known=True),
        Provider(settings.LEARNING, _sklearn_get, _sklearn_set, default=_sklearn_default),
        Provider("numpy legacy printing", _numpy_legacy_get, _numpy_legacy_set, default=_numpy_legacy_default,
                 is_contextual=True),
        Provider(settings.ARRAYS, _numpy_print_get, _numpy_print_set, default=_numpy_print_default,
                 is_contextual=True),
        Provider(settings.ERRORS, _numpy_errors_get, _numpy_errors_set, default=_numpy_errors_default,
                 is_contextual=True),
        Provider("logging", _logging_get, _logging_set),
        Provider("recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
        Provider("decimal context", _decimal_get, _decimal_set, is_contextual=True),
        Provider(settings.WARNINGS, filters.get, filters.set),
        Provider("locale", lambda: locale.setlocale(locale.LC_ALL), _locale_set),
    ]
    # fmt: on


class Ambient:
    """The ambient state of one session: fingerprints as they are now, symbolic during replay."""

    def __init__(self, *more: Provider) -> None:
        self.places = Places()
        every = (*providers(self.places), *more)
        self.providers = {provider.name: provider for provider in every}
        # Generators as they are before the first cell; starting a kernel draws from them, too.
        self._initial: dict[str, str | None] | None = None
        self._used: set[str] = set()
        # The state with which the session began, by provider; None: its module was not loaded.
        self._beginning: dict[str, Any] = {}
        # Modules that this process loaded in an earlier life, with the fingerprint of their untouched state: as good
        # as not loaded.
        self._masked: dict[str, str | None] = {}

    def begin(self, *, is_fresh: bool) -> None:
        """Note the state with which the session begins. In a kernel that is not fresh, generators may be seeded."""
        self._initial = {
            name: state_fp(provider.get()) if is_fresh else None
            for name, provider in self.providers.items()
            if provider.is_generator
        }
        self._beginning = {name: provider.get() for name, provider in self.providers.items()}
        self.at_beginning = {
            name: INITIAL
            if provider.is_generator and self._beginning[name] is not None
            else state_fp(self._beginning[name])
            for name, provider in self.providers.items()
        }

    def fingerprints(self) -> dict[str, str | None]:
        """Every provider's state now, as `state_fp`."""
        assert self._initial is not None
        found: dict[str, str | None] = {}
        for name, provider in self.providers.items():
            fp = state_fp(provider.get())
            if name in self._masked:
                if fp == self._masked[name]:
                    found[name] = None
                    continue
                del self._masked[name]
            if provider.is_generator and fp is not None:
                if fp == self._initial[name] and name not in self._used:
                    fp = INITIAL
                else:
                    self._used.add(name)
            found[name] = fp
        return found

    def settle(self, before: dict[str, str | None]) -> None:
        """Generators that nobody has seeded are as good as new after any number of draws: their entropy is an outside
        input. Called when what ran since `before` was taken seeded nothing.
        """
        assert self._initial is not None
        for name, provider in self.providers.items():
            if provider.is_generator and before.get(name) in {None, INITIAL}:
                fp = state_fp(provider.get())
                if name in self._masked:
                    self._masked[name] = fp
                self._initial[name] = fp
                self._used.discard(name)

    def state_at_beginning(self, name: str) -> Any:
        """The state with which the session began; of a module that was not loaded, its default."""
        first, default = self._beginning.get(name), self.providers[name].default
        return default() if first is None and default is not None else first

    def snapshot(self, name: str) -> Any:
        """The state itself."""
        return self.providers[name].get()

    def restore(self, name: str, state: Any) -> None:
        """Give a recorded state back."""
        self.providers[name].set(state)
        self._masked.pop(name, None)
        self._used.add(name)

    def snapshots(self) -> dict[str, Any]:
        """All of it, to be put back with `put_back`."""
        assert self._initial is not None
        states = {name: provider.get() for name, provider in self.providers.items()}
        own = (dict(self._initial), set(self._used), dict(self._masked))
        return {
            "states": states,
            "own": own,
            "environment": dict(os.environ),
            "path": list(sys.path),
            "figures": figures.snapshot(),
        }

    def snapshot_contextual(self) -> dict[str, Any]:
        """What is kept in context variables; empty where it stays when the cell ends."""
        if not is_transient():
            return {}
        return {
            name: provider.get()
            for name, provider in self.providers.items()
            if provider.is_contextual
        }

    def put_back_contextual(self, states: dict[str, Any]) -> None:
        """As it is for the cells that follow."""
        for name, state in states.items():
            provider = self.providers[name]
            now = provider.get()
            if state is None and now is not None and provider.default is not None:
                # Its module was loaded meanwhile.
                state = provider.default()
            if state is not None and not _same(now, state):
                provider.set(state)

    def snapshot_generators(self) -> dict[str, Any]:
        """The state of every generator of random numbers; None where its module is not loaded."""
        return {
            name: provider.get()
            for name, provider in self.providers.items()
            if provider.is_generator
        }

    def put_back_generators(self, states: dict[str, Any]) -> None:
        """What `snapshot_generators` took."""
        for name, state in states.items():
            provider = self.providers[name]
            if state is not None and not _same(provider.get(), state):
                provider.set(state)

    def put_back(self, taken: dict[str, Any]) -> None:
        """What `snapshots` took."""
        for name, provider in self.providers.items():
            state = taken["states"][name]
            if not provider.is_late and state is not None and not _same(provider.get(), state):
                provider.set(state)
        for name in set(os.environ) - set(taken["environment"]):
            del os.environ[name]
        os.environ.update(taken["environment"])
        sys.path[:] = taken["path"]
        figures.put_back(taken["figures"])
        initial, used, masked = taken["own"]
        self._initial, self._used, self._masked = dict(initial), set(used), dict(masked)

    def reset(self, name: str) -> None:
        """Make it as it was when the session began, or as a module is when it was just loaded."""
        assert self._initial is not None
        provider = self.providers[name]
        now = provider.get()
        if now is None:
            return
        first = self._beginning.get(name)
        if provider.is_generator and provider.default is not None:
            fp = state_fp(provider.default())
            self._initial[name] = fp
            self._used.discard(name)
        else:
            if first is None and provider.default is not None:
                first = provider.default()
            if first is None or not _same(now, first):
                try:
                    provider.set(first)
                except Exception as error:
                    raise CannotReset(f"{name} cannot be reset ({error})") from error
                if not _same(provider.get(), first):
                    raise CannotReset(f"{name} cannot be reset")
            fp = state_fp(provider.get())
        if self._beginning.get(name) is None:
            self._masked[name] = fp

    def default_fp(self, name: str) -> str | None:
        """Fingerprint of the state of a module that was just loaded: as good as not loaded. None: not known."""
        provider = self.providers.get(name)
        if (
            provider is None
            or provider.default is None
            or provider.is_generator
            or (provider.get() is None and not provider.is_default_known)
        ):
            return None
        return state_fp(provider.default())

    def cannot_reset(self) -> list[str]:
        """Kinds of state that `reset` could not bring back."""
        found = []
        now, first = self.snapshot("logging"), self._beginning.get("logging") or {}
        if any(state[3] != (first.get(name) or _UNTOUCHED)[3] for name, state in now.items()):
            found.append("logging")
        return found


def state_fp(state: Any) -> str | None:
    """The fingerprint of a state; None: its module is not loaded.

    What cannot be compared is equal to nothing, also not to itself a moment ago.
    """
    if state is None:
        return None
    return walk(state).fp or f"not comparable {uuid.uuid4().hex}"


def _same(state: Any, other: Any) -> bool:
    fp = walk(state).fp
    return fp is not None and fp == walk(other).fp

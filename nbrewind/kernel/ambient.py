"""Ambient state: what cells change outside the namespace, in this process.

Each provider can snapshot, restore and fingerprint one kind of state. Two sorts:

* generators of random numbers are an input of the runs that drew from them (their state changed meanwhile);
* settings (options, contexts, the working directory, the environment) are an input of every run.

A generator that nobody has seeded has the fingerprint `initial`, however often it was drawn from: its entropy is an
outside input, and what was drawn is given back as recorded.
"""

from __future__ import annotations

import decimal
import locale
import os
import random
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nbrewind.fingerprint import walk

INITIAL = "initial"

# Variables that are credentials, or belong to the session rather than to the work: they stay live, never stored.
_PRIVATE = re.compile(
    r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_KEY|PRIVATE|^(JPY_|DISPLAY|SSH_|XDG_|DBUS_)|^(PWD|OLDPWD|_|SHLVL)$"
)


@dataclass(frozen=True)
class Provider:
    """One kind of ambient state. `get` returns None while its module is not loaded."""

    name: str
    get: Callable[[], Any]
    set: Callable[[Any], None]
    is_generator: bool = False


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


def _pandas_get() -> Any:
    pandas = _module("pandas")
    config = _module("pandas._config.config")
    if pandas is None or config is None:
        return None
    registered = getattr(config, "_registered_options", None)
    if registered is None:
        return None
    deprecated = set(getattr(config, "_deprecated_options", {}))
    return {key: pandas.get_option(key) for key in sorted(registered) if key not in deprecated}


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


def _numpy_print_set(state: dict[str, Any]) -> None:
    import numpy as np

    np.set_printoptions(**{key: value for key, value in state.items() if key != "override_repr"})


class Places:
    """Working directory, environment and module path, as differences from how the session began."""

    def __init__(self) -> None:
        self.root = os.path.realpath(os.getcwd())
        self.env = dict(os.environ)
        self.path = list(sys.path)

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
            self.path += [entry for entry in sys.path if entry not in entries]

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
            if now.get(name) != self.env.get(name) and not _PRIVATE.search(name)
        }

    def private_changes(self, before: dict[str, str]) -> list[str]:
        """Names of credentials and session variables that changed since: they are never stored."""
        names = set(before) | set(os.environ)
        return sorted(
            name
            for name in names
            if _PRIVATE.search(name) and before.get(name) != os.environ.get(name)
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

    def path_get(self) -> list[str]:
        """What was put on the module path since the session began."""
        return [entry for entry in sys.path if entry not in self.path]

    def path_set(self, state: list[str]) -> None:
        """Put the same entries in front."""
        sys.path[:] = state + [entry for entry in sys.path if entry not in state]


def _numpy_errors_get() -> Any:
    numpy = _module("numpy")
    return None if numpy is None or not hasattr(numpy, "geterr") else numpy.geterr()


def _numpy_errors_set(state: dict[str, Any]) -> None:
    import numpy as np

    np.seterr(**state)


def _logging_get() -> dict[str, Any]:
    """Level and handlers of every logger that somebody set up; the kernel's own libraries do not count."""
    import logging

    loggers = {"": logging.root, **logging.root.manager.loggerDict}
    return {
        name: (logger.level, logger.disabled, logger.propagate, len(logger.handlers))
        for name, logger in sorted(loggers.items())
        if isinstance(logger, logging.Logger)
        and (logger.level or logger.disabled or logger.handlers or not logger.propagate)
        and name.partition(".")[0] not in _SERVICE_LOGGERS
    }


def _logging_set(state: dict[str, Any]) -> None:
    import logging

    for name, (level, disabled, propagate, _) in state.items():
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.disabled, logger.propagate = disabled, propagate


_SERVICE_LOGGERS = frozenset(
    "IPKernelApp traitlets tornado asyncio distributed zmq parso asyncio concurrent matplotlib PIL".split()
)


def _decimal_set(state: tuple[Any, ...]) -> None:
    precision, rounding, low, high, capitals, clamp = state
    decimal.setcontext(
        decimal.Context(
            prec=precision, rounding=rounding, Emin=low, Emax=high, capitals=capitals, clamp=clamp
        )
    )


def _locale_set(state: str) -> None:
    locale.setlocale(locale.LC_ALL, state)


def _decimal_get() -> tuple[Any, ...]:
    now = decimal.getcontext()
    return (now.prec, now.rounding, now.Emin, now.Emax, now.capitals, now.clamp)


def providers(places: Places) -> list[Provider]:
    """Every kind of ambient state that a session looks after."""
    return [
        Provider("random", lambda: _module("random") and random.getstate(), random.setstate, is_generator=True),
        Provider("numpy.random", _numpy_random_get, _numpy_random_set, is_generator=True),
        Provider("torch random", _torch_get, _torch_set, is_generator=True),
        Provider("working directory", places.cwd_get, places.cwd_set),
        Provider("environment", places.env_get, places.env_set),
        Provider("module path", places.path_get, places.path_set),
        Provider("pandas options", _pandas_get, _pandas_set),
        Provider("matplotlib rcParams", _rc_get, _rc_set),
        Provider("scikit-learn configuration", _sklearn_get, _sklearn_set),
        Provider("numpy print options", _numpy_print_get, _numpy_print_set),
        Provider("numpy error handling", _numpy_errors_get, _numpy_errors_set),
        Provider("logging", _logging_get, _logging_set),
        Provider("recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
        Provider("decimal context", _decimal_get, _decimal_set),
        Provider("locale", lambda: locale.setlocale(locale.LC_ALL), _locale_set),
    ]  # fmt: skip


class Ambient:
    """The ambient state of one session: fingerprints as they are now, symbolic during replay."""

    def __init__(self) -> None:
        self.places = Places()
        self.providers = {provider.name: provider for provider in providers(self.places)}
        # Generators as they are before the first cell; starting a kernel draws from them, too.
        self._initial: dict[str, str | None] | None = None
        self._used: set[str] = set()

    def fingerprints(self) -> dict[str, str | None]:
        """Every provider's state now; None: its module is not loaded, or it cannot be compared."""
        if self._initial is None:
            self._initial = {
                name: walk(p.get()).fp for name, p in self.providers.items() if p.is_generator
            }
        found: dict[str, str | None] = {}
        for name, provider in self.providers.items():
            state = provider.get()
            fp = None if state is None else walk(state).fp
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
        for name, provider in self.providers.items():
            if (
                provider.is_generator
                and before.get(name) in {None, INITIAL}
                and self._initial is not None
            ):
                self._initial[name] = walk(provider.get()).fp
                self._used.discard(name)

    def snapshot(self, name: str) -> Any:
        """The state itself."""
        return self.providers[name].get()

    def restore(self, name: str, state: Any) -> None:
        """Give a recorded state back."""
        self.providers[name].set(state)
        self._used.add(name)

"""Engines whose graphs go through the task cache, each hooked when its modules are imported."""

from __future__ import annotations

import concurrent.futures  # noqa: F401 - hooks need it, so it must not be hooked while they are imported
import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Container, Sequence
from types import ModuleType
from typing import Any

# Module -> what to call with it once it is imported: (engine module, hook, unhook).
_HOOKS = {
    "dask.base": ("nbrewind.tasks.engines.dask", "hook_base", "unhook_base"),
    "distributed.client": ("nbrewind.tasks.engines.dask", "hook_client", "unhook_client"),
    "concurrent.futures._base": ("nbrewind.tasks.engines.futures", "hook_base", "unhook_base"),
    "parsl.dataflow.dflow": ("nbrewind.tasks.engines.parsl", "hook_kernel", "unhook_kernel"),
    "ndcctools.taskvine.manager": (
        "nbrewind.tasks.engines.taskvine",
        "hook_manager",
        "unhook_manager",
    ),
    "ndcctools.taskvine.dask_executor": (
        "nbrewind.tasks.engines.taskvine",
        "hook_dask",
        "unhook_dask",
    ),
    "numpy.random": ("nbrewind.tasks.surroundings", "hook_numpy", "unhook_numpy"),
    "joblib.parallel": ("nbrewind.tasks.engines.joblib", "hook_parallel", "unhook_parallel"),
}
# What clusters of Dask hold besides tasks.
_HOOKS.update(
    dict.fromkeys(
        (
            "distributed.deploy.cluster",
            "distributed.deploy.spec",
            "distributed.event",
            "distributed.multi_lock",
            "distributed.queues",
            "distributed.semaphore",
            "distributed.variable",
        ),
        ("nbrewind.tasks.engines.cluster", "hook_state", "unhook_state"),
    )
)
_hooked: set[str] = set()


def _call(engine: str, function: str, module: ModuleType) -> None:
    getattr(importlib.import_module(engine), function)(module)


def _hook(name: str) -> None:
    module = sys.modules.get(name)
    if name in _hooked or module is None:
        return
    _hooked.add(name)
    engine, hook, _ = _HOOKS[name]
    _call(engine, hook, module)


class _Loader(importlib.abc.Loader):
    """Runs the real loader, then the hook."""

    def __init__(self, loader: Any, then: Callable[[], None]) -> None:
        self.loader = loader
        self.then = then

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        found: ModuleType | None = self.loader.create_module(spec)
        return found

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        if spec is not None:
            spec.loader = self.loader
            module.__loader__ = self.loader
        self.loader.exec_module(module)
        self.then()


class _Finder(importlib.abc.MetaPathFinder):
    """Waits for the modules of the engines."""

    def __init__(self, names: Container[str]) -> None:
        self.names = names

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in self.names or name in _hooked:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _Loader(spec.loader, lambda: _hook(name))
                return spec
        return None


_finder = _Finder(_HOOKS)
# In processes that run tasks of another one: the modules that count there.
_expected: set[str] = set()
_expecting = _Finder(_expected)


def install() -> None:
    """Hook the engines that are imported, and wait for the others."""
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    for name in _HOOKS:
        _hook(name)


def uninstall() -> None:
    """Undo `install`."""
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)
    for name in sorted(_hooked):
        engine, _, unhook = _HOOKS[name]
        module = sys.modules.get(name)
        if module is not None:
            _call(engine, unhook, module)
    _hooked.clear()


def expect(name: str) -> None:
    """Hook one module alone, when it is imported."""
    _expected.add(name)
    if _expecting not in sys.meta_path and _finder not in sys.meta_path:
        sys.meta_path.insert(0, _expecting)
    _hook(name)


def begin_run() -> None:
    """A cell starts: what engines remember about clusters may be out of date."""
    for name in ("dask", "futures"):
        engine = sys.modules.get(f"nbrewind.tasks.engines.{name}")
        if engine is not None:
            engine.begin_run()

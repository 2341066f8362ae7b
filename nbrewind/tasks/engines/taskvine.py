"""TaskVine through the task cache: `PythonTask`, `FunctionCall` and `DaskVine`. Hits are given by the manager.

* A `PythonTask` whose result is stored is never handed to the manager's core: `wait` gives it back as done.
  One that has to run is recorded by its worker. On workers without this package, or out of reach of the
  store, it runs as it is.
* A `FunctionCall` has the fingerprint of its function in the library, whatever the library is called; that
  the library has this very function is checked where it runs.
* `DaskVine.get` is planned like any scheduler of Dask; what the plan loads, the manager loads, so that no
  task is sent out for it. Its workers need this package.

Tasks with further inputs or outputs, variables or environments run as they are.
"""

from __future__ import annotations

import functools
import itertools
import os
import pickle
import types
import weakref
from types import ModuleType
from typing import Any

import cloudpickle

from nbrewind.tasks import calls, worker, wrapped
from nbrewind.tasks.engines import futures

# Ids of tasks that the core has never seen; its own are small.
_ids = itertools.count(1 << 30)
# Libraries by manager: name -> (functions by name, what else they depend on).
_libraries: weakref.WeakKeyDictionary[Any, dict[str, tuple[dict[str, Any], str]]] = (
    weakref.WeakKeyDictionary()
)
_ARGUMENT = "_nbrewind_call"
# What a task is given besides its function and arguments.
_SPECIAL = ("add_environment", "set_env_var", "set_command")


def _record_there(call: bytes, func: Any, args: Any, kwargs: Any) -> Any:
    """Runs on a worker, which may not have this package: sent as a whole."""
    try:
        import pickle

        rest = pickle.loads(call)
    except ImportError:
        return func(*args, **kwargs)
    return rest(func, args, kwargs)


def _by_value(func: Any) -> Any:
    """A copy that pickles as a whole."""
    copy = types.FunctionType(func.__code__, {"__builtins__": __builtins__}, func.__name__)
    copy.__module__ = "__main__"
    return copy


_send_whole = _by_value(_record_there)


def hook_manager(module: ModuleType) -> None:
    """Let managers give back what is known."""
    manager = module.Manager
    futures.hook(manager, "submit", _submit)
    futures.hook(manager, "_pop_cached_result", _pop)
    futures.hook(manager, "wait_for_task_id", _wait_for_task_id)
    futures.hook(manager, "create_library_from_functions", _create_library)
    for name in _SPECIAL:
        futures.hook(module.Task, name, functools.partial(_note_special, name))


def unhook_manager(module: ModuleType) -> None:
    """Undo `hook_manager`."""
    futures.unhook(lambda cls: cls in {module.Manager, module.Task})


def hook_dask(module: ModuleType) -> None:
    """Load on the manager what plans load."""
    futures.hook(module.DaskVine, "get", _get)


def unhook_dask(module: ModuleType) -> None:
    """Undo `hook_dask`."""
    futures.unhook(lambda cls: cls is module.DaskVine)


# --- Tasks ---------------------------------------------------------------------------------------


def _note_special(name: str, original: Any, task: Any, *args: Any, **kwargs: Any) -> Any:
    # A call of a function names that function with its first command.
    if name != "set_command" or "_nbrewind_command" in vars(task):
        task._nbrewind_special = True
    if name == "set_command":
        task._nbrewind_command = args[0] if args else None
    return original(task, *args, **kwargs)


def _call_of(manager: Any, task: Any) -> tuple[Any, tuple[Any, ...], dict[str, Any], str] | None:
    """What a task calls and what else that depends on; None when it is more than a call."""
    if (
        getattr(task, "_nbrewind_special", False)
        or getattr(task, "_tracked_inputs", None)
        or getattr(task, "_tracked_outputs", None)
        or not getattr(task, "_serialize_output", True)
    ):
        return None
    kind = type(task).__name__
    if kind == "PythonTask" and task._fn_def is not None:
        func, args, kwargs = task._fn_def
        return func, tuple(args), dict(kwargs), ""
    if kind == "FunctionCall" and task._event is not None:
        functions, salt = _libraries.get(manager, {}).get(task.get_library_required(), ({}, ""))
        func = functions.get(task._nbrewind_command)
        if func is not None:
            return func, tuple(task._event["fn_args"]), dict(task._event["fn_kwargs"]), salt
    return None


def _submit(original: Any, manager: Any, task: Any) -> Any:
    cache = calls.asking_cache()
    if cache is None or calls.hands_on() or not hasattr(task, "_fn_def"):
        return original(manager, task)
    if type(task).__name__ in {"PythonTaskDask", "FunctionCallDask"}:
        # Part of a graph that was planned.
        return original(manager, task)
    called = _call_of(manager, task)
    for _ in range(2):
        if called is None:
            break
        func, args, kwargs, salt = called
        planned = calls.plan(cache, func, args, kwargs, is_here=False, salt=salt)
        if planned is None:
            break
        if planned.stored is None:
            return _run(original, manager, task, func, args, kwargs, planned)
        try:
            value = planned.value()
        except worker.LoadError:
            continue
        task.manager = manager
        _give(manager, task, value)
        return task.id
    if called is None:
        cache.unseen("a task of TaskVine ran without the cache: it is more than a call")
    else:
        calls.out_of_sight(cache, called[0])
    return original(manager, task)


def _run(
    original: Any,
    manager: Any,
    task: Any,
    func: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    planned: calls.Planned,
) -> Any:
    call = pickle.dumps(wrapped.Rest(planned.execute()))
    if type(task).__name__ == "PythonTask":
        task._fn_def = (_send_whole, (call, func, args, kwargs), {})
    else:
        task._event["fn_kwargs"] = {**kwargs, _ARGUMENT: call}
    return original(manager, task)


def _give(manager: Any, task: Any, value: Any) -> None:
    """Let the manager give back a task as if it had run."""
    task._nbrewind_id = next(_ids)
    task._output, task._output_loaded = value, True
    kind: Any = type(task)
    task.__class__ = _done_kind(kind)
    manager._cached_queue.append(task)


@functools.cache
def _done_kind(kind: Any) -> Any:
    """The class of a task that is done without having run."""

    def output(task: Any) -> Any:
        if task._tmp_output_enabled:
            return kind.output.fget(task)
        return task._output

    def output_file(task: Any) -> Any:
        if task._output_file is None:
            name = os.path.join(task.manager.staging_directory, "outputs", task._id)
            value = task._output
            if kind.__name__ == "FunctionCall":
                value = {"Result": value, "Success": True, "Reason": None}
            with open(name, "wb") as file:
                cloudpickle.dump(value, file)
            task._output_file = task.manager.declare_file(name, cache=True)
        return task._output_file

    body = {
        "id": property(lambda task: task._nbrewind_id),
        "output": property(output),
        "output_file": property(output_file),
        "result": property(lambda task: "success"),
        "exit_code": property(lambda task: 0),
        "std_output": property(lambda task: ""),
        "hostname": property(lambda task: "stored"),
        "addrport": property(lambda task: "stored"),
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
    }
    return type(kind.__name__, (kind,), body)


def _take(manager: Any, is_wanted: Any) -> Any:
    queue = manager._cached_queue
    for at, task in enumerate(queue):
        if hasattr(task, "_nbrewind_id") and is_wanted(task):
            return queue.pop(at)
    return None


def _pop(original: Any, manager: Any, tag: Any) -> Any:
    found = _take(manager, lambda task: tag is None or task.tag == tag)
    return found if found is not None else original(manager, tag)


def _wait_for_task_id(original: Any, manager: Any, task_id: Any, *args: Any, **kwargs: Any) -> Any:
    found = _take(manager, lambda task: task_id in {-1, task._nbrewind_id})
    return found if found is not None else original(manager, task_id, *args, **kwargs)


# --- Libraries -----------------------------------------------------------------------------------


def _create_library(
    original: Any, manager: Any, library_name: Any, *functions: Any, **options: Any
) -> Any:
    cache = calls.asking_cache()
    if cache is None:
        return original(manager, library_name, *functions, **options)
    kept = [options.get(name) for name in ("poncho_env", "init_command", "library_context_info")]
    content = wrapped.content(_identity, (kept, options.get("hoisting_modules")), {})
    if content is None or library_name.startswith("Dask-Library-"):
        return original(manager, library_name, *functions, **options)
    salt = f"; library {content}" if any(kept) else ""
    by_name = {func.__name__: func for func in functions}
    _libraries.setdefault(manager, {})[library_name] = (by_name, salt)
    return original(manager, library_name, *map(_recorded, functions), **options)


def _identity(value: Any) -> Any:
    return value


def _recorded(func: Any) -> Any:
    """A function of a library that records the calls that come with what is needed for it."""
    argument, record = _ARGUMENT, _send_whole

    def call(*args: Any, **kwargs: Any) -> Any:
        token = kwargs.pop(argument, None)
        return func(*args, **kwargs) if token is None else record(token, func, args, kwargs)

    functools.update_wrapper(call, func)
    call.__module__ = "__main__"
    return call


# --- DaskVine ------------------------------------------------------------------------------------


def _get(original: Any, manager: Any, dsk: Any, keys: Any, **options: Any) -> Any:
    from dask._task_spec import DataNode, Task
    from dask.core import flatten

    loaded = {
        key: DataNode(key, worker.load(spec.args[0]))
        for key, spec in dsk.items()
        if isinstance(spec, Task) and spec.func is worker.load
    }
    if loaded:
        wanted = set(flatten([keys]))
        # What tasks depend on must be files: values travel with the tasks that use them.
        dsk = {
            key: loaded.get(key)
            or spec.substitute({name: loaded[name] for name in spec.dependencies & loaded.keys()})
            for key, spec in dsk.items()
            if key in wanted or key not in loaded
        }
    return original(manager, dsk, keys, **options)

"""What code asks of a Dask cluster, or leaves there, besides tasks: values under names, data sets, what workers hold.

None of that is content of a value that the notebook has, and a cluster that is made anew knows nothing of it. So a
cell that does such a thing always executes: what it leaves is there for the others, and what it asks is asked now.
Only what the user's own code calls counts; Dask asks its clusters all the time. How many workers a cluster is given by
the cell that makes it is part of how it is made again: a repeat that needs no cluster starts none.
"""

from __future__ import annotations

import functools
import weakref
from types import ModuleType
from typing import Any

from nbrewind.tasks import current_cache
from nbrewind.tasks.engines import futures

# Module -> class -> methods. Names under which things are kept are used by whoever makes an object of that name.
_STATE = {
    "distributed.client": {
        "Client": """
            run run_on_scheduler restart restart_workers retire_workers
            upload_file register_plugin register_worker_callbacks forward_logging
            publish_dataset unpublish_dataset get_dataset list_datasets set_metadata get_metadata log_event get_events
            nthreads ncores scheduler_info who_has has_what processing nbytes call_stack story
        """
    },
    "distributed.deploy.cluster": {"Cluster": "__init__ scale adapt"},
    "distributed.deploy.spec": {"SpecCluster": "scale adapt"},
    "distributed.event": {"Event": "__init__"},
    "distributed.multi_lock": {"MultiLock": "__init__"},
    "distributed.queues": {"Queue": "__init__"},
    "distributed.semaphore": {"Semaphore": "__init__"},
    "distributed.variable": {"Variable": "__init__"},
}
# Those that run code of the user's on workers.
_RUNS_CODE = frozenset(
    f"Client.{name}" for name in "run register_plugin register_worker_callbacks".split()
)
# Between the user's code and these methods.
_TRANSPARENT = (
    "nbrewind.tasks.engines.cluster.",
    "nbrewind.tasks.engines.futures.",
    "functools.",
    "distributed.deploy.",
    "distributed.lock.",
    "distributed.semaphore.",
    "dask_jobqueue.",
)


def hook_state(module: ModuleType) -> None:
    """Hear when code uses what a module of Dask's keeps on clusters."""
    for kind, names in _STATE[module.__name__].items():
        for name in names.split():
            told = f"distributed's {kind}" if name == "__init__" else f"{kind}.{name}"
            note = functools.partial(_scaled if name in {"scale", "adapt"} else _note, told)
            is_cluster = module.__name__ == "distributed.deploy.cluster" and name == "__init__"
            futures.hook(getattr(module, kind), name, _made if is_cluster else note)


def unhook_state(module: ModuleType) -> None:
    """Undo `hook_state`."""
    kinds = {getattr(module, kind) for kind in _STATE[module.__name__]}
    futures.unhook(kinds.__contains__)


# By cluster, in which run it was made.
_made_in: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()


def _made(original: Any, cluster: Any, *args: Any, **kwargs: Any) -> Any:
    cache = current_cache()
    if cache is not None:
        _made_in[cluster] = cache.n_begun
    return original(cluster, *args, **kwargs)


def _scaled(told: str, original: Any, cluster: Any, *args: Any, **kwargs: Any) -> Any:
    cache = current_cache()
    if cache is not None and _made_in.get(cluster) == cache.n_begun:
        return original(cluster, *args, **kwargs)
    return _note(told, original, cluster, *args, **kwargs)


def _note(told: str, original: Any, *args: Any, **kwargs: Any) -> Any:
    cache = current_cache()
    if cache is not None and futures.users_frame(_TRANSPARENT, not_from=("nbrewind.",)):
        cache.unseen(f"{told}: what a cluster holds besides tasks is looked at when the cell runs")
        if told in _RUNS_CODE:
            # Generators of the workers are to be met as they come.
            from nbrewind.tasks.engines import dask as engine

            known = engine.meet(args[0], cache)
            cache.elsewhere.may_be_seeded()
            try:
                return original(*args, **kwargs)
            finally:
                engine.meet_again(args[0], cache, known)
    return original(*args, **kwargs)

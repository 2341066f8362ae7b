"""Dask through the task cache: local schedulers, and `distributed.Client`.

* Local: `dask.base.get_scheduler`, when `compute` or `persist` asks, gives a scheduler that plans
  before it runs.
* Distributed: every call of a client ends in `Client._graph_to_futures`, which is given the
  planned graph.

Left alone, with a reason in the report: asynchronous clients, clients used inside tasks, and
clusters whose workers or scheduler cannot import `nbrewind` or do not see the store's folder.
Actors are left alone silently: they are state.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import logging
import sys
import threading
import uuid
import weakref
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import suppress
from types import ModuleType
from typing import Any

from nbrewind.tasks import current_cache, held, surroundings, worker
from nbrewind.tasks.cache import Submission, TaskCache
from nbrewind.tasks.engines import cluster, large
from nbrewind.tasks.fingerprint import LOADED
from nbrewind.tasks.graph import Key
from nbrewind.tasks.plan import DAMAGED, OTHER_CODE

logger = logging.getLogger("nbrewind.tasks")

_local = threading.local()

# --- Local schedulers ----------------------------------------------------------------------------

# Schedulers whose tasks run in other processes.
_AWAY = ("dask.multiprocessing", "ndcctools.")
_ASKERS = frozenset({"compute", "persist", "compute_as_if_collection"})
_original_get_scheduler: Any = None


def hook_base(base: ModuleType) -> None:
    """Let `compute` and `persist` get schedulers that plan."""
    global _original_get_scheduler
    original = _original_get_scheduler = base.get_scheduler

    @functools.wraps(original)
    def get_scheduler(*args: Any, **kwargs: Any) -> Any:
        schedule = original(*args, **kwargs)
        asker = sys._getframe(1).f_code
        # Others compare schedulers by identity.
        if schedule is None or asker.co_name not in _ASKERS or asker.co_filename != base.__file__:
            return schedule
        if hasattr(getattr(schedule, "__self__", schedule), "persist"):
            # A client: its own funnel plans.
            return schedule
        return _planning(schedule)

    base.get_scheduler = get_scheduler  # type: ignore[attr-defined]


def unhook_base(base: ModuleType) -> None:
    """Undo `hook_base`."""
    if _original_get_scheduler is not None:
        base.get_scheduler = _original_get_scheduler  # type: ignore[attr-defined]


def _planning(schedule: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(schedule)
    def get(dsk: Any, keys: Any, **kwargs: Any) -> Any:
        cache = current_cache()
        if cache is None or getattr(_local, "is_planning", False):
            return schedule(dsk, keys, **kwargs)
        from dask.core import flatten

        wanted = list(flatten([keys])) if isinstance(keys, list) else [keys]
        module = str(getattr(schedule, "__module__", ""))
        is_here = not module.startswith(_AWAY)
        for _ in range(4):
            submission = _submit(cache, dsk, wanted, is_here=is_here)
            if submission is None:
                if not is_here:
                    cache.unseen("nobody saw what its tasks read in other processes")
                return schedule(dsk, keys, **kwargs)
            outcome: list[bool] = []
            submission.outcome = lambda outcome=outcome: outcome[0] if outcome else None  # type: ignore[misc]
            # Where schedulers of others run tasks nobody knows.
            submission.is_here = is_here and module.startswith("dask.")
            try:
                result = schedule(_Planned(submission.dsk), keys, **kwargs)
            except worker.LoadError as error:
                _mark_damaged(cache, submission, error)
                continue
            outcome.append(True)
            if is_here:
                cache.finished_here(submission, _pairs(keys, result))
            return result
        return schedule(dsk, keys, **kwargs)

    return get


class _Planned(dict[Key, Any]):
    """A graph as schedulers of this Dask expect it, which are handed expressions."""

    def __dask_graph__(self) -> _Planned:
        return self


def _pairs(keys: Any, results: Any) -> Iterator[tuple[Key, Any]]:
    if isinstance(keys, list):
        for key, result in zip(keys, results, strict=True):
            yield from _pairs(key, result)
    else:
        yield keys, results


def _submit(
    cache: TaskCache,
    dsk: Any,
    keys: list[Key],
    live: Callable[[Key], bool] | None = None,
    *,
    is_here: bool = False,
    is_sent: bool = False,
    is_elsewhere: bool = False,
    is_shown: bool = False,
) -> Submission | None:
    reason = _too_old()
    if reason is not None:
        cache.note(f"a graph ran without the cache: {reason}")
        return None
    # Building a graph may compute something small on the way, which is not planned.
    _local.is_planning = True
    try:
        return cache.submit(
            dsk,
            keys,
            live=live,
            is_here=is_here,
            is_sent=is_sent,
            is_elsewhere=is_elsewhere,
            is_shown=is_shown,
        )
    finally:
        _local.is_planning = False


@functools.cache
def _too_old() -> str | None:
    """Why the graphs of the Dask that is installed cannot be planned, or None."""
    import dask

    if importlib.util.find_spec("dask._expr") is None:
        return f"Dask {dask.__version__} is older than 2025.4"
    return None


# --- Clients -------------------------------------------------------------------------------------

_original_graph_to_futures: Any = None
_originals: dict[str, Any] = {}


class _ClientState:
    """What is known about one client's cluster."""

    def __init__(self) -> None:
        self.is_probed = False
        # Why its graphs run unchanged; None: they are planned.
        self.off: str | None = None
        # Are its workers threads of this process?
        self.is_here = False
        # Have they another working directory?
        self.is_elsewhere = False
        # Do they print where this process does, as those of a cluster do that it has started?
        self.is_shown = False


_states: weakref.WeakKeyDictionary[Any, _ClientState] = weakref.WeakKeyDictionary()


def is_here(key: Key) -> bool:
    """Has a client this future whose cluster has workers that are threads of this process?"""
    return any(state.is_here and key in client.futures for client, state in list(_states.items()))


def is_finished(key: Key) -> bool:
    """Has a client this future, and knows that it has its result?"""
    known = (client.futures.get(key) for client in list(_states))
    return any(one is not None and one.status == "finished" for one in known)


def begin_run() -> None:
    """Workers come and go: look at each cluster again when it is used next."""
    for state in list(_states.values()):
        state.is_probed = False


def hook_client(module: ModuleType) -> None:
    """Send the graphs of every client through the cache."""
    global _original_graph_to_futures
    original = _original_graph_to_futures = module.Client._graph_to_futures

    @functools.wraps(original)
    def graph_to_futures(client: Any, expr: Any, keys: Any, *args: Any, **kwargs: Any) -> Any:
        cache = current_cache()
        if cache is None or getattr(_local, "is_direct", False):
            return original(client, expr, keys, *args, **kwargs)
        if kwargs.get("actors"):
            cache.forget(keys)
            return original(client, expr, keys, *args, **kwargs)
        reason = _why_not(client, cache)
        if reason is not None:
            cache.note(f"a graph ran without the cache: {reason}")
            cache.unseen("nobody saw what its tasks read on the workers")
            cache.forget(keys)
            return original(client, expr, keys, *args, **kwargs)
        keys = list(keys)
        state = _states[client]
        weight = large.weight_of(expr)
        # Not while futures that it may rely on are let go and sent again.
        with _mending_of(client).sending, _Held(client) as held:
            submission = _submit(
                cache,
                expr,
                keys,
                held.has,
                is_here=state.is_here,
                is_sent=True,
                is_elsewhere=state.is_elsewhere,
                is_shown=state.is_shown,
            )
            if submission is None:
                cache.unseen("nobody saw what its tasks read on the workers")
                return original(client, expr, keys, *args, **kwargs)
            planned, planned_kwargs = _expression(expr, submission, kwargs)
            with large.weighing(weight):
                futures = original(client, planned, keys, *args, **planned_kwargs)
            # What fails because a future that it gets has to be made again is sent again as well.
            relies = len(_retries) > 0 and any(
                (id(client), node.key) in _retries
                for node in submission.plan.graph.nodes
                if node.kind == "external" or submission.plan.facts[node.idx].is_live
            )
            if relies or submission.plan.nodes("load"):
                _Retry(cache, client, expr, args, kwargs, submission).follow(futures)
        submission.outcome = functools.partial(_outcome, weakref.WeakValueDictionary(futures))
        submission.flush = _flusher(client)
        if state.is_shown:
            cache.show_replayed(submission.plan)
        return futures

    original_scatter = _originals["scatter"] = module.Client.scatter

    @functools.wraps(original_scatter)
    def scatter(client: Any, data: Any, *args: Any, **kwargs: Any) -> Any:
        found = original_scatter(client, data, *args, **kwargs)
        cache = current_cache()
        if cache is None or client.asynchronous or _why_not(client, cache) is not None:
            return found
        if not _states[client].is_here:
            # Workers in this process have the very objects, which may change.
            _remember(cache, data, found)
        return found

    module.Client.scatter = scatter
    module.Client._graph_to_futures = graph_to_futures
    cluster.hook_state(module)
    large.hook(module)


def _remember(cache: TaskCache, data: Any, futures: Any) -> None:
    """What was scattered is content: tasks that get it can be replayed."""
    if hasattr(futures, "key"):
        cache.remember(futures.key, data)
    elif isinstance(futures, dict):
        for name, future in futures.items():
            cache.remember(future.key, data[name])
    elif isinstance(data, list | tuple) and len(data) == len(futures):
        for value, future in zip(data, futures, strict=True):
            cache.remember(future.key, value)


def unhook_client(module: ModuleType) -> None:
    """Undo `hook_client`."""
    cluster.unhook_state(module)
    large.unhook(module)
    if _original_graph_to_futures is not None:
        module.Client.scatter = _originals["scatter"]
        module.Client._graph_to_futures = _original_graph_to_futures


class _Held:
    """What a client has futures of, kept while a graph that relies on it is planned and sent.

    A future that nobody has any more is let go on the client's own thread, at any moment; a graph that was
    planned for its result would be cancelled then.
    """

    def __init__(self, client: Any, *, without: Container[Key] = ()) -> None:
        self.client = client
        self.without = without
        self.keys: set[Key] = set()

    def __enter__(self) -> _Held:
        return self

    def __exit__(self, *error: object) -> None:
        if self.keys:
            # As futures do: the client's own thread tells the scheduler.
            with suppress(RuntimeError):
                self.client.loop.add_callback(self._let_go)

    def has(self, key: Key) -> bool:
        """Has the client got this key, and until this ends?"""
        client = self.client
        if key in self.without:
            return False
        with client._refcount_lock:
            if key in self.keys:
                return True
            if key not in client.futures or not client.refcount.get(key):
                return False
            client.refcount[key] += 1
            self.keys.add(key)
            return True

    def _let_go(self) -> None:
        for key in self.keys:
            self.client._dec_ref(key)


_retries: weakref.WeakValueDictionary[tuple[int, Key], _Retry] = weakref.WeakValueDictionary()
_numbers = itertools.count()
# So often graphs are sent again without that anything was found damaged that was not known to be.
_MAX_TRIES = 4
# Failures that come this soon after one another are mended together.
_GATHER_SECONDS = 0.05


class _Retry:
    """A graph whose stored results, or those that it relies on, may turn out to be unreadable on a worker.

    Futures that fail for that reason stay pending: their tasks are planned again without those
    results and sent under the same keys. Lives as long as one of the futures that it was made for.
    """

    def __init__(
        self,
        cache: TaskCache,
        client: Any,
        expr: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        submission: Submission,
    ) -> None:
        import dask

        self.number = next(_numbers)
        self.cache = cache
        self.client = weakref.ref(client)
        self.expr = expr
        self.args = args
        self.kwargs = kwargs
        self.submission = submission
        self.annotations = dict(dask.get_annotations())

    def follow(self, futures: dict[Key, Any]) -> None:
        """Hear of failures of these futures."""
        client = self.client()
        if client is None:
            return
        for handlers, name in (
            (client._stream_handlers, "task-erred"),
            (client._state_handlers, "erred"),
        ):
            if not isinstance(handlers[name], _ErredHandler):
                handlers[name] = _ErredHandler(client, handlers[name])
        for key, future in futures.items():
            _retries[id(client), key] = self
            future._nbrewind_retry = self

    def mark_damaged(self, messages: Iterable[dict[str, Any]]) -> bool:
        """What cannot be loaded is executed from now on. Was any of that not known?"""
        found = [
            _mark_damaged(self.cache, self.submission, error)
            for error in {str(one): one for one in map(_error_of, messages)}.values()
        ]
        return any(found)

    def send(self, client: Any, failed: Container[Key], keys: list[Key]) -> None:
        """Plan and send these keys once more; `failed`: what the client had and has no longer."""
        import dask

        state = _states.get(client)
        with _Held(client, without=failed) as held:
            submission = _submit(
                self.cache,
                self.expr,
                keys,
                held.has,
                is_here=state is not None and state.is_here,
                is_sent=True,
                is_elsewhere=state is not None and state.is_elsewhere,
                is_shown=state is not None and state.is_shown,
            )
            expr, kwargs = self.expr, self.kwargs
            if submission is not None:
                expr, kwargs = _expression(self.expr, submission, self.kwargs)
                submission.flush = _flusher(client)
                self.submission = submission
            with dask.annotate(**self.annotations), large.weighing(0):
                futures = _original_graph_to_futures(client, expr, keys, *self.args, **kwargs)
        if submission is not None:
            submission.outcome = functools.partial(_outcome, weakref.WeakValueDictionary(futures))


class _Mending:
    """Failures of one client's futures, mended together: what failed is let go first, because a cluster keeps what
    failed as long as anything wants it, or what follows it.
    """

    def __init__(self, client: Any) -> None:
        self.client = weakref.ref(client)
        # Held while graphs are planned and sent.
        self.sending = threading.RLock()
        self.lock = threading.Lock()
        # Rounds that found nothing new.
        self.n_tries = 0
        # The messages that they failed, of those that are not on their way again.
        self.failed: dict[_Retry, dict[Key, dict[str, Any]]] = {}

    def take(self, retry: _Retry, message: dict[str, Any]) -> bool:
        """True when the failure is ours to mend. Called on the client's event loop."""
        if not isinstance(_error_of(message), worker.LoadError):
            return False
        with self.lock:
            if self.n_tries >= _MAX_TRIES:
                return False
            is_first = not self.failed
            self.failed.setdefault(retry, {})[message["key"]] = message
        if is_first:
            threading.Thread(target=self.again, name="nbrewind-retry", daemon=True).start()
        return True

    def again(self) -> None:
        """Plan and send what failed once more."""
        threading.Event().wait(_GATHER_SECONDS)
        client = self.client()
        if client is None:
            return
        with self.sending:
            with self.lock:
                failed, self.failed = self.failed, {}
            self._send(client, failed)

    def _send(self, client: Any, failed: dict[_Retry, dict[Key, dict[str, Any]]]) -> None:
        retries = sorted(failed, key=lambda retry: retry.number)
        sent = 0
        try:
            is_new = [retry.mark_damaged(failed[retry].values()) for retry in retries]
            self.n_tries = 0 if any(is_new) else self.n_tries + 1
            keys = {key for messages in failed.values() for key in messages}
            client._send_to_scheduler(
                {"op": "client-releases-keys", "keys": list(keys), "client": client.id}
            )
            for retry in retries:
                retry.send(client, keys, list(failed[retry]))
                keys -= failed[retry].keys()
                sent += 1
        except Exception:
            logger.debug("a graph could not be sent again", exc_info=True)
            for retry in retries[sent:]:
                for message in failed[retry].values():
                    client.loop.add_callback(
                        functools.partial(client._handle_task_erred, **message)
                    )


_mendings: weakref.WeakKeyDictionary[Any, _Mending] = weakref.WeakKeyDictionary()


def _mending_of(client: Any) -> _Mending:
    found = _mendings.get(client)
    return found if found is not None else _mendings.setdefault(client, _Mending(client))


class _ErredHandler:
    """Takes the client's message that a task failed, unless that can be mended."""

    def __init__(self, client: Any, original: Callable[..., Any]) -> None:
        self.client_id = id(client)
        self.original = original
        self.mending = _mending_of(client)

    def __call__(self, **message: Any) -> Any:
        retry = _retries.get((self.client_id, message.get("key")))
        if (
            retry is not None
            and current_cache() is retry.cache
            and self.mending.take(retry, message)
        ):
            return None
        return self.original(**message)


def _error_of(message: dict[str, Any]) -> Any:
    from distributed.core import clean_exception

    return clean_exception(message.get("exception"), message.get("traceback"))[1]


def _mark_damaged(cache: TaskCache, submission: Submission, error: Exception) -> bool:
    """What cannot be loaded is executed from now on. Was any of that not known?"""
    is_new = False
    text = str(error)
    why = DAMAGED
    if isinstance(error, worker.OtherCodeError):
        why = OTHER_CODE
        cache.elsewhere.may_have_modules()
    for node in submission.plan.nodes("load"):
        fact = submission.plan.facts[node.idx]
        if fact.fp is not None and fact.fp[:12] in text:
            is_new = cache.mark_damaged(fact.fp, why) or is_new
    cache.note(text)
    return is_new


def _outcome(futures: Any) -> bool | None:
    states = {future.status for future in list(futures.values())}
    if states <= {"finished"}:
        # Futures that were let go early may never have run.
        return bool(states)
    return None


_flushers: weakref.WeakKeyDictionary[Any, Callable[[], None]] = weakref.WeakKeyDictionary()


def _flusher(client: Any) -> Callable[[], None]:
    found = _flushers.get(client)
    if found is None:
        reference = weakref.ref(client)

        def flush() -> None:
            target = reference()
            if target is not None and target.status == "running":
                with suppress(OSError, TimeoutError, RuntimeError, ValueError):
                    target.run(worker.flush, on_error="ignore")

        found = _flushers[client] = flush
    return found


def _expression(
    expr: Any, submission: Submission, kwargs: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """The planned graph as an expression, with the annotations and priorities of the original one."""
    from dask._expr import HLGExpr, LLGExpr
    from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

    dsk, renamed = submission.dsk, submission.plan.renamed
    priority = kwargs.get("internal_priority")
    if priority:
        mapped = {renamed.get(key, key): value for key, value in priority.items()}
        kwargs = {**kwargs, "internal_priority": mapped if dsk.keys() <= mapped.keys() else None}
    annotations: dict[str, Any] = {}
    for kind, by_key in (
        expr.__dask_annotations__() if hasattr(expr, "__dask_annotations__") else {}
    ).items():
        mapped = {
            name: value for key, value in by_key.items() if (name := renamed.get(key, key)) in dsk
        }
        if mapped:
            annotations[kind] = mapped.get
    if annotations:
        layers = {"planned": MaterializedLayer(dsk, annotations=annotations)}
        graph = HighLevelGraph(layers, {"planned": set()})
        return HLGExpr(
            graph, None, list(submission.plan.graph.outputs), _determ_token=uuid.uuid4().hex
        ), kwargs
    return LLGExpr(dsk, _determ_token=uuid.uuid4().hex), kwargs


def _why_not(client: Any, cache: TaskCache) -> str | None:
    """Why this client's graphs cannot be planned, or None. Asks its cluster once per cell run."""
    from distributed.worker import thread_state

    if _too_old() is not None:
        return _too_old()
    if client.asynchronous:
        return "the client is asynchronous"
    if getattr(thread_state, "key", None) is not None:
        return "the client is used inside a task"
    state = _states.get(client)
    if state is None:
        state = _states[client] = _ClientState()
    if not state.is_probed:
        state.is_probed = True
        state.off = _probe(client, cache, state)
    return state.off


def meet(client: Any, cache: TaskCache) -> dict[str, Any]:
    """See what a client's workers hold before something else runs there: the user's modules, by worker."""
    with suppress(Exception):
        if not client.asynchronous and client.scheduler_info(n_workers=-1)["workers"]:
            if _why_not(client, cache) is None and not _states[client].is_here:
                return dict(client.run(held.before, on_error="ignore"))
    return {}


def meet_again(client: Any, cache: TaskCache, known: dict[str, Any]) -> None:
    """Code of the user's has run on a client's workers: what they hold, and their folders, may be others now.

    `known`: what `meet` has found.
    """
    with suppress(Exception):
        if client.asynchronous:
            return
        if client in _states:
            if _states[client].is_here:
                return
            _states[client].is_probed = False
        found = client.run(surroundings.are_settings_as_met, on_error="ignore")
        if not all(found.values()):
            cache.elsewhere.may_have_settings()
        now = client.run(held.after, on_error="ignore")
        libraries = {name for _, names in now.values() for name in names}
        if libraries:
            cache.elsewhere.have_libraries(sorted(libraries))
        here = held.users_modules()
        if not now or any(
            held.others_than(modules, known.get(place, {}), here)
            for place, (modules, _) in now.items()
        ):
            cache.elsewhere.may_have_modules()


def _probe(client: Any, cache: TaskCache, state: _ClientState) -> str | None:
    found: dict[str, Any] = {}
    try:
        if not client.scheduler_info(n_workers=-1)["workers"]:
            client.wait_for_workers(1, timeout=30)
        found["the scheduler"] = client.run_on_scheduler(_is_importable)
        found.update(client.run(worker.probe, cache.path, cache.inode, on_error="return"))
    except Exception as error:  # noqa: BLE001 - whatever it is, the cluster cannot take part
        return f"the cluster did not answer as needed ({type(error).__name__}: {error})"
    if len(found) < 2:
        return "the cluster has no workers"
    for place, answer in found.items():
        if isinstance(answer, BaseException):
            return f"{place} cannot import nbrewind ({type(answer).__name__}: {answer})"
        if answer["python"] != list(sys.version_info[:2]):
            return f"{place} runs another Python ({answer['python']})"
        if answer["error"] is not None:
            return f"{place} cannot use the store: {answer['error']}"
    state.is_here = any(worker.is_here(answer.get("process")) for answer in found.values())
    workers = [answer for place, answer in found.items() if place != "the scheduler"]
    # A kernel may leave what goes to its descriptors to the terminal.
    state.is_shown = getattr(sys.stdout, "_should_watch", True) and any(
        answer.get("streams") == worker.streams() for answer in workers
    )
    folder = worker.folder()
    state.is_elsewhere = any(answer.get("folder", folder) != folder for answer in found.values())
    return None


def _is_importable() -> dict[str, Any]:
    import nbrewind.tasks.worker  # noqa: F401 - the question is whether it can be imported

    return {"python": list(sys.version_info[:2]), "error": None}


def load_on_cluster(
    cache: TaskCache, stored: worker.Stored, client: Any = None, key: Key | None = None
) -> Any:
    """A future of a stored result, or None when there is no client."""
    module = sys.modules.get("distributed.client")
    if module is None:
        return None
    if client is None:
        try:
            client = module.default_client()
        except ValueError:
            return None
    name = key if key is not None else f"{LOADED}{stored.name}-{stored.fp}"
    _local.is_direct = True
    try:
        if _why_not(client, cache) is not None:
            # Workers cannot read the store: bring the value to them.
            value = worker.load(stored)
            with large.weighing(0):
                return client.submit(_identity, value, key=name)
        return client.submit(worker.load, stored, key=name)
    finally:
        _local.is_direct = False


# Seconds after which it is asked whether a cluster that is loading is there at all.
_PATIENCE = 20.0


def why_lost(future: Any) -> str | None:
    """Why a future that loads a stored result will not have it; None: it has."""
    client = future.client
    while True:
        try:
            error = future.exception(timeout=_PATIENCE)
        except TimeoutError:
            with suppress(Exception):
                if client.status == "running" and client.scheduler_info(n_workers=-1)["workers"]:
                    continue
            return "its cluster does not answer"
        except Exception as error:  # noqa: BLE001 - cancelled, or its cluster has gone
            return f"{type(error).__name__}: {error}"
        return None if error is None else f"{type(error).__name__}: {error}"


def let_go(futures: list[Any]) -> None:
    """Have clusters forget these, now and not when nobody has them any more: an error keeps what it met alive."""
    with suppress(Exception):
        by_client: dict[Any, list[Any]] = {}
        for future in futures:
            by_client.setdefault(future.client, []).append(future)
        for client, held in by_client.items():
            client.cancel(held, force=True)


def _identity(value: Any) -> Any:
    return value

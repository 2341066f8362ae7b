"""Who looks at the module path, at loggers and at the environment, and what they could tell by it.

All are inputs of the runs that looked, and of those only as far as they looked: of the path, where the modules are
that were asked for; of loggers, those that were written to or asked; of the environment, the variables. Somebody may
also keep what he found: a library that asks once, and modules that stay loaded. So what runs asked for counts for all
that follow (`SEEN` items among what was done to the process), and so does the answer: both what somebody is told who
asks again, and what one was told who asked first.

A fact is None as long as cells changed nothing that could be told by it.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.machinery
import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nbrewind import _native
from nbrewind.fingerprint import is_library_module
from nbrewind.fingerprint.library import distributions
from nbrewind.fingerprint.objects import counts_as_plain
from nbrewind.kernel import ambient, settings, variables
from nbrewind.kernel.variables import ENVIRONMENT

if TYPE_CHECKING:
    from nbrewind.kernel.session import Run, Session

PATH = "module path"
LOGGING = settings.LOGGING
KINDS = (PATH, LOGGING, ENVIRONMENT, settings.ERRORS)
SEEN = settings.SEEN
# Everything of its kind.
ALL = "*"
# In facts: what was told who asked first.
_TOLD = "told"

# The import system itself, which says which module it looks for.
_IMPORTERS = frozenset({"importlib._bootstrap_external", "_frozen_importlib_external"})
# These ask for packages' data: a folder that has any changes the fact for all.
_METADATA = ("importlib.metadata", "importlib_metadata")
_SERVICES = frozenset(
    "nbrewind ipykernel zmq tornado jupyter_client debugpy comm traitlets".split()
)
_SERVICE_LOGGERS = frozenset("IPKernelApp traitlets tornado zmq parso".split())


@dataclass
class Looks:
    """What one run looked at."""

    # Kinds that it looked at as a whole; of these, what others may keep from now on.
    whole: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)
    # Modules that were looked for on the path.
    modules: set[str] = field(default_factory=set)
    # Loggers that were written to or asked, with all above them (after a `=`, without those); and of them those that
    # a library asked.
    loggers: set[str] = field(default_factory=set)
    kept_loggers: set[str] = field(default_factory=set)
    # What was not logged: (logger, level).
    unlogged: set[tuple[str, int]] = field(default_factory=set)
    # Variables of the environment that were asked for, and of them those that somebody may keep.
    # The latter with what was found; of what native code found nobody knows (`...`).
    variables: set[str] = field(default_factory=set)
    kept_variables: dict[str, Any] = field(default_factory=dict)
    # Of every kind: what was told to others before.
    told: dict[str, dict[str, str | None]] = field(default_factory=dict)


_active: Looks | None = None
_namespace: dict[str, Any] = {}


def _module_of(depth: int) -> tuple[str, dict[str, Any]]:
    """The module of the frame that asks, and its globals."""
    scope = sys._getframe(depth + 1).f_globals
    return str(scope.get("__name__", "")), scope


# --- The module path ----------------------------------------------------------------------------------------------


class _Path(list[Any]):
    """The module path, which tells when somebody looks at it."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        return list, (list.copy(self),)

    def __deepcopy__(self, memo: Any) -> Any:
        return list.copy(self)


counts_as_plain(_Path)


def _told(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def told(self: Any, *args: Any) -> Any:
        looks = _active
        if looks is not None:
            _note_path(looks, sys._getframe(1))
        return function(self, *args)

    return told


def _note_path(looks: Looks, frame: Any) -> None:
    name = str(frame.f_globals.get("__name__", ""))
    top = name.partition(".")[0]
    if top in _SERVICES or name.startswith(_METADATA):
        return
    if name in _IMPORTERS:
        wanted = frame.f_locals.get("fullname")
        # What makes up a package that lies in several folders.
        wanted = wanted or getattr(frame.f_locals.get("self"), "_name", None)
        if isinstance(wanted, str):
            looks.modules.add(wanted.partition(".")[0])
            return
    looks.whole.add(PATH)
    if frame.f_globals is not _namespace:
        looks.kept.add(PATH)


for _name in """__getitem__ __setitem__ __delitem__ __iter__ __contains__ __len__ __eq__ __ne__ __lt__ __le__ __gt__
    __ge__ __add__ __iadd__ __mul__ __rmul__ __imul__ __repr__ __reversed__ append extend insert remove pop clear sort
    reverse copy index count __reduce_ex__ __deepcopy__""".split():
    setattr(_Path, _name, _told(getattr(_Path, _name)))


def _path_fact(session: Session, state: list[Any], names: Iterable[str]) -> str | None:
    """Which of these modules are found elsewhere by what cells did to the path; None: none.

    What comes with Python or with an installed package counts whether anybody asked for it or not.
    """
    if not state:
        return None
    whole = ambient.state_fp(state)
    entries = [item[0] for item in state if isinstance(item, list)]
    is_elsewhere = "working directory" in session.ambient_pending
    if (
        len(entries) < len(state)
        or is_elsewhere
        or not all(isinstance(one, str) for one in entries)
    ):
        return whole
    wanted = set(names)
    for entry in entries:
        there = _importable(entry)
        if there is None:
            return whole
        wanted |= {name for name in there if _is_installed(name)}
    places = session.ambient.places
    now, first = places.path_of(state), places.path_of([])
    found = {}
    for name in sorted(wanted):
        place = _place(name, now, places.root)
        if place != _place(name, first, places.root):
            found[name] = place
    return _digest(found) if found else None


def _importable(entry: str) -> set[str] | None:
    """Names of all that may be a module in this folder; None when it is something else, or has packages' data."""
    if not os.path.exists(entry or "."):
        return set()
    try:
        names = os.listdir(entry or ".")
    except OSError:
        return None
    if any(name.endswith((".dist-info", ".egg-info", ".egg", ".egg-link")) for name in names):
        return None
    return {name.partition(".")[0] for name in names}


def _is_installed(name: str) -> bool:
    return name in sys.stdlib_module_names or name in distributions()


def _place(name: str, path: list[str], root: str) -> list[str] | None:
    """Where a module is found on this path."""
    spec = importlib.machinery.PathFinder.find_spec(name, path)
    if spec is None:
        return None
    found = [spec.origin] if spec.origin else list(spec.submodule_search_locations or [])
    return [os.path.relpath(one, root) if os.path.isabs(one) else one for one in found]


# --- Loggers ------------------------------------------------------------------------------------------------------

# What a logger is set to.
_ATTRIBUTES = ("level", "disabled", "propagate", "handlers", "filters")
_ASKS = ("getEffectiveLevel", "hasHandlers")
_WRITES = ("handle", "callHandlers")
_SETS = ("setLevel", "addHandler", "removeHandler", "addFilter", "removeFilter")


_question = getattr(
    logging.Logger.isEnabledFor, "__wrapped__", logging.Logger.isEnabledFor
).__code__


def _name_of(logger: Any) -> str:
    return "" if isinstance(logger, logging.RootLogger) else str(logger.name)


def _note_logger(logger: Any, *, is_asked: bool, depth: int, is_alone: bool = False) -> None:
    """A logger is written to, asked or set; `is_alone`: those above it make no difference."""
    looks = _active
    if looks is None:
        return
    name = _name_of(logger)
    module, scope = _module_of(depth + 1)
    if name.partition(".")[0] in _SERVICE_LOGGERS or module.partition(".")[0] in _SERVICES:
        return
    name = f"={name}" if is_alone else name
    looks.loggers.add(name)
    if is_asked and module != "logging" and scope is not _namespace:
        looks.kept_loggers.add(name)


def _watched_attribute(name: str) -> Any:
    def get(self: Any) -> Any:
        if _active is not None and sys._getframe(1).f_globals.get("__name__") != "logging":
            _note_logger(self, is_asked=True, depth=1, is_alone=True)
        try:
            return self.__dict__[name]
        except KeyError:
            raise AttributeError(name) from None

    def put(self: Any, value: Any) -> None:
        if _active is not None and sys._getframe(1).f_globals.get("__name__") != "logging":
            _note_logger(self, is_asked=False, depth=1, is_alone=True)
        self.__dict__[name] = value

    def take(self: Any) -> None:
        self.__dict__.pop(name)

    return property(get, put, take)


def _watched_method(original: Callable[..., Any], *, is_asked: bool) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        # The question whether something is logged is a look of its own.
        if _active is not None and sys._getframe(1).f_code is not _question:
            _note_logger(self, is_asked=is_asked, depth=1)
        return original(self, *args, **kwargs)

    return call


def _watched_question(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def is_enabled(self: Any, level: Any) -> Any:
        found = original(self, level)
        looks = _active
        if looks is None:
            return found
        name = _name_of(self)
        module, scope = _module_of(1)
        if name.partition(".")[0] in _SERVICE_LOGGERS or module.partition(".")[0] in _SERVICES:
            return found
        if module != "logging" and scope is not _namespace:
            looks.kept_loggers.add(name)
        if found or not isinstance(level, int):
            looks.loggers.add(name)
        else:
            looks.unlogged.add((name, level))
        return found

    return is_enabled


def _watched_setup(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def set_up(*args: Any, **kwargs: Any) -> Any:
        looks = _active
        if looks is not None:
            # It does nothing where there is a handler already.
            looks.loggers.add("=")
        return original(*args, **kwargs)

    return set_up


def _watch_loggers() -> None:
    kind = logging.Logger
    if isinstance(vars(kind).get("level"), property):
        return
    for name in _ATTRIBUTES:
        setattr(kind, name, _watched_attribute(name))
    for names, is_asked in ((_ASKS, True), (_WRITES, False), (_SETS, False)):
        for name in names:
            setattr(kind, name, _watched_method(getattr(kind, name), is_asked=is_asked))
    kind.isEnabledFor = _watched_question(kind.isEnabledFor)  # type: ignore[method-assign]
    logging.basicConfig = _watched_setup(logging.basicConfig)


def _chain(name: str) -> list[str]:
    """The logger and those above it, up to the root."""
    parts = name.split(".") if name else []
    return [".".join(parts[:at]) for at in range(len(parts), 0, -1)] + [""]


def _loggers_fact(state: dict[str, Any], first: dict[str, Any], names: Iterable[str]) -> str | None:
    """What cells set of these loggers and of all above them; None: nothing."""
    wanted = sorted(
        {one for name in names for one in ([name[1:]] if name[:1] == "=" else _chain(name))}
    )
    found = {one: state.get(one) for one in wanted if state.get(one) != first.get(one)}
    return _digest(found) if found else None


def _levels_of_libraries(name: str) -> list[int] | None:
    """Levels that the logger and those above it have of themselves; None when it is not known."""
    found = []
    for one in _chain(name):
        logger = logging.root if not one else logging.root.manager.loggerDict.get(one)
        if one in ambient._set_up_by_library:
            found.append(ambient._set_up_by_library[one][0])
        elif one in ambient._set_up_by_user:
            return None
        else:
            is_logger = isinstance(logger, logging.Logger)
            found.append(logger.__dict__["level"] if is_logger and _is_of_library(one) else 0)
    return found


def _is_of_library(name: str) -> bool:
    return bool(name) and is_library_module(name.partition(".")[0])


def _is_logged(state: dict[str, Any], name: str, level: int, levels: list[int]) -> bool:
    """Whether the logger takes messages of this level, by what cells set and by the levels of libraries."""
    own = state.get(name)
    if own is not None and own[1]:
        return False
    for one, of_library in zip(_chain(name), levels, strict=True):
        decides = state[one][0] if one in state else of_library
        if decides:
            return bool(level >= decides)
    return True


# --- The environment ----------------------------------------------------------------------------------------------


def note_variable(key: Any, frame: Any) -> None:
    """A variable is asked for, or set: what it is set to already leaves no other trace."""
    looks = _active
    if looks is None or not isinstance(key, str | bytes):
        return
    scope = getattr(variables.asker(frame), "f_globals", {})
    if str(scope.get("__name__", "")).partition(".")[0] in _SERVICES:
        return
    name = os.fsdecode(key)
    looks.variables.add(name)
    if scope is not _namespace:
        looks.kept_variables.setdefault(name, variables.value_of(name))


def note_environment(frame: Any) -> None:
    """All variables are looked at."""
    looks = _active
    if looks is None:
        return
    scope = getattr(variables.asker(frame), "f_globals", {})
    if str(scope.get("__name__", "")).partition(".")[0] in _SERVICES:
        return
    looks.whole.add(ENVIRONMENT)
    if scope is not _namespace:
        looks.kept.add(ENVIRONMENT)


def note_native(kind: str, name: str) -> None:
    """What native code did with the environment (see `_native.watch_stop`)."""
    looks = _active
    if looks is None:
        return
    if kind == "environment":
        looks.whole.add(ENVIRONMENT)
        looks.kept.add(ENVIRONMENT)
    else:
        name = name if kind == "variable" else variables.loaded(name)
        looks.variables.add(name)
        # Whether it was before or after somebody else asked is not known either.
        looks.kept_variables[name] = ...


# --- Facts --------------------------------------------------------------------------------------------------------


def _digest(what: Any) -> str:
    text = json.dumps(what, sort_keys=True, default=repr)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def state_of(session: Session, kind: str) -> Any:
    """The state now, as replayed cells left it."""
    from nbrewind.kernel.repeat import load_ambient

    pending = session.ambient_pending.get(kind)
    if pending is not None and pending["chunks"]:
        return load_ambient(session, pending)
    if session.aside is not None:
        return session.ambient.state_at_beginning(kind)
    provider = session.ambient.providers[kind]
    found = provider.get()
    return provider.default() if found is None and provider.default is not None else found


_FACTS = tuple(f"{kind}: " for kind in KINDS)


def is_fact(name: str) -> bool:
    """True for inputs of which `Facts` knows what they are now."""
    return name.startswith(_FACTS)


class Facts:
    """What the state now tells whoever looks as recorded runs did."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._states: dict[str, Any] = {}
        self._known: dict[str, str | None] = {}
        # Of every kind, what was told of a name first.
        self._first: dict[str, dict[str, str | None]] = {}

    def _state(self, kind: str) -> Any:
        if kind not in self._states:
            self._states[kind] = state_of(self._session, kind)
        return self._states[kind]

    def __call__(self, name: str) -> str | None:
        if name not in self._known:
            self._known[name] = self._find(name)
        return self._known[name]

    def _told(self, kind: str, name: str) -> str | None:
        """What was told who asked first; who has not asked yet will be told what is so now."""
        if kind not in self._first:
            self._first[kind] = _first_answers(self._session, kind)
        first = self._first[kind]
        return first[name] if name in first else self.alone(kind, name)

    def alone(self, kind: str, name: str) -> str | None:
        """What is told who asks for this."""
        if kind == ENVIRONMENT and name != ALL:
            return variables.told(self._state(kind) or {}, name)
        return self(f"{kind}: {json.dumps([name])}")

    def _find(self, name: str) -> str | None:
        kind, _, text = name.partition(": ")
        what = json.loads(text)
        if isinstance(what, dict) and _TOLD in what:
            told = {one: self._told(kind, one) for one in what[_TOLD]}
            told = {one: answer for one, answer in told.items() if answer is not None}
            return _digest(told) if told else None
        if what == [ALL]:
            state = self._state(kind)
            is_first = state == (self._session.ambient.state_at_beginning(kind) or type(state)())
            return None if is_first else ambient.state_fp(state)
        if kind == PATH:
            return _path_fact(self._session, self._state(kind), what)
        if kind == settings.ERRORS:
            state = self._state(kind)
            if state is None:
                return None
            return _digest([state.get(one) for one in what])
        state = self._state(kind)
        if kind == ENVIRONMENT:
            found = variables.answer(state, what)
            return None if found is None else _digest(found)
        if isinstance(what, dict):
            return "logged" if _is_logged(state, **what) else None
        first = self._session.ambient.state_at_beginning(kind) or {}
        return _loggers_fact(state, first, what)


def _asked(session: Session, kind: str) -> set[str]:
    """What runs so far asked for."""
    return set(_first_answers(session, kind))


def _first_answers(session: Session, kind: str) -> dict[str, str | None]:
    """What runs so far asked for, with what was told who asked first."""
    found: dict[str, str | None] = {}
    for item in session.process:
        if item["kind"] == SEEN:
            of, names, *told = json.loads(item["text"])
            if of == kind:
                for name in names:
                    found.setdefault(name, told[-1])
    return found


def is_kept(item: dict[str, Any]) -> bool:
    """True for what somebody may have kept of what cells had set; no reset takes it from him."""
    return item["kind"] == SEEN and json.loads(item["text"])[2] is not None


def with_live(process: list[dict[str, Any]], live: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was done to the process by the cells of a state, in a process that was asked by other cells, too."""
    known = {item["text"] for item in process}
    return [
        *process,
        *(item for item in live if item["kind"] == SEEN and item["text"] not in known),
    ]


class Watch:
    """Notes what runs look at."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        global _namespace
        _namespace = namespace
        sys.path = _Path(sys.path)
        _watch_loggers()

    def begin(self) -> None:
        """A run begins."""
        global _active
        _active = Looks()

    def end(self, looked_at: set[str]) -> Looks:
        """It has ended; `looked_at` are settings that are watched elsewhere."""
        global _active
        found, _active = _active or Looks(whole=set(KINDS)), None
        found.whole |= looked_at.intersection(KINDS)
        if type(sys.path) is not _Path:
            # The user's own list.
            found.whole.add(PATH)
        # Of a native module that is older than this one nothing is heard either.
        if not getattr(_native, "watch_hears_variables", bool)():
            found.whole.add(ENVIRONMENT)
        return found


def starts_process() -> None:
    """A process is about to be started, which may be handed all that is set here, and keep it."""
    if _active is not None:
        _active.whole.update((PATH, LOGGING, ENVIRONMENT))
        _active.kept.update((PATH, LOGGING, ENVIRONMENT))


def starts_program() -> None:
    """A program is about to be started, which has the environment."""
    if _active is not None:
        _active.whole.add(ENVIRONMENT)
        _active.kept.add(ENVIRONMENT)


def inputs(
    session: Session, run: Run, after: dict[str, str | None], tasks: dict[str, Any]
) -> tuple[dict[str, str | None], set[str]]:
    """What the run could tell of the state, and the kinds of which all counts."""
    looks = run.looks
    asks_tasks = any(tasks.get(key) for key in ("hit", "run", "pruned"))
    whole = set(looks.whole)
    facts = Facts(session)
    found: dict[str, str | None] = {}
    for kind in KINDS:
        asked = _asked(session, kind)
        is_changed = run.before_ambient.get(kind) != after.get(kind)
        told = dict(looks.told.get(kind, {}))
        for name in asked - told.keys():
            if not is_changed:
                told[name] = facts.alone(kind, name)
            elif kind == ENVIRONMENT and name != ALL:
                told[name] = variables.told(_changes(session, run.places[0]), name)
        if told:
            answers = {name: answer for name, answer in told.items() if answer is not None}
            key = f"{kind}: {json.dumps({_TOLD: sorted(told)})}"
            found[key] = _digest(answers) if answers else None
        if asks_tasks or ALL in asked or is_changed:
            whole.add(kind)
        if kind in whole:
            continue
        if kind == PATH:
            names = {one for one in looks.modules if not _is_installed(one)} | asked
            wanted: list[Any] = [sorted(names)]
        elif kind == ENVIRONMENT:
            wanted = [sorted(filter(variables.is_variable, looks.variables | asked))]
        elif kind == LOGGING:
            wanted = _wanted_of_loggers(session, looks, asked)
        else:
            wanted = [_unheard(session)] if after.get(kind) is not None else []
        for one in wanted:
            key = f"{kind}: {json.dumps(one)}"
            found[key] = facts(key)
    return found, whole


def _wanted_of_loggers(session: Session, looks: Looks, asked: set[str]) -> list[Any]:
    names = looks.loggers | asked
    state = state_of(session, LOGGING)
    wanted: list[Any] = []
    for name, level in sorted(looks.unlogged):
        levels = _levels_of_libraries(name)
        question = {"name": name, "level": level, "levels": levels}
        if levels is None or _is_logged(state, name, level, levels):
            # Something else keeps it from being logged.
            names.add(name)
        else:
            wanted.append(question)
    return [*wanted, sorted(names)] if names else wanted


def _unheard(session: Session) -> list[str]:
    """Kinds of floating-point errors that nobody would have heard of: the others are warnings, and there were none."""
    state = state_of(session, settings.ERRORS) or {}
    return sorted(kind for kind, action in state.items() if action != "warn")


def items(session: Session, run: Run) -> list[dict[str, Any]]:
    """What the run asked for, for the list of what was done to the process."""
    looks, facts = run.looks, Facts(session)
    looks.told = {kind: _first_answers(session, kind) for kind in KINDS}
    found: list[list[Any]] = []
    modules = {one for one in looks.modules if not _is_installed(one)}
    answers = {name: facts.alone(PATH, name) for name in modules - looks.told[PATH].keys()}
    # A module that was found elsewhere is an input of its own; a library may keep that there was none.
    found += [[PATH, names, None, answer] for names, answer in _by_answer(answers)]
    for kind in sorted(looks.kept):
        fp = ambient.state_fp(session.ambient.snapshot(kind))
        is_changed = fp != session.ambient.at_beginning.get(kind)
        found.append([kind, [ALL], fp if is_changed else None])
    for name in sorted(looks.kept_loggers):
        found.append([LOGGING, [name], facts(f"{LOGGING}: {json.dumps([name])}")])
    answers_of: dict[str, str | None] = {}
    then, now = _changes(session, run.places[0]), _changes(session, dict(os.environ))
    for name in looks.kept_variables.keys() - looks.told[ENVIRONMENT].keys():
        value = looks.kept_variables[name]
        if session.ambient.places.is_private(name):
            # Nothing of its value may be stored.
            answers_of[name] = None
        elif value is ...:
            either = {variables.told(then, name), variables.told(now, name)}
            answers_of[name] = (
                either.pop() if len(either) == 1 else _digest(sorted(map(str, either)))
            )
        else:
            was = session.ambient.places.env.get(name)
            answers_of[name] = None if value == was else variables.told({name: value}, name)
    found += [[ENVIRONMENT, *item] for item in _by_answer(answers_of)]
    known = {item["text"] for item in session.process if item["kind"] == SEEN}
    texts = [json.dumps(one) for one in found]
    return [
        {"kind": SEEN, "text": text, "run_id": run.run_id} for text in texts if text not in known
    ]


def _changes(session: Session, environment: dict[str, str]) -> dict[str, str | None]:
    """What of the environment cells had changed."""
    places = session.ambient.places
    names = environment.keys() | places.env.keys()
    return {
        name: environment.get(name)
        for name in names
        if environment.get(name) != places.env.get(name) and not places.is_private(name)
    }


def _by_answer(answers: dict[str, str | None]) -> Iterator[tuple[list[str], str | None]]:
    """What was asked for with what was told, all together where cells had changed nothing."""
    unchanged = sorted(name for name, answer in answers.items() if answer is None)
    if unchanged:
        yield unchanged, None
    for name, answer in sorted(answers.items()):
        if answer is not None:
            yield [name], answer

"""Settings of libraries: which of them a run looked at, and what the statements that make them stand for.

Ambient state is an input of the runs that read it (rule 7 of the repeat rule). Most libraries cannot be asked whether
anybody looked, so what they are set to is an input of every run. matplotlib, numpy and pandas keep parameters where
they can be asked: how figures, arrays and tables look is an input of the runs that drew or showed one, or asked.
Filters of warnings are an input of the runs in which something warned, shown or not; whether modules are loaded anew
when they were edited is one of the runs beside which there are any.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import re
import sys
import types
import warnings
from collections.abc import Callable, Iterable
from typing import Any, cast

from nbrewind.kernel.variables import ENVIRONMENT

# Kinds of ambient state. The first four are providers; what statements set that none sees is known by their text.
WARNINGS = "filters of warnings"
PARAMETERS = "matplotlib rcParams"
TABLES = "pandas display options"
ARRAYS = "numpy print options"
FIGURES = "figure settings"
RELOADING = "reloading of modules"
OTHERS = "configuration"
# The beginning of what is noted of questions for variables.
_ENVIRONMENT = json.dumps([ENVIRONMENT])[:-1]
# What somebody asked for once, and was told what cells had set (see `looking`).
ANSWERS = "what libraries were told"
# Among what was done to the process: that somebody asked (see `looking`).
SEEN = "seen"
LEARNING = "scikit-learn configuration"
# Loggers, and how numpy handles errors of floating point: see `looking`.
LOGGING = "logging"
ERRORS = "numpy error handling"
# An input only of the runs that looked.
WATCHED = frozenset({WARNINGS, PARAMETERS, TABLES, ARRAYS, FIGURES, RELOADING, LEARNING})

# Options of pandas that decide how something is shown, and nothing that is computed.
_OF_TABLES = ("display", "styler", "plotting")


def is_of_tables(option: str) -> bool:
    """True for options of pandas that are part of `TABLES`."""
    return option.partition(".")[0] in _OF_TABLES


# --- Who looks ----------------------------------------------------------------------------------------------------


class _Noting(dict[Any, Any]):
    """A dict that tells when somebody looks into it, or changes it."""

    def __init__(self, content: dict[Any, Any], tell: Callable[[], None]) -> None:
        super().__init__(content)
        self._tell = tell

    def __reduce_ex__(self, protocol: Any) -> Any:
        return dict, (dict(dict.items(self)),)


class _Tell:
    """Notes that a run has looked at settings of this kind."""

    __slots__ = ("_kind", "_looked")

    def __init__(self, looked: set[str], kind: str) -> None:
        self._looked = looked
        self._kind = kind

    def __call__(self) -> None:
        self._looked.add(self._kind)

    def is_told(self) -> bool:
        """Is there nothing more to tell in this run?"""
        return self._kind in self._looked


def _telling(function: Callable[..., Any], tell_of: Callable[[Any], Callable[[], None]]) -> Any:
    @functools.wraps(function)
    def told(self: Any, *args: Any, **kwargs: Any) -> Any:
        tell_of(self)()
        return function(self, *args, **kwargs)

    return told


for _name in """__getitem__ __setitem__ __delitem__ __iter__ __contains__ __len__ __eq__ __or__ __ior__ __repr__
    get keys values items copy pop popitem setdefault update clear""".split():
    setattr(_Noting, _name, _telling(getattr(dict, _name), lambda self: self._tell))


class _Ear:
    """In the place of a message's pattern in a filter of warnings: hears every warning, and matches none.

    Whoever hands the filters to other processes (scikit-learn does) hands on a pattern that matches nothing.
    """

    # What the others in the list have, and libraries ask for.
    pattern = "(?!)"
    flags = re.compile(pattern).flags

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell

    def __repr__(self) -> str:
        return repr(re.compile(self.pattern))

    def match(self, text: str) -> None:
        self._tell()

    def __reduce__(self) -> Any:
        return re.compile, (self.pattern,)


class _Action(str):
    """In the place of what a filter does: tells when it is compared, as `warnings` does before it adds one.

    One that is added where it was already leaves no other trace, and elsewhere it would.
    """

    tell: Callable[[], None]

    def __eq__(self, other: object) -> bool:
        self.tell()
        return str(self) == other

    __hash__ = str.__hash__

    def __reduce__(self) -> Any:
        return str, (str(self),)


def filters() -> list[Any]:
    """The filters of warnings that are not ours."""
    return [one for one in warnings.filters if not _is_ear(one)]


def _is_ear(one: Any) -> bool:
    return isinstance(one[1], _Ear)


_INSIDE = re.compile(r"\b(vars|__dict__|getmembers|__getstate__|__reduce_ex__)\b")
# And other ways to the environment than the mapping and the C library's own function.
_PAST_MAPPING = re.compile(r"\b(ctypes|cffi|_data)\b")
_INSTALLING = re.compile(r"\b(pip|conda|mamba|micromamba|uv|poetry)\b")


class Watch:
    """Notes which settings a run looks at or makes."""

    def __init__(self) -> None:
        self._looked: set[str] = set()
        tell = functools.partial(self._looked.add, WARNINGS)
        action = _Action("default")
        action.tell = self._heed
        self._ear: Any = (action, _Ear(tell), Warning, None, 0)
        # In copies, where the filters that were there before make no difference: what numpy does may.
        self._inner_ear: Any = (
            "default", _Ear(functools.partial(self._looked.add, ERRORS)), Warning, None, 0,
        )  # fmt: skip
        self._filters: Any = None
        # Filters were put before ours, in a copy of them: what those hold back is not heard.
        self._is_deaf = False
        self._is_on = False
        _watches[:] = [self]
        self._watch_copies()
        # Libraries that are watched; False: they do not keep their settings where we know.
        self._watched: dict[str, bool] = {}
        # A cell spoke of installing something: modules of libraries may be edited, too.
        self._installs = False
        # Code spoke of attributes as a dict: a look that no property sees.
        self._looks_inside = False
        self._looks_past = False
        self._modules_heeded: set[str] = set()

    def heed_text(self, source: str) -> None:
        """A cell is about to be replayed or executed."""
        self._installs = self._installs or _INSTALLING.search(source) is not None
        self._heed_ways_past(source)

    def heed_modules(self, names: Iterable[str]) -> None:
        """Modules of the user's are loaded: their code may look where no mapping tells, as that of cells may."""
        for name in names:
            path = getattr(sys.modules.get(name), "__file__", None) or ""
            if name in self._modules_heeded:
                continue
            self._modules_heeded.add(name)
            try:
                with open(path, encoding="utf-8", errors="replace") as file:
                    text = file.read() if path.endswith(".py") else ""
            except OSError:
                text = ""
            # Of what is compiled nothing is known.
            self._heed_ways_past(text if path.endswith(".py") else "vars(os.environ)")

    def _heed_ways_past(self, source: str) -> None:
        is_inside = _INSIDE.search(source) is not None
        self._looks_inside = self._looks_inside or is_inside
        self._looks_past = (
            self._looks_past
            or _PAST_MAPPING.search(source) is not None
            or (is_inside and "environ" in source)
        )

    def begin(self) -> None:
        """A run begins."""
        self._install()
        self._stop_listening()
        with warnings.catch_warnings():
            # Leaving this block makes every warning new again: one that was said once in this process would not be
            # heard, and what a cell says would depend on which cells were executed.
            pass
        # Before all others, and without a word to the user's code.
        self._filters = cast("list[Any]", warnings.filters)
        self._filters.insert(0, self._ear)
        self._looked.clear()
        self._is_deaf, self._is_on = False, True
        self._before = dict(self._watched)

    def end(self, *, has_modules: bool) -> set[str]:
        """Kinds of settings that the run may have looked at: also those of libraries that it loaded.

        `has_modules`: modules of the user's are loaded.
        """
        self._is_on = False
        if not self._stop_listening():
            self._looked.add(WARNINGS)
        found = set(self._looked)
        if has_modules or self._installs:
            found.add(RELOADING)
        if self._looks_inside:
            found.add(LOGGING)
        if self._looks_past:
            found.add(ENVIRONMENT)
        for kind, (modules, _) in _WATCHES.items():
            if _loaded(modules) is not None and not self._before.get(kind, False):
                found.add(kind)
        if PARAMETERS in found:
            found.add(FIGURES)
        if WARNINGS in found or self._is_deaf:
            found.add(ERRORS)
        return found

    def _heed(self) -> None:
        # What happens to a copy (`with catch_warnings()`) is over when the block is left.
        if warnings.filters is self._filters:
            self._looked.add(WARNINGS)

    def heed_filters(self) -> None:
        """A filter was put somewhere: what it holds back in a copy of them is to be heard before it."""
        if self._is_on and warnings.filters is not self._filters:
            cast("list[Any]", warnings.filters).insert(0, self._inner_ear)

    def _watch_copies(self) -> None:
        """Whoever puts filters into a copy by hand is found out when it ends."""
        original = warnings.catch_warnings.__exit__
        if hasattr(original, "_nbrewind_original"):
            original = original._nbrewind_original

        @functools.wraps(original)
        def leave(context: Any, *args: Any) -> None:
            if self._is_on and not (warnings.filters and _is_ear(warnings.filters[0])):
                self._is_deaf = True
            original(context, *args)

        leave._nbrewind_original = original  # type: ignore[attr-defined]
        warnings.catch_warnings.__exit__ = leave  # type: ignore[method-assign]

    def _stop_listening(self) -> bool:
        """False when the run had put other filters in the place of those that it found."""
        others = filters()
        is_there = len(others) < len(warnings.filters)
        cast("list[Any]", warnings.filters)[:] = others
        return is_there

    def _install(self) -> None:
        for kind, (modules, install) in _WATCHES.items():
            module = _loaded(modules)
            if kind in self._watched or module is None:
                continue
            try:
                install(module, _Tell(self._looked, kind))
                self._watched[kind] = True
            except (AttributeError, KeyError, TypeError):
                self._watched[kind] = False


_watches: list[Watch] = []


def heed_filters() -> None:
    """A filter of warnings was put somewhere."""
    for one in _watches:
        one.heed_filters()


def _loaded(modules: tuple[str, ...]) -> Any:
    return next((sys.modules[name] for name in modules if name in sys.modules), None)


def _watch_matplotlib(matplotlib: Any, tell: _Tell) -> None:
    colors = sys.modules["matplotlib.colors"]
    # What a colour's letter means can be set as well (seaborn does); all who ask look into this first.
    known: Any = colors._colors_full_map
    cache = _Noting(known.cache, tell)
    colors.ColorConverter.cache = known.cache = cache
    kind = type(matplotlib.rcParams)

    def telling(function: Callable[..., Any]) -> Any:
        # A figure looks thousands of times.
        is_told = tell.is_told

        @functools.wraps(function)
        def told(self: Any, *args: Any, **kwargs: Any) -> Any:
            if not is_told() and not _is_idle_question():
                tell()
            return function(self, *args, **kwargs)

        return told

    for name, function in list(vars(kind).items()):
        # Whatever a mapping inherits goes through these.
        if isinstance(function, types.FunctionType) and name != "__init__":
            setattr(kind, name, telling(function))


# From a look at the parameters to whoever asked: our layer and matplotlib's have a frame each.
_MAX_FRAMES = 9


def _is_idle_question() -> bool:
    """True when pyplot asks at the end of a cell whether it is to draw what is open, and nothing is."""
    frame = sys._getframe(1)
    asks = None
    for _ in range(_MAX_FRAMES):
        if frame.f_code.co_name == "is_interactive":
            asks = frame.f_back
            break
        if frame.f_back is None:
            return False
        frame = frame.f_back
    if asks is None or asks.f_code.co_name != "_draw_all_if_interactive":
        return False
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None or asks.f_globals is not vars(pyplot):
        return False
    return not pyplot.get_fignums()


def _watch_pandas(config: Any, tell: _Tell) -> None:
    root: dict[str, Any] = config._global_config
    for part in _OF_TABLES:
        if isinstance(root.get(part), dict):
            root[part] = _Noting(root[part], tell)


class _Options:
    """In the place of the context variable of numpy's print options: tells when somebody asks for them or sets them."""

    def __init__(self, options: Any, tell: Callable[[], None]) -> None:
        self._options = options
        self._tell = tell

    def __getattr__(self, name: str) -> Any:
        self._tell()
        return getattr(self._options, name)


def _watch_numpy(printing: Any, tell: _Tell) -> None:
    # What is compiled reads only `legacy` by itself, which is a kind of its own.
    if hasattr(printing, "format_options"):
        printing.format_options = _Options(printing.format_options, tell)
    else:
        # Before numpy 2.2.
        printing._format_options = _Noting(printing._format_options, tell)


def _watch_question(name: str) -> Callable[[Any, _Tell], None]:
    """Hear of settings that a library asks for through one function of its own."""

    def watch(config: Any, tell: _Tell) -> None:
        original = getattr(config, name)

        @functools.wraps(original)
        def asked() -> Any:
            tell()
            return original()

        setattr(config, name, asked)

    return watch


# Modules of which one has to be loaded, and what to do then.
_WATCHES: dict[str, tuple[tuple[str, ...], Callable[[Any, _Tell], None]]] = {
    PARAMETERS: (("matplotlib",), _watch_matplotlib),
    TABLES: (("pandas._config.config",), _watch_pandas),
    ARRAYS: (("numpy._core.arrayprint", "numpy.core.arrayprint"), _watch_numpy),
    # Contexts (`errstate`) and what is compiled do not go through this; whoever asks or sets does.
    ERRORS: (
        ("numpy._core._ufunc_config", "numpy.core._ufunc_config"),
        _watch_question("_get_extobj_dict"),
    ),
    LEARNING: (("sklearn._config",), _watch_question("_get_threadlocal_config")),
}


# --- What statements stand for ------------------------------------------------------------------------------------

# What these do is all in the state of a provider.
_SEEN = re.compile(
    r"pandas\.(set_option|reset_option|options\..*)|numpy\.(set_printoptions|seterr)|sklearn\.set_config|"
    r"warnings\.(filterwarnings|simplefilter|resetwarnings)|sys\.setrecursionlimit|locale\.setlocale|logging\.basicConfig|"
    r"matplotlib\.(pyplot\.)?(rcParams(\.update)?|rc|rcdefaults|style\.use)"
)
_OF_FIGURES = frozenset({"matplotlib", "matplotlib_inline", "seaborn", "mplhep"})
_RELOADING_MAGIC = re.compile(
    r"%\s*(load_ext|reload_ext)\s+autoreload\s*$|%\s*autoreload\b[\s\d]*$"
)
_FIGURE_MAGIC = re.compile(r"%\s*(matplotlib\b|config\s+InlineBackend\b)")


def fingerprints(process: list[dict[str, Any]]) -> dict[str, str | None]:
    """Fingerprints of what statements set that are executed rather than replayed, as far as no provider sees it."""
    names: dict[str, str] = {}
    texts: dict[str, list[str]] = {FIGURES: [], RELOADING: [], OTHERS: []}
    for item in process:
        if item["kind"] == "import":
            names.update(_imported(item["text"]))
            continue
        if item["kind"] == SEEN:
            continue
        kind = _kind_of(item["kind"], item["text"], names)
        if kind is not None and item["text"] not in texts[kind]:
            texts[kind].append(item["text"])
    seen = [item["text"] for item in process if item["kind"] == SEEN]
    # Of variables of the environment every run says itself what was told.
    answers = [
        text
        for text in seen
        if json.loads(text)[2] is not None and not text.startswith(_ENVIRONMENT)
    ]
    return {
        ANSWERS: _digest(answers) if answers else None,
        OTHERS: _digest(texts[OTHERS]),
        FIGURES: _digest(texts[FIGURES]) if texts[FIGURES] else None,
        RELOADING: _digest(texts[RELOADING]) if texts[RELOADING] else None,
    }


def _digest(texts: list[str]) -> str:
    return hashlib.blake2b(json.dumps(texts).encode(), digest_size=16).hexdigest()


def _kind_of(kind: str, text: str, names: dict[str, str]) -> str | None:
    """What the statement sets; None when providers see all of it."""
    if kind == "magic":
        if _RELOADING_MAGIC.match(text.strip()):
            return RELOADING
        return FIGURES if _FIGURE_MAGIC.match(text.strip()) else OTHERS
    if kind != "config":
        return OTHERS
    path, values = _setting(text)
    root, *rest = path or ("",)
    full = ".".join([names.get(root, ""), *rest])
    if _SEEN.fullmatch(full) and all(_is_plain(value, full) for value in values):
        return None
    return FIGURES if full.partition(".")[0] in _OF_FIGURES else OTHERS


@functools.lru_cache(maxsize=512)
def _imported(text: str) -> dict[str, str]:
    """What the names stand for that import statements bind."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return {}
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                found[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return found


@functools.lru_cache(maxsize=512)
def _setting(text: str) -> tuple[tuple[str, ...] | None, list[ast.expr]]:
    """The dotted path that a statement calls or assigns to, if it is one, and the values that it gives."""
    try:
        body = ast.parse(text).body
    except SyntaxError:
        return None, []
    if len(body) != 1:
        return None, []
    statement = body[0]
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        call = statement.value
        return _path(call.func), [*call.args, *(keyword.value for keyword in call.keywords)]
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
        if isinstance(target, ast.Subscript):
            return _path(target.value), [target.slice, statement.value]
        return _path(target), [statement.value]
    return None, []


def _path(node: ast.expr) -> tuple[str, ...] | None:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return (node.id, *reversed(parts)) if isinstance(node, ast.Name) else None


def _is_plain(value: ast.expr, full: str) -> bool:
    """True for values that a provider can compare and store: no functions, nothing that is called to make them."""
    named = () if full.startswith("numpy.") else (ast.Name, ast.Attribute)
    plain = (
        ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.UnaryOp, ast.operator, ast.unaryop, ast.expr_context,
        *named,
    )  # fmt: skip
    return all(isinstance(node, plain) for node in ast.walk(value))

"""Task fingerprints: what a task would compute, as 64 hex digits, or why that cannot be known.

A fingerprint covers the function (code, constants, defaults, closure, globals and helpers,
recursively), the literal arguments by content, files that literals name by content, and the
fingerprints of the tasks it depends on. It does not cover keys, Dask's own tokens, file names and
line numbers of code, or how tasks were fused.

Terms:
* *opaque*: no fingerprint, so the task never hits and is not recorded; everything that follows it
  is opaque as well;
* *suspect*: may give another result each time (clock, random numbers, `uuid4`). Replayed as
  recorded, always stored. What follows a suspect stands only on the very draw that it was computed
  from (`draws`);
* *interior*: the inside of a shuffle, whose results mean nothing in another run;
* *writer*: changes something outside; it always runs, and so does what follows it.

When a name of user code suggests an effect that cannot be seen here, the task is opaque or a
writer: too many runs rather than one false hit.
"""

from __future__ import annotations

import abc
import builtins
import dis
import enum
import functools
import importlib.metadata
import importlib.util
import json
import re
import sys
import types
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from nbrewind import _native
from nbrewind.fingerprint import (
    Context,
    Fact,
    Walk,
    code_names,
    is_importable,
    is_library_module,
    module_version,
    path_digest,
    register,
)
from nbrewind.tasks import remote, surroundings
from nbrewind.tasks.graph import Graph, Key, Node, TaskName, key_tokens
from nbrewind.tasks.worker import signature

_IDENTIFIER = re.compile(r"[^\W\d]\w*")
_SALT_PACKAGES = (
    "dask",
    "distributed",
    "numpy",
    "pandas",
    "pyarrow",
    "scipy",
    "xarray",
    "polars",
    "numba",
    "partd",
)

# Names in user code that write natively, or to a database, where no audit hook sees it. Everything
# else is seen on the worker when it happens.
_WRITES = frozenset(
    """
    to_parquet to_feather to_hdf to_orc to_zarr to_netcdf to_delta to_sql write_table
    write_parquet write_csv write_feather write_ipc write_dataset write_to_dataset sink_parquet
    sink_csv ParquetWriter CSVWriter imwrite save save_model memmap executemany executescript
    put_object upload_file
    """.split()
)
# Names in user code that read files without Python's `open`: nothing tells which, unless native
# opens are watched.
_READS_NATIVELY = frozenset(
    """
    read_parquet read_feather read_orc read_table ParquetFile ParquetDataset dataset memory_map
    open_dataset open_mfdataset open_dataarray load_dataset scan_parquet scan_csv scan_ipc
    read_hdf HDFStore Dataset h5py netCDF4 tables rasterio osgeo cv2 imread polars duckdb lance
    pyarrow pysam fitsio ROOT read_csv_arrow
    """.split()
)
# Names in user code that read what is neither an argument nor a file.
_READS_OUTSIDE = frozenset(
    """
    environ environb getenv getenvb getcwd cwd abspath resolve absolute realpath urlopen
    urlretrieve requests httpx aiohttp boto3 s3fs gcsfs paramiko socket import_module connect
    create_engine read_sql read_sql_query get_client worker_client get_worker expanduser home
    gethostname __file__ exists lexists isfile isdir is_file is_dir stat lstat getmtime getsize
    access islink readlink samefile ismount getctime getatime glob iglob rglob expandvars linecache
    getline filecmp gettempdir which disk_usage statvfs pread preadv setlocale getlocale
    getpreferredencoding __subclasses__ getsource getsourcelines findsource getcomments
    co_firstlineno co_filename f_lineno _getframe RecursionError
    """.split()
)
_DRAWS = frozenset(
    """
    random rand randn randint integers normal uniform choice choices shuffle permutation sample
    default_rng RandomState uuid1 uuid4 urandom token_hex token_bytes secrets now today utcnow
    time time_ns perf_counter monotonic process_time getpid fromtimestamp localtime gmtime
    get_ident
    """.split()
)
# Names in user code that show something to the user.
# Modules of which only some names read what is outside.
_OUTSIDE_OF = {
    "sys": frozenset("argv modules stdin getrecursionlimit".split()),
    "dask": frozenset({"config"}),
    "dask.config": frozenset({"get", "config"}),
    "distributed": frozenset(
        """
        Variable Queue Lock Event Semaphore Pub Sub MultiLock Client Future get_client get_worker
        worker_client secede rejoin get_task_stream
        """.split()
    ),
}
_OUTSIDE_OF["dask.distributed"] = _OUTSIDE_OF["distributed"]
# What functions of the standard library do, under whatever name they are kept.
_TELLING_MODULES = frozenset(
    """
    os posix posixpath genericpath time random uuid secrets socket getpass tempfile glob linecache
    filecmp shutil locale inspect numpy.random.mtrand
    """.split()
)
# Names through which code is run that stands in a text.
_RUNS_TEXTS = frozenset(
    """
    query eval evaluate sql sqldf dmatrix dmatrices from_formula ols gls wls glm logit probit
    poisson mixedlm quantreg phreg
    """.split()
)
_READS_ANNOTATIONS = frozenset(
    """
    __annotations__ get_type_hints get_annotations signature getfullargspec validate_call
    validate_arguments
    """.split()
)
_LOCAL_TIME = frozenset(
    "astimezone timestamp mktime strftime ctime tzset tzname timezone altzone tzlocal".split()
)
# Readers that look for a file before they open it, or open it natively: nobody sees that it was not there.
_LOOKS_FIRST = _READS_NATIVELY | {"loadtxt", "genfromtxt"}
_SHOWS = frozenset("print pprint stdout stderr warn tqdm trange".split())
_LIBRARY_WRITER = re.compile(
    r"(^|_)(write|store|save|dump)(_|$)|^ToParquet|^_?write"
    r"|^_?to_(parquet|csv|hdf|sql|json|orc|zarr|textfiles|avro|npy_stack|delta|pickle|feather)"
)
_LIBRARY_READER = re.compile(
    r"^_?(read|load|open|scan|imread|fromfile|from_file|genfromtxt|parse)(_|$|txt)|^open"
)
_INTERIOR = frozenset(
    """
    maybe_buffered_partd barrier _shuffle_group _shuffle_transfer shuffle_transfer p2p_barrier
    merge_transfer rechunk_transfer partition _partition
    """.split()
)
_KNOWN_KINDS = frozenset("Task List Tuple Set Dict P2PBarrierTask CallSpec".split())
_SHUFFLE_OUTPUTS = frozenset("collect shuffle_unpack merge_unpack rechunk_unpack".split())
_SHUFFLE_MODULES = (
    "dask.dataframe.dask_expr._shuffle",
    "dask.dataframe.dask_expr._merge",
    "dask.dataframe.shuffle",
    "dask.bag.core",
    "distributed.shuffle",
    "partd",
)


@functools.cache
def environment_salt() -> str:
    """Versions of Python and of the libraries whose methods tasks call without naming them."""
    versions = [f"python {sys.version_info.major}.{sys.version_info.minor}"]
    for name in _SALT_PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{name} none")
    return "; ".join(versions)


def digest(parts: tuple[Any, ...]) -> str:
    """Fingerprint of a tuple of scalars and tuples."""
    return _native.scalar_digest(parts)


@dataclass(slots=True)
class Literal:
    """What a walk over a function or over the arguments of a task says."""

    fp: str | None
    opaque: list[str]
    components: list[tuple[str, str]]
    files: dict[str, str]
    marks: list[str]
    is_user: bool
    is_suspect: bool
    writer: str | None
    # Names that open files: of user code natively, of a library in any way.
    reads_natively: str | None = None
    is_reader: bool = False
    obj: Any = None
    # A name through which user code shows something.
    shows: str | None = None
    # Name of a function -> the constants that it names, as text: for telling which one changed.
    notes: dict[str, dict[str, str]] = field(default_factory=dict)
    # Remote files: (file system, path, version).
    remotes: list[tuple[Any, str, str]] = field(default_factory=list)
    # The user's code that workers know by name only: (module, name, fingerprint).
    by_name: list[tuple[str, str, str]] = field(default_factory=list)
    # Names that mean nothing here.
    absent: list[str] = field(default_factory=list)
    # Runs code that stands in texts, with these globals.
    scopes: list[dict[str, Any]] = field(default_factory=list)
    # Can it be changed by whoever has it?
    is_mutable: bool = True


class _TaskContext(Context):
    """The walker's task mode, watching for names that suggest effects."""

    def __init__(self) -> None:
        super().__init__(follow_globals=True)
        # (file system, path) -> version, asked for once per graph.
        self.versions: dict[tuple[int, str], tuple[Any, str | None]] = {}
        # Name -> what the user has added to classes of libraries, looked up once per graph.
        self.added: dict[str, list[Any]] | None = None
        # Code that travels by name -> its fingerprint, while it stays the same object.
        self.known_by_name: dict[tuple[str, str], tuple[Any, str | None]] = {}
        self.reset()

    def reset(self) -> None:
        self.names: set[str] = set()
        # Names of functions of the standard library that were met themselves.
        self.told: set[str] = set()
        self.is_user = False
        self.is_reader = False
        self.writer: str | None = None
        self.reasons: list[str] = []
        self.notes: dict[str, dict[str, str]] = {}
        self.remotes: list[tuple[Any, str, str]] = []
        self.functions: dict[int, types.FunctionType] = {}
        self.modules: dict[str, types.ModuleType] = {}
        self.by_name: dict[tuple[str, str], Any] = {}
        self.absent: set[str] = set()
        self.builtins: dict[str, Any] = {}

    def version_of(self, filesystem: Any, path: str) -> str | None:
        """The version of a remote file, to be checked again when the task has run."""
        key = (id(filesystem), path)
        if key not in self.versions:
            self.versions[key] = (filesystem, remote.version_of(filesystem, path))
        version = self.versions[key][1]
        if version is not None:
            self.remotes.append((filesystem, path, version))
        return version

    def facts(self, obj: Any) -> Fact:
        fact = self.facts_of(obj)
        if fact.tag == "the one object":
            self.note_singleton(*fact.parts)
        return fact

    def note_singleton(self, module: str, name: str) -> None:
        """Objects of libraries whose state is no content, and what it means to have one."""
        if name == "environ":
            self.told.add(name)
        elif "random" in module:
            self.told.add("random")
        elif module == "matplotlib":
            self.modules.setdefault(module, sys.modules[module])

    def facts_of(self, obj: Any) -> Fact:
        """What one object is."""
        if type(obj) is Fact:
            return obj
        kind = type(obj)
        if kind is types.FunctionType or kind is types.BuiltinFunctionType:
            self.note_callable(obj.__name__)
            if obj.__module__ in _TELLING_MODULES:
                self.names.add(obj.__name__)
                self.told.add(obj.__name__)
            if _is_clusters(obj.__module__):
                return _state_of_the_cluster(obj.__name__)
            if kind is types.FunctionType and not is_importable(obj):
                self.note_by_name(obj)
                return self.user_function(obj)
            if top := str(obj.__module__ or "").partition(".")[0]:
                self.names.update({top} & _READS_NATIVELY)
        elif kind is types.MethodType:
            self.note_callable(obj.__func__.__name__)
        elif isinstance(obj, type):
            if _is_clusters(obj.__module__):
                return _state_of_the_cluster(obj.__name__)
            if not is_importable(obj) and obj.__module__ != "builtins":
                self.is_user = True
                self.note_by_name(obj)
                fact = super().facts(obj)
                if fact.tag == "class":
                    _hide_names(fact, 0, 1)
                    # Pickle leaves a note on classes whose instances it has seen.
                    *head, body = fact.parts[:_BODY]
                    kept = tuple(
                        (_name(name), value) for name, value in body if name != "__slotnames__"
                    )
                    fact.parts = (*head, kept, *fact.parts[_BODY:])
                if isinstance(obj, abc.ABCMeta):
                    fact.parts = (*fact.parts, ("registered", _registered(obj)))
                return fact
        elif kind is types.CodeType:
            fact = super().facts(obj)
            # Names and variables; the constants come last.
            fact.parts = tuple(
                tuple(map(_name, part)) if type(part) is tuple else part for part in fact.parts[:-1]
            ) + (fact.parts[-1],)
            _hide_names(fact, -2)
            return fact
        elif kind is types.ModuleType:
            if is_library_module(obj.__name__):
                self.modules[obj.__name__] = obj
                self.names.update({obj.__name__.partition(".")[0]} & _READS_NATIVELY)
            else:
                self.note_by_name(obj)
                if (hook := vars(obj).get("__getattr__")) is not None:
                    fact = super().facts(obj)
                    fact.parts = (*fact.parts, ("__getattr__", hook))
                    return fact
        else:
            self.note_callable(
                getattr(obj, "method", None) if kind.__name__ == "methodcaller" else kind.__name__
            )
            if is_graph_node(obj):
                return Fact("opaque", opaque="a task reference hidden inside an argument")
            if _is_clusters(kind.__module__):
                return _state_of_the_cluster(kind.__name__)
            if kind.__module__ == "numpy" and kind.__name__ == "ndarray" and obj.base is not None:
                # A task gets its own copy: which memory the array was cut from does not matter.
                return super().facts(obj.copy(order="K"))
        return super().facts(obj)

    def note_by_name(self, obj: Any) -> None:
        """Workers are sent the name of this, and look it up among what they have."""
        name = surroundings.travels_by_name(obj)
        if name is not None:
            self.by_name[name] = obj

    def note_callable(self, name: Any) -> None:
        if isinstance(name, str):
            if self.writer is None and _LIBRARY_WRITER.search(name):
                self.writer = name
            if _LIBRARY_READER.search(name):
                self.is_reader = True
                self.names.add(name)

    def user_function(self, func: types.FunctionType) -> Fact:
        self.is_user = True
        self.functions[id(func)] = func
        names = code_names(func.__code__)
        for name in names.global_names:
            if name in func.__globals__:
                continue
            if not hasattr(builtins, name):
                self.absent.add(name)
            elif surroundings.changed_builtin(name):
                self.builtins[name] = getattr(builtins, name)
        self.notes.setdefault(func.__name__, _notes(func, names.global_names))
        self.names |= names.attributes
        self.names |= set(names.global_names)
        if url := next(filter(remote.is_url, _texts_of(func, names.global_names)), None):
            self.reasons.append(f"{func.__name__} names {url}, whose version is not known")
        if names.stored:
            self.writer = f"{func.__name__} (binds the global {min(names.stored)})"
        if (
            "getattr" in names.global_names
            and "getattr" not in func.__globals__
            and _has_dynamic_getattr(func.__code__)
        ):
            self.reasons.append(f"{func.__name__} looks up attributes by a name made at run time")
        fact = super().facts(func)
        # Its names, docstring and keyword defaults, attributes and globals.
        _hide_names(fact, 1, 2, 3, 5, 7, 8)
        imported = tuple(
            self.import_part(name, level, func) for name, level in _imports(func.__code__)
        )
        if imported:
            fact.parts = (*fact.parts, ("imports", imported))
        return fact

    def import_part(self, name: str, level: int, func: types.FunctionType) -> Any:
        """What `import name` inside a function stands for."""
        self.names.add(name.partition(".")[0])
        if level:
            package = func.__globals__.get("__package__") or ""
            try:
                name = importlib.util.resolve_name("." * level + name, package)
            except ImportError:
                self.reasons.append(f"{func.__name__} imports relative to nothing")
                return name
        module = sys.modules.get(name)
        if module is not None and is_library_module(name):
            self.modules[name] = module
        if module is not None:
            return (name, module_version(name)) if is_library_module(name) else (name, module)
        try:
            spec = importlib.util.find_spec(name.partition(".")[0])
        except (ImportError, ValueError):
            spec = None
        if spec is None:
            return (name, None)
        if spec.origin in {"built-in", "frozen"} or (spec.origin and _is_library(spec.origin)):
            return (name, module_version(name))
        self.reasons.append(f"{func.__name__} imports {name}, which is not loaded here")
        return name

    def literal(self, obj: Any) -> Literal:
        """Walk `obj` and sum up what was seen."""
        self.reset()
        walk: Walk = self.walk(obj)
        fp, more = self.surrounded(walk)
        names = self.names
        opaque = [*walk.opaque, *more, *self.reasons]
        if found := self.told & _READS_OUTSIDE:
            opaque.append(f"reads what is outside its arguments: {min(found)}")
        writer = self.writer
        suspect = bool(walk.marks) and any(
            mark.startswith("nondeterministic") for mark in walk.marks
        )
        if self.is_user:
            if found := names & _WRITES:
                writer = writer or min(found)
            if found := names & _READS_OUTSIDE | self.outside_of_modules():
                opaque.append(f"reads what is outside its arguments: {min(found)}")
            if why := self.why_absence_is_unseen():
                opaque.append(why)
        suspect = suspect or bool((names if self.is_user else self.told) & _DRAWS)
        natively = min(names & _READS_NATIVELY, default=None)
        marks = sorted(mark for mark in walk.marks if mark.startswith("nondeterministic"))
        by_name = self.fingerprints_by_name() if not opaque else []
        return Literal(
            fp if not opaque else None,
            opaque,
            list(walk.components),
            walk.files,
            marks,
            self.is_user,
            suspect,
            writer,
            natively,
            self.is_reader,
            obj,
            min(names & _SHOWS, default=None) if self.is_user else None,
            self.notes,
            self.remotes,
            by_name,
            sorted(self.absent),
            self.scopes() if names & _RUNS_TEXTS else [],
            not _is_fixed(obj),
        )

    def scopes(self) -> list[dict[str, Any]]:
        """The globals of the user's functions that were seen."""
        return list(
            {id(one.__globals__): one.__globals__ for one in self.functions.values()}.values()
        )

    def surrounded(self, walk: Walk) -> tuple[str | None, list[str]]:
        """The fingerprint with what the code reaches by other ways than its globals, and what of that is opaque."""
        if not self.functions:
            return walk.fp, []
        names = self.names
        parts: list[Any] = sorted(self.builtins.items())
        if names & _RUNS_TEXTS:
            parts += named_in(walk.idents, self.scopes())
        if names & _READS_ANNOTATIONS:
            parts += [
                (one.__qualname__, tuple(one.__annotations__.items()))
                for one in self.functions.values()
            ]
        if names & _LOCAL_TIME:
            parts.append(("time zone", surroundings.time_zone()))
        if "matplotlib" in {name.partition(".")[0] for name in self.modules}:
            parts.append(("drawing", surroundings.drawing_settings()))
        if self.added is None:
            self.added = surroundings.added_to_classes()
        parts += [(name, tuple(self.added[name])) for name in sorted(names & self.added.keys())]
        for name in sorted(self.modules):
            parts += surroundings.put_into(self.modules[name], names)
        if not parts or walk.fp is None:
            return walk.fp, []
        more = self.walk(tuple(parts))
        walk.components.extend(more.components)
        return digest((walk.fp, more.fp)) if more.fp is not None else None, more.opaque

    def outside_of_modules(self) -> set[str]:
        """Names that read what is outside only in certain modules, of which the code knows one."""
        found: set[str] = set()
        for name in self.modules.keys() & _OUTSIDE_OF.keys():
            found |= _OUTSIDE_OF[name] & self.names
        return found

    def why_absence_is_unseen(self) -> str | None:
        """A file that is not there shows only when it is asked for with Python's `open`."""
        if readers := self.names & _LOOKS_FIRST:
            for func in self.functions.values():
                if _catches(func.__code__):
                    return f"goes on without a file that {min(readers)} does not find"
        return None

    def fingerprints_by_name(self) -> list[tuple[str, str, str]]:
        """What workers must find under the names by which they are sent the user's code."""
        found = []
        for key, obj in list(self.by_name.items()):
            known = self.known_by_name.get(key)
            if known is None or known[0] is not obj:
                known = self.known_by_name[key] = (obj, fingerprint_by_name(obj))
            if known[1] is not None:
                found.append((*key, known[1]))
        return found

    def remote_texts(self, texts: list[str]) -> Literal:
        """Addresses that a reader is given, by the versions of what is there."""
        self.reset()
        versions: list[tuple[str, str]] = []
        for text in texts:
            place = remote.locate(text)
            version = self.version_of(*place) if place is not None else None
            if version is None:
                self.reasons.append(f"the version of {text} is not known")
            else:
                versions.append((text, version))
        label = f"file:{texts[0]}"
        fp = digest(("remote", *versions))
        return Literal(
            None if self.reasons else fp,
            self.reasons,
            [(label, fp)],
            {},
            [],
            False,
            False,
            None,
            remotes=self.remotes,
        )


def _is_fixed(obj: Any) -> bool:
    """True for what nobody can change: scalars, and functions and classes of libraries."""
    if isinstance(obj, tuple):
        return all(map(_is_fixed, obj))
    if isinstance(obj, str | bytes | int | float | complex | type(None) | Fact):
        return True
    return (
        isinstance(obj, types.FunctionType | types.BuiltinFunctionType | type)
        and isinstance(getattr(obj, "__self__", None), types.ModuleType | None)
        and is_importable(obj)
    )


def fingerprint_by_name(obj: Any) -> str | None:
    """Content of code that travels by its name."""
    fp: str | None = _TaskContext().walk(obj).fp
    return fp


def named_in(idents: Collection[str], scopes: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    """The globals that texts name."""
    return [(name, scope[name]) for name in sorted(idents) for scope in scopes if name in scope]


def _name(value: Any) -> Any:
    """A name in code. As bytes: a string stands for the file of that name, if there is one."""
    return value.encode("utf-8", "surrogateescape") if type(value) is str else value


def _hide_names(fact: Fact, *places: int) -> None:
    """Let these parts, and the names of pairs in them, be no names of files."""
    parts = list(fact.parts)
    for at in places:
        if type(parts[at]) is str:
            parts[at] = _name(parts[at])
        elif type(parts[at]) is tuple and all(_is_pair(one) for one in parts[at]):
            parts[at] = tuple((_name(name), value) for name, value in parts[at])
    fact.parts = tuple(parts)


def _is_pair(value: Any) -> bool:
    return type(value) is tuple and len(value) == 2 and type(value[0]) is str


# Parts of a class up to and with its dictionary: name, qualified name, metaclass, bases, dictionary.
_BODY = 5


def _is_clusters(module: Any) -> bool:
    return (
        isinstance(module, str)
        and module.startswith("distributed.")
        and not module.startswith("distributed.shuffle")
    )


def _state_of_the_cluster(name: str) -> Fact:
    return Fact("opaque", opaque=f"distributed's {name} is state of the cluster")


def _registered(cls: abc.ABCMeta) -> tuple[str, ...]:
    """Classes that count as heirs of this one."""
    # Not public: nothing else tells.
    found = (one() for one in abc._get_dump(cls)[0])  # type: ignore[attr-defined]
    return tuple(sorted(f"{one.__module__}:{one.__qualname__}" for one in found if one is not None))


@functools.lru_cache(maxsize=4096)
def _catches(code: types.CodeType) -> bool:
    """Does the code go on after an exception?"""
    n_handlers = 0
    for part in _nested(code):
        for instruction in dis.get_instructions(part):
            n_handlers += instruction.opname == "POP_EXCEPT"
            n_handlers -= instruction.opname == "WITH_EXCEPT_START"
            if instruction.opname in {"LOAD_GLOBAL", "LOAD_ATTR", "LOAD_METHOD"}:
                n_handlers += instruction.argval == "suppress"
    return n_handlers > 0


class _SharingContext(Context):
    """Which parts results have in common: that two of them are of one class is nothing to share."""

    def facts(self, obj: Any) -> Fact:
        """What one object is; classes and their members are themselves."""
        if isinstance(obj, type | enum.Enum):
            return Fact("class")
        fact = super().facts(obj)
        if isinstance(obj, types.FunctionType | types.ModuleType):
            fact.mutable = False
        return fact


_NOTED = (bool, int, float, complex)
_MAX_NOTE = 40


def _texts_of(func: types.FunctionType, global_names: tuple[str, ...]) -> list[str]:
    """Texts in a function's code, defaults, closure and globals, apart from its docstring."""
    cells = [_content_of(cell) for cell in func.__closure__ or ()]
    found = [
        *(const for code in _nested(func.__code__) for const in code.co_consts),
        *(func.__globals__.get(name) for name in global_names),
        *(func.__defaults__ or ()),
        *(func.__kwdefaults__ or {}).values(),
        *cells,
    ]
    return [text for text in found if type(text) is str]


def _content_of(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _notes(func: types.FunctionType, global_names: tuple[str, ...]) -> dict[str, str]:
    """Constants of the code, and numbers among its defaults and globals, as text."""
    constants = [
        repr(const)
        for code in _nested(func.__code__)
        for const in code.co_consts
        if type(const) in _NOTED or (type(const) is str and const != func.__doc__)
    ]
    found = {"constant": json.dumps([text for text in constants if len(text) <= _MAX_NOTE])}
    names = func.__code__.co_varnames[: func.__code__.co_argcount]
    defaults = func.__defaults__ or ()
    known = {
        **{name: func.__globals__.get(name) for name in global_names},
        **dict(zip(names[len(names) - len(defaults) :], defaults, strict=False)),
        **(func.__kwdefaults__ or {}),
    }
    for name, value in known.items():
        if type(value) in _NOTED and len(text := repr(value)) <= _MAX_NOTE:
            found[name] = text
    return found


def _is_library(path: str) -> bool:
    from nbrewind.fingerprint import is_library_file

    return is_library_file(path)


def is_graph_node(obj: Any) -> bool:
    """True for Dask's nodes and references (futures among them), without importing Dask."""
    return any(base.__module__ == "dask._task_spec" for base in type(obj).__mro__)


def _nested(code: types.CodeType) -> list[types.CodeType]:
    found = [code]
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            found.extend(_nested(const))
    return found


@functools.lru_cache(maxsize=4096)
def _imports(code: types.CodeType) -> tuple[tuple[str, int], ...]:
    """Modules that the code imports when it runs, with their relative level."""
    found: set[tuple[str, int]] = set()
    for part in _nested(code):
        before: list[Any] = []
        for instruction in dis.get_instructions(part):
            if instruction.opname == "IMPORT_NAME":
                level = next((value for value in reversed(before) if isinstance(value, int)), 0)
                found.add((instruction.argval, level))
            if instruction.opname in {"LOAD_CONST", "LOAD_SMALL_INT"}:
                before.append(instruction.argval)
    return tuple(sorted(found))


@functools.lru_cache(maxsize=4096)
def _has_dynamic_getattr(code: types.CodeType) -> bool:
    """True unless every `getattr` is given a literal name, which is among the constants."""
    for part in _nested(code):
        instructions = list(dis.get_instructions(part))
        for at, instruction in enumerate(instructions):
            if instruction.opname == "LOAD_GLOBAL" and instruction.argval == "getattr":
                loads = []
                for later in instructions[at + 1 :]:
                    if later.opname in {"CALL", "CALL_FUNCTION", "CALL_KW"}:
                        break
                    loads.append(later)
                if not any(
                    load.opname == "LOAD_CONST" and isinstance(load.argval, str) for load in loads
                ):
                    return True
    return False


@register("fsspec.core:OpenFile")
def _open_file_fact(opened: Any, ctx: Context) -> Fact:
    name = type(opened.fs).__name__
    if name == "LocalFileSystem" or not isinstance(ctx, _TaskContext):
        return Fact("object", tuple(opened.__reduce__()), mutable=True)
    version = ctx.version_of(opened.fs, opened.path)
    if version is None:
        return Fact("opaque", opaque=f"the version of {opened.path} is not known")
    how = (opened.mode, opened.compression, opened.encoding, opened.errors, opened.newline)
    where = (name, opened.path, *map(str, how), version)
    # As bytes: nothing here names a file of this machine.
    return Fact(
        "remote file",
        tuple(text.encode() for text in where),
        label=f"file:{opened.path}",
    )


@register("fsspec.spec:AbstractFileSystem")
def _filesystem_fact(filesystem: Any, ctx: Context) -> Fact:
    name = type(filesystem).__name__
    if name != "LocalFileSystem":
        return Fact("opaque", opaque=f"{name}: the versions of what is there are not known yet")
    return Fact("local file system", (name, filesystem.storage_args, filesystem.storage_options))


@register("dask.dataframe.dask_expr.io.parquet:FragmentWrapper")
def _fragment_fact(wrapper: Any, ctx: Context) -> Fact:
    fragment = wrapper.fragment
    if type(fragment.filesystem).__name__ != "LocalFileSystem":
        return Fact("opaque", opaque="a parquet fragment on a remote file system")
    groups = getattr(fragment, "row_groups", None)
    ids = tuple(group.id for group in groups) if groups is not None else None
    return Fact(
        "fragment", (fragment.path, str(fragment.partition_expression), ids, str(fragment.format))
    )


@dataclass(slots=True)
class TaskFacts:
    """What is known about one node before anything runs."""

    name: str
    fp: str | None = None
    # Why there is no fingerprint, first reason first.
    opaque: list[str] = field(default_factory=list)
    # Literals that take part, function first.
    literals: tuple[Literal, ...] = ()
    n_refs: int = 0
    # Digests of the arguments: with the fingerprints of the inputs, and with their positions only.
    scalars: str = ""
    stem: str | None = None
    is_user: bool = False
    is_suspect: bool = False
    is_interior: bool = False
    is_shuffle_output: bool = False
    # Why it must always run.
    writer: str | None = None
    # Tasks that this result stands on, itself included, whose values their fingerprints do not
    # determine: draws, and readers of files that only running showed.
    draws: frozenset[str] = frozenset()
    # A name through which it opens files natively.
    reads_natively: str | None = None
    # Its result is in the memory of the cluster under this very key.
    is_live: bool = False
    # Could it change what it is given, where others have that, too?
    may_change: bool = False

    @property
    def marks(self) -> list[str]:
        """Marks of nondeterminism."""
        return [mark for literal in self.literals for mark in literal.marks]

    @property
    def files(self) -> dict[str, str]:
        """Files that literals name, with their digests."""
        return {path: found for literal in self.literals for path, found in literal.files.items()}


@dataclass(slots=True)
class _Function:
    """What is known of a function, whatever it is given."""

    func: Any
    literal: Literal
    is_library: bool
    is_interior: bool
    is_shuffle_output: bool


class Fingerprinter:
    """Fingerprints of one graph; a fresh one for every graph, because objects change.

    `known` gives what futures hold.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        salt: str = "",
        known: Callable[[Key], tuple[str | None, frozenset[str]]] | None = None,
        live: Callable[[Key], bool] | None = None,
        is_value: Callable[[Key], bool] | None = None,
        occurrences: dict[str, dict[Any, int]] | None = None,
        observed: Callable[[list[str]], Collection[str]] | None = None,
        spec: Any = None,
        is_among_others: bool = False,
    ) -> None:
        kinds = spec if spec is not None else importlib.import_module("dask._task_spec")
        self.graph = graph
        self.known = known or (lambda key: (None, frozenset()))
        # Keys that the cluster already holds: whatever their task says now, that result will be
        # taken.
        self.live = live or (lambda key: False)
        # Futures of values that were put on the cluster as they are: no task, nothing to look up.
        self.is_value = is_value or (lambda key: False)
        # Suspect tasks that look the same are told apart by the order in which they were asked for.
        self.occurrences = occurrences if occurrences is not None else {}
        # Of these fingerprints, those whose results depend on more than the fingerprint covers, as
        # records say.
        self.observed = observed or (lambda fps: ())
        # Workers that are threads of this process, and go on while the user's code does: what their tasks are given
        # and give, others can change at any time.
        self.is_among_others = is_among_others
        self.context = _TaskContext()
        # `spec`: the kinds of graph nodes, Dask's or others that look like them.
        self.encoder = _native.Encoder(
            kinds,
            graph.tokens,
            f"{environment_salt()}; {salt}; {surroundings.settings()}",
            _is_library_function,
        )
        self.functions: dict[int, _Function] = {}
        self.names: dict[Any, str] = {}
        self.by_id: dict[tuple[int, ...], Literal] = {}
        # Keeps what `by_id` names alive, so that no address is used twice.
        self.kept: list[Any] = []
        self.facts: list[TaskFacts] = []
        # Tasks whose keys the cluster holds for another task: Dask gives that one's result.
        self.collisions: list[str] = []

    def run(self) -> list[TaskFacts]:
        """Facts of every node, in the order of `graph.nodes`."""
        append, live = self.facts.append, self.live
        for node in self.graph.nodes:
            facts = self._facts_of(node)
            if node.owner is None and node.kind != "external" and live(node.key):
                known, _ = self.known(node.key)
                if known is None or known != facts.fp:
                    if known is not None and facts.fp is not None:
                        self.collisions.append(facts.name)
                    facts.fp = None
                    facts.opaque.insert(
                        0, f"{facts.name} has a result on the cluster that another task made"
                    )
                else:
                    facts.is_live = True
            node.fp = facts.fp
            append(facts)
        self._find_draws()
        return self.facts

    def _find_draws(self) -> None:
        """What every result stands on besides what fingerprints cover."""
        facts = self.facts
        users = [one.fp for one in facts if one.is_user and one.fp is not None]
        observed = self.observed(users) if users else ()
        for node in self.graph.nodes:
            fact = facts[node.idx]
            if fact.is_live:
                fact.draws = self.known(node.key)[1]
            elif node.target is not None:
                fact.draws = facts[node.target.idx].draws
            elif node.kind == "task":
                draws = fact.draws
                for source in node.refs.values():
                    upstream = facts[source.idx].draws
                    if upstream:
                        draws = draws | upstream
                if fact.fp is not None and (
                    fact.is_suspect or fact.reads_natively or (fact.is_user and fact.fp in observed)
                ):
                    draws = draws | {fact.fp}
                fact.draws = draws

    # -- one node

    def _facts_of(self, node: Node) -> TaskFacts:
        if node.kind == "task":
            return self._task(node)
        if node.kind == "external":
            fp, draws = self.known(node.key)
            # A future holds one certain result: what is built on it stands on that one.
            facts = TaskFacts(name=self._name(node.key, None), fp=fp, draws=draws)
            if fp is not None and not self.is_value(node.key):
                facts.draws = draws | {fp}
            if fp is None:
                facts.opaque.append("depends on a future whose task is not known")
            return facts
        if node.target is not None:
            source = self.facts[node.target.idx]
            name = self._name(node.key, None) if node.kind == "fused" else source.name
            return TaskFacts(name=name, fp=source.fp, opaque=source.opaque, writer=source.writer)
        facts = TaskFacts(name="data")
        encoded, stem, literals, fp = self.encoder.data(node.spec.value)
        self._close(facts, (encoded, stem, fp), literals, None)
        return facts

    def _name(self, key: Key, func: Any) -> str:
        """`key_name`, remembered: keys of one collection differ only in their indices."""
        text = key[0] if type(key) is tuple and key else key
        known = self.names.get(text)
        if known is None:
            known = self.names[text] = key_name(key, None)
        if func is not None and (known in {"Other", "data"} or "blockwise" in known):
            return key_name(key, func)
        return known

    def _function(self, func: Any) -> _Function:
        known = self.functions.get(id(func))
        if known is None:
            module = getattr(func, "__module__", None) or type(func).__module__
            is_interior = is_shuffle_output = False
            if module.startswith(_SHUFFLE_MODULES):
                name = getattr(func, "__name__", type(func).__name__)
                where = getattr(func, "__qualname__", name)
                is_interior = (
                    name in _INTERIOR and not where.startswith("TaskShuffle")
                ) or module.startswith("partd")
                is_shuffle_output = name in _SHUFFLE_OUTPUTS
            known = self.functions[id(func)] = _Function(
                func,
                self._literal((func,)),
                is_library_module(module),
                is_interior,
                is_shuffle_output,
            )
        return known

    def _task(self, node: Node) -> TaskFacts:
        spec = node.spec
        container = is_container(spec)
        function = None if container else self._function(spec.func)
        facts = TaskFacts(name=self._name(node.key, spec.func), n_refs=len(node.refs))
        if type(spec).__name__ not in _KNOWN_KINDS:
            facts.opaque.append(f"a task of the unknown kind {type(spec).__name__}")
        func = function.literal if function is not None else None
        encoded, stem, literals, fp = self.encoder.task(
            spec,
            node.refs,
            function is not None and function.is_library,
            func.fp if func is not None else None,
        )
        if not container:
            literals += self._beside_arguments(spec, function)
            facts.may_change = _may_change(node, function, bool(literals))
        if hasattr(spec, "spec"):
            rest = {name: value for name, value in vars(spec.spec).items() if name != "id"}
            literals.append((type(spec.spec), rest))
        if function is not None:
            facts.is_interior = function.is_interior
            facts.is_shuffle_output = function.is_shuffle_output
        facts.is_interior = facts.is_interior or facts.name in {"partd", "zpartd"}
        self._close(facts, (encoded, stem, fp), literals, func)
        if self.is_among_others and (facts.is_user or facts.may_change):
            facts.fp = None
            facts.opaque.append("runs on a worker that is a thread of this process")
        for source in node.refs.values():
            upstream = self.facts[source.idx]
            if upstream.fp is None:
                facts.fp = None
                if not facts.opaque:
                    facts.opaque.append(
                        f"follows {upstream.name}: "
                        f"{upstream.opaque[0] if upstream.opaque else 'opaque'}"
                    )
        if facts.is_suspect and facts.fp is not None:
            facts.fp = self._occurrence(facts.fp, node)
        return facts

    def _beside_arguments(self, spec: Any, function: _Function | None) -> list[Any]:
        """What a function can see of its arguments besides their values."""
        found: list[Any] = []
        if function is not None and (not function.is_library or spec.func is dict):
            names = list(spec.kwargs)
            if names != sorted(names):
                found.append(Fact("order of keywords", tuple(names)))
            if function.literal.scopes:
                values = (*spec.args, *spec.kwargs.values())
                idents = {
                    ident
                    for text in values
                    if type(text) is str
                    for ident in _IDENTIFIER.findall(text)
                }
                found += named_in(idents, function.literal.scopes)
        return found

    def _occurrence(self, fp: str, node: Node) -> str:
        seen = self.occurrences.setdefault(fp, {})
        owner: Node | None = node
        path: list[Key] = []
        while owner is not None:
            path.append(owner.key)
            if key_tokens([owner.key]):
                # Inside a fused task some keys are only names of arguments; those with a token say
                # which task it is.
                break
            owner = owner.owner
        ordinal = seen.setdefault(tuple(path), len(seen))
        return fp if ordinal == 0 else digest(("occurrence", fp, ordinal))

    def _close(
        self,
        facts: TaskFacts,
        code: tuple[Any, ...],
        literals: list[Any],
        func: Literal | None,
    ) -> None:
        """Turn what was encoded into a fingerprint, and take over what the literals say.

        `code`: digest, stem, and the fingerprint if the encoder knew it.
        """
        found: tuple[Literal, ...] = (func,) if func is not None else ()
        if literals:
            found = (*found, self._literal(tuple(literals)))
            if func is not None and (func.is_reader or func.reads_natively):
                urls = [text for text in literals if type(text) is str and remote.is_url(text)]
                if urls:
                    found = (*found, self.context.remote_texts(urls))
        facts.literals = found
        for literal in found:
            if literal.opaque:
                facts.opaque.extend(literal.opaque)
            facts.is_user = facts.is_user or literal.is_user
            facts.is_suspect = facts.is_suspect or literal.is_suspect
            if literal.is_reader and facts.n_refs:
                # Which file it reads is computed: watched and checked like user code.
                facts.is_user = True
            if facts.is_user:
                facts.reads_natively = facts.reads_natively or literal.reads_natively
            facts.writer = facts.writer or literal.writer
        if facts.opaque:
            return
        encoded, facts.stem, fp = code
        facts.scalars = encoded
        if fp is None or literals:
            fp = self.encoder.combine(encoded, [literal.fp or "" for literal in found])
        facts.fp = fp

    def stem_of(self, facts: TaskFacts) -> str | None:
        """What the task does, whatever it is given; None when that cannot be told apart."""
        if facts.stem is None or facts.fp is None:
            return None
        return self.encoder.combine(
            f"stem {facts.stem}", [literal.fp or "" for literal in facts.literals]
        )

    # -- arguments

    def _literal(self, objects: tuple[Any, ...]) -> Literal:
        """Facts of objects walked together (they may share parts), remembered within this graph."""
        key = tuple(map(id, objects))
        known = self.by_id.get(key)
        if known is None:
            known = self.by_id[key] = self.context.literal(
                objects[0] if len(objects) == 1 else objects
            )
            self.kept.append(objects)
        return known

    def changed_literals(self) -> set[int]:
        """After a run in this process: literals (by id of the `Literal`) whose content the run changed."""
        return {
            id(literal)
            for literal in self.by_id.values()
            if literal.is_mutable
            and literal.fp is not None
            and self.context.literal(literal.obj).fp != literal.fp
        }

    def given_away(self, values: list[Any]) -> list[int]:
        """After a run in this process: positions of results that share mutable parts with others, or with what
        tasks were given or refer to.
        """
        held = [literal.obj for literal in self.by_id.values() if literal.is_mutable]
        _, groups, _ = _SharingContext(follow_globals=True).walk_namespace([*values, held])
        return sorted(
            {at for group in groups if len(group) > 1 for at in group if at < len(values)}
        )


def _may_change(node: Node, function: _Function | None, has_literals: bool) -> bool:
    """Could a call change what it is given? Libraries' own graphs do not; methods and what the user calls may."""
    if function is None:
        return False
    func = function.func
    if type(func).__name__ == "methodcaller":
        return any(source.kind == "data" for source in node.refs.values())
    owner = getattr(func, "__self__", None)
    if owner is not None and not isinstance(owner, types.ModuleType | type):
        return True
    module = getattr(func, "__module__", None) or type(func).__module__
    is_engines = module.partition(".")[0] in {"dask", "distributed", "toolz", "tlz", "cytoolz"}
    return has_literals and not is_engines


_CONTAINERS = frozenset({"List", "Tuple", "Set", "Dict"})


def _is_library_function(func: Any) -> bool:
    return is_library_module(getattr(func, "__module__", None) or type(func).__module__)


def is_container(spec: Any) -> bool:
    """True for List, Tuple, Set and Dict nodes, whose function is always the same."""
    kind = type(spec)
    return kind.__name__ in _CONTAINERS and kind.__module__ == "dask._task_spec"


def key_name(key: Key, func: Any) -> str:
    """The name of a task for people: its key without tokens, or the name of its function."""
    if isinstance(key, TaskName):
        return key.name
    from dask.utils import funcname, key_split

    text = key_split(key) if key is not None else "Other"
    if func is not None and (text in {"Other", "data"} or "blockwise" in text):
        text = funcname(func)
    return text


_SHORT = 16


def shared_components(facts: TaskFacts) -> dict[str, str]:
    """What the functions and literals of a fingerprint are made of, by label."""
    found: dict[str, str] = {}
    for literal in facts.literals:
        for label, value in literal.components:
            while label in found and found[label] != value[:_SHORT]:
                label += "'"
            found[label] = value[:_SHORT]
    if facts.literals:
        found["function"] = (facts.literals[0].fp or "")[:_SHORT]
    return found


def own_components(facts: TaskFacts, node: Node, all_facts: list[TaskFacts]) -> dict[str, str]:
    """What else it is made of: the arguments, and the inputs by the names of their tasks."""
    rest = [literal.fp or "" for literal in facts.literals[1:]]
    found = {
        "arguments": digest((facts.scalars, *rest))[:_SHORT] if rest else facts.scalars[:_SHORT]
    }
    inputs: dict[str, list[str]] = {}
    for source in node.refs.values():
        upstream = all_facts[source.idx]
        inputs.setdefault(upstream.name, []).append(upstream.fp or "")
    for name, fps in inputs.items():
        found[f"input {name}"] = (digest(tuple(fps)) if len(fps) > 1 else fps[0])[:_SHORT]
    return found


def components(facts: TaskFacts, node: Node, all_facts: list[TaskFacts]) -> dict[str, str]:
    """What a fingerprint is made of, by label: where two of them differ is why a task runs again."""
    return {**shared_components(facts), **own_components(facts, node, all_facts)}


def notes(facts: TaskFacts) -> dict[str, dict[str, str]]:
    """Name of a function -> the constants that it names."""
    found: dict[str, dict[str, str]] = {}
    for literal in facts.literals:
        for name, known in literal.notes.items():
            found.setdefault(name, known)
    return found


def explain(
    now: dict[str, str],
    before: dict[str, str],
    notes_now: dict[str, dict[str, str]] | None = None,
    notes_before: dict[str, dict[str, str]] | None = None,
) -> str:
    """Which components differ; the innermost when one label is inside another."""
    labels = [label for label in now if now[label] != before.get(label)]
    labels += [label for label in before if label not in now]
    named = [label for label in labels if label not in {"function", "arguments"}]
    if named:
        # The arguments are also told by the inputs among them.
        labels = named
    inner = [
        label for label in labels if not any(other.startswith(label + " -> ") for other in labels)
    ]
    told = []
    for label in inner:
        name = label.rstrip("'").rpartition(" -> ")[2]
        if name.startswith("file:"):
            told.append(f"{label.replace('file:', '')} changed")
            continue
        what = _explain_notes((notes_now or {}).get(name), (notes_before or {}).get(name))
        told.append(f"{label} -> {what}" if what else label)
    return ", ".join(told) if told else "nothing that is named"


def _explain_notes(now: dict[str, str] | None, before: dict[str, str] | None) -> str | None:
    """Which constants of a function became others; None when that is not all that one can see."""
    if now is None or before is None or now == before:
        return None
    told = [
        f"{name} {before[name]} became {now[name]}"
        for name in now
        if name != "constant" and name in before and before[name] != now[name]
    ]
    old, new = json.loads(before["constant"]), json.loads(now["constant"])
    if len(old) == len(new):
        told += [f"constant {a} became {b}" for a, b in zip(old, new, strict=True) if a != b]
    return ", ".join(told) if told else None


def literal_of(value: Any) -> Literal:
    """What a value says when it is an argument of a task."""
    return _TaskContext().literal(value)


def value_fingerprint(value: Any) -> str | None:
    """Content of a value, or None when it has none to compare."""
    found = literal_of(value)
    return digest(("value", found.fp)) if found.fp is not None else None


def file_signatures(files: dict[str, str]) -> dict[str, Any] | None:
    """What must be unchanged on the worker for these digests to hold; None: it changed already."""
    found: dict[str, Any] = {}
    for path, before in files.items():
        found[path] = signature(path)
        if path_digest(path) != before:
            return None
    return found

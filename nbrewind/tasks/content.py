"""What a function or a value says when it is part of a task: its content, and the names in it that suggest effects.

`TaskContext` is the walker's task mode: it follows functions into their helpers, globals and closures, and notes on
the way what of that reads, writes or draws where nobody looks. Opaque, suspect and writer mean what they mean in
`fingerprint`.
"""

from __future__ import annotations

import builtins
import dis
import enum
import functools
import importlib.util
import json
import os
import re
import sys
import types
from collections.abc import Collection
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
from nbrewind.fingerprint.arrays import dtype_key
from nbrewind.tasks import remote, surroundings
from nbrewind.tasks.recorder import signature

IDENTIFIER = re.compile(r"[^\W\d]\w*")

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
READS_OUTSIDE = frozenset(
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
DRAWS = frozenset(
    """
    random rand randn randint integers normal uniform choice choices shuffle permutation sample
    default_rng RandomState uuid1 uuid4 urandom token_hex token_bytes secrets now today utcnow
    time time_ns perf_counter monotonic process_time getpid fromtimestamp localtime gmtime
    get_ident
    """.split()
)
# Names that suggest that the state of a generator is set.
_SEEDS = re.compile("seed|state", re.IGNORECASE)
# And that settings of libraries are.
_SETS = frozenset(
    """
    set_option options option_context seterr seterrcall setcontext getcontext setlocale set_printoptions set_config
    simplefilter filterwarnings
    """.split()
)
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
    # Folders that the user's code names.
    folders: tuple[str, ...] = ()
    # Are these arguments of a function of the user's?
    by_user: bool = False
    # Does the code speak of setting the state of a generator?
    may_seed: bool = False
    # And of settings?
    may_set: bool = False
    # What it sets of libraries, or of classes, for all that comes next in its process.
    patches: str | None = None


class TaskContext(Context):
    """The walker's task mode, watching for names that suggest effects."""

    # A folder that the user's code names is no more than its name: what the code reads in it shows when it runs.
    has_folders_by_name = True

    def __init__(self) -> None:
        super().__init__(follow_globals=True)
        # Does the user's code get what is walked?
        self.by_user = False
        # (file system, path) -> version, asked for once per graph.
        self.versions: dict[tuple[int, str], tuple[Any, str | None]] = {}
        # Name -> what the user has added to classes of libraries, looked up once per graph.
        self.added: dict[str, list[Any]] | None = None
        # Files as they were when something was planned: what they are now does not count. None: it does.
        self.as_planned: dict[str, str] | None = None
        # Code that travels by name -> its fingerprint, while it stays the same object.
        self.known_by_name: dict[tuple[str, str], tuple[Any, str | None]] = {}
        self.reset()

    def reset(self) -> None:
        self.names: set[str] = set()
        # Names of functions of the standard library that were met themselves.
        self.told: set[str] = set()
        self.is_user = False
        self.is_reader = False
        self.patches: str | None = None
        self.writer: str | None = None
        self.reasons: list[str] = []
        self.notes: dict[str, dict[str, str]] = {}
        self.remotes: list[tuple[Any, str, str]] = []
        self.functions: dict[int, types.FunctionType] = {}
        self.modules: dict[str, types.ModuleType] = {}
        self.by_name: dict[tuple[str, str], Any] = {}
        self.absent: set[str] = set()
        self.builtins: dict[str, Any] = {}
        self.folders: set[str] = set()
        self.copies: dict[int, tuple[Any, Any]] = {}

    def version_of(self, filesystem: Any, path: str) -> str | None:
        """The version of a remote file, to be checked again when the task has run."""
        key = (id(filesystem), path)
        if key not in self.versions:
            self.versions[key] = (filesystem, remote.version_of(filesystem, path))
        version = self.versions[key][1]
        if version is not None:
            self.remotes.append((filesystem, path, version))
        return version

    def path_fact(self, path: str) -> Fact | None:
        """The content behind a path that exists, or existed when it was planned."""
        if self.has_folders_by_name and (self.is_user or self.by_user):
            # `folder + "/" + name` names no folder.
            if os.path.isdir(path) and path.strip(os.sep):
                self.folders.add(path)
            if not os.path.isfile(path) and path not in (self.as_planned or ()):
                return _place_fact(path)
        if self.as_planned is None:
            return super().path_fact(path)
        if path not in self.as_planned:
            return None
        name, found = os.path.basename(path.rstrip("/")), self.as_planned[path]
        parts = (_name(name), found)
        return Fact("file", parts, label=f"file:{name}", files={path: found})

    def has_changed(self, literal: Literal) -> bool:
        """Has an object another content than it had? What files contain is another matter."""
        self.as_planned = literal.files
        try:
            return self.literal(literal.obj, by_user=literal.by_user).fp != literal.fp
        finally:
            self.as_planned = None

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
            self.note_callable(obj.__name__, is_users=_is_users(obj))
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
            self.note_callable(obj.__func__.__name__, is_users=_is_users(obj.__func__))
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
                plain = obj.dtype.kind in _PLAIN and obj.dtype.metadata is None
                if not plain or not obj.dtype.itemsize:
                    return super().facts(obj.copy(order="K"))
                if not (obj.flags.c_contiguous or obj.flags.f_contiguous):
                    # One copy of each, so that sharing is seen.
                    known = self.copies.setdefault(id(obj), (obj, obj.copy(order="K")))
                    obj = known[1]
                return _ByItself(obj)
        return super().facts(obj)

    def note_by_name(self, obj: Any) -> None:
        """Workers are sent the name of this, and look it up among what they have."""
        name = surroundings.travels_by_name(obj)
        if name is not None:
            self.by_name[name] = obj

    def note_callable(self, name: Any, *, is_users: bool = False) -> None:
        """What the name of a function says of it. A writer of the user's own is known by what it does."""
        if isinstance(name, str):
            if self.writer is None and not is_users and _LIBRARY_WRITER.search(name):
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
        # What a global is named says nothing when it is known what it is: `ROOT = Path("data")`, `def sample(x): ...`
        self.names |= (names.attributes | set(names.global_names)) - {
            name
            for name in _only_globals(func.__code__)
            if name in func.__globals__ and _is_known_by_itself(func.__globals__[name])
        }
        if url := next(filter(remote.is_url, _texts_of(func, names.global_names)), None):
            self.reasons.append(f"{func.__name__} names {url}, whose version is not known")
        if names.stored:
            self.writer = f"{func.__name__} (binds the global {min(names.stored)})"
        elif chain := _patches_of(func):
            self.patches = ".".join(chain)
            self.writer = f"{func.__name__} (sets {self.patches})"
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

    def literal(self, obj: Any, *, by_user: bool = False) -> Literal:
        """Walk `obj` and sum up what was seen. `by_user`: a function of the user's is given it."""
        self.reset()
        self.by_user = by_user
        walk: Walk = self.walk(obj)
        fp, more = self.surrounded(walk)
        names = self.names
        opaque = [*walk.opaque, *more, *self.reasons]
        if found := self.told & READS_OUTSIDE:
            opaque.append(f"reads what is outside its arguments: {min(found)}")
        writer = self.writer
        suspect = bool(walk.marks) and any(
            mark.startswith("nondeterministic") for mark in walk.marks
        )
        if self.is_user:
            if found := names & _WRITES:
                writer = writer or min(found)
            if found := names & READS_OUTSIDE | self.outside_of_modules():
                opaque.append(f"reads what is outside its arguments: {min(found)}")
            if why := self.why_absence_is_unseen():
                opaque.append(why)
        suspect = suspect or bool((names if self.is_user else self.told) & DRAWS)
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
            tuple(sorted(self.folders)),
            by_user,
            any(map(_SEEDS.search, names if self.is_user else self.told)),
            (self.is_user and not names.isdisjoint(_SETS))
            or getattr(obj, "__name__", None) in _SETS,
            self.patches,
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

    def remote_texts(self, texts: list[str], options: dict[str, Any] | None) -> Literal:
        """Addresses that a reader is given, by the versions of what is there. `options`: as `remote.options_of`."""
        places = [
            (text, remote.locate(text, options) if options is not None else None) for text in texts
        ]
        return self._remote_files(places)

    def remote_parts(self, filesystem: Any, paths: list[str] | None) -> Literal:
        """Files of a remote data set; None: which they are is not known."""
        if paths is None:
            return self._remote_files([("what a data set consists of", None)])
        return self._remote_files([(path, (filesystem, path)) for path in paths])

    def _remote_files(self, places: list[tuple[str, tuple[Any, str] | None]]) -> Literal:
        self.reset()
        versions: list[tuple[str, str]] = []
        for text, place in places:
            version = self.version_of(*place) if place is not None else None
            if version is None:
                self.reasons.append(f"the version of {text} is not known")
            else:
                versions.append((text, version))
        label = f"file:{places[0][0]}" if places else "no files"
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


def _place_fact(path: str) -> Fact | None:
    """A place below the working folder by its name from there, so that it is the same elsewhere. None: as it stands."""
    here = os.getcwd().rstrip(os.sep) + os.sep
    if not path.startswith(here):
        return None
    return Fact("place", (_name(os.path.relpath(path, here)),))


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
    fp: str | None = TaskContext().walk(obj).fp
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


@functools.lru_cache(maxsize=4096)
def _only_globals(code: types.CodeType) -> frozenset[str]:
    """Names of globals that the code uses as nothing else, not as attributes or modules."""
    found: set[str] = set()
    others: set[str] = set()
    for part in _nested(code):
        for instruction in dis.get_instructions(part):
            if instruction.opcode in dis.hasname:
                is_global = instruction.opname.endswith("_GLOBAL")
                (found if is_global else others).add(instruction.argval)
    return frozenset(found - others)


def _is_users(func: Any) -> bool:
    return isinstance(func, types.FunctionType) and not is_importable(func)


def _is_known_by_itself(value: Any) -> bool:
    """Is this plain data, or the user's own function or class? The walk sees all of it."""
    if isinstance(value, types.FunctionType):
        return _is_users(value)
    if isinstance(value, type):
        return not is_importable(value) and value.__module__ != "builtins"
    return type(value).__module__ in {"builtins", "pathlib"} and not isinstance(
        value, types.BuiltinFunctionType | types.MethodType | types.ModuleType
    )


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


class SharingContext(Context):
    """Which parts results have in common: that two of them are of one class is nothing to share."""

    def facts(self, obj: Any) -> Fact:
        """What one object is; classes and their members are themselves."""
        if isinstance(obj, type | enum.Enum):
            return Fact("class")
        fact = super().facts(obj)
        if isinstance(obj, types.FunctionType | types.ModuleType):
            fact.mutable = False
        return fact


# Kinds of items whose bytes are all that they are.
_PLAIN = "biufcSU"


class _ByItself(Fact):
    """An array of such items, without gaps, that counts as if it owned its memory: the walker reads it by itself."""

    __slots__ = ("array",)

    def __init__(self, array: Any) -> None:
        flags = array.flags
        head = (dtype_key(array.dtype), array.shape, flags.writeable, flags.fnc)
        items = (array.T if flags.fnc else array).reshape(-1).view("u1")
        super().__init__("array by itself", head, mutable=True, data=items)
        self.array = array


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


def _patches_of(func: types.FunctionType) -> tuple[str, ...] | None:
    """An attribute of a library's module or of a class that the function sets: by which names it is reached.

    What modules of the user's hold is looked at where it counts.
    """
    for chain in sorted(_set_attributes(func.__code__)):
        root = func.__globals__.get(chain[0])
        if not _SETS.isdisjoint(chain):
            # Settings, which are looked at as well.
            continue
        if chain[0].startswith("@"):
            if is_library_module(chain[0][1:].partition(".")[0]):
                return (chain[0][1:], *chain[1:])
        elif isinstance(root, type) or (
            isinstance(root, types.ModuleType) and is_library_module(root.__name__)
        ):
            return chain
    return None


@functools.lru_cache(maxsize=4096)
def _set_attributes(code: types.CodeType) -> frozenset[tuple[str, ...]]:
    """Attributes of globals that code sets or deletes, as chains of names; what it imports itself has an `@`."""
    found: set[tuple[str, ...]] = set()
    imported: dict[str, str] = {}
    for part in _nested(code):
        chain: list[str] | None = None
        # What `+=` keeps while it works out the value.
        kept: list[str] | None = None
        module, before = "", ""
        for op in dis.get_instructions(part):
            name = op.opname
            if name in _SILENT:
                continue
            if name == "LOAD_GLOBAL":
                chain = [op.argval]
            elif name.startswith(("LOAD_FAST", "LOAD_DEREF")) and op.argval in imported:
                chain = ["@" + imported[op.argval]]
            elif name in {"LOAD_ATTR", "LOAD_METHOD"} and chain is not None:
                chain.append(op.argval)
            elif name == "COPY" and chain is not None:
                kept = list(chain)
            elif name == "SWAP":
                chain, kept = kept, None
            elif name == "IMPORT_NAME":
                module, chain = op.argval, None
            elif name == "IMPORT_FROM":
                module, chain = f"{module}.{op.argval}", None
            else:
                if name in {"STORE_ATTR", "DELETE_ATTR"} and chain is not None:
                    found.add((*chain, op.argval))
                elif name in {"STORE_FAST", "STORE_DEREF"} and module:
                    imported[op.argval] = module
                    # Of `from a import b, c` more may follow.
                    module = module.rpartition(".")[0]
                elif name != "POP_TOP" or before != "SWAP":
                    # `import a.b as c` takes the package off before it binds.
                    module = ""
                chain = None
            before = name
    return frozenset(found)


_SILENT = frozenset({"CACHE", "PRECALL", "PUSH_NULL", "RESUME", "NOP", "EXTENDED_ARG", "NOT_TAKEN"})


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
    if name == "LocalFileSystem" or not isinstance(ctx, TaskContext):
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


# What a curried function works out when it is asked, and what it is called by whom.
_OF_CURRIED = frozenset({"_partial", "_sigspec", "_has_unknown_args", "__module__", "__qualname__"})


@register("toolz.functoolz:curry", "cytoolz.functoolz:curry")
def _curried_fact(obj: Any, ctx: Context) -> Fact:
    # Pickled as the name of its function, if that is curried under its own name: a name is no content.
    parts = (type(obj), obj.func, obj.args, obj.keywords, curried_attributes(obj))
    return Fact("curried", parts, mutable=True)


def curried_attributes(obj: Any) -> tuple[tuple[str, Any], ...]:
    """What a curried function was given besides its function and arguments."""
    attributes = getattr(obj, "__dict__", {})
    return tuple(
        (name, value) for name, value in sorted(attributes.items()) if name not in _OF_CURRIED
    )


class _ContentContext(TaskContext):
    has_folders_by_name = False


def literal_of(value: Any) -> Literal:
    """What a value says when it is an argument of a task; folders by all that is in them."""
    return _ContentContext().literal(value)


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

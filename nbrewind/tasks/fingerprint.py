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

import dis
import functools
import importlib.metadata
import importlib.util
import os
import re
import sys
import types
from collections.abc import Callable
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
from nbrewind.tasks.graph import Graph, Key, Node, TaskName, key_tokens
from nbrewind.tasks.worker import signature

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
    access
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

_SCALARS = frozenset({type(None), bool, int, float, complex, bytes})


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
    found = _native.walk(parts, _no_facts, None)
    text: str = found["fp"]
    return text


def _no_facts(obj: Any) -> Fact:
    return Fact("opaque", opaque=f"{type(obj).__name__} in a tuple of scalars")


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


class _TaskContext(Context):
    """The walker's task mode, watching for names that suggest effects."""

    def __init__(self) -> None:
        super().__init__(follow_globals=True)
        self.reset()

    def reset(self) -> None:
        self.names: set[str] = set()
        self.is_user = False
        self.is_reader = False
        self.writer: str | None = None
        self.reasons: list[str] = []

    def facts(self, obj: Any) -> Fact:
        if type(obj) is Fact:
            return obj
        kind = type(obj)
        if kind is types.FunctionType or kind is types.BuiltinFunctionType:
            self.note_callable(obj.__name__)
            if kind is types.FunctionType and not is_importable(obj):
                return self.user_function(obj)
        elif kind is types.MethodType:
            self.note_callable(obj.__func__.__name__)
        elif isinstance(obj, type):
            if not is_importable(obj) and obj.__module__ != "builtins":
                self.is_user = True
                fact = super().facts(obj)
                if fact.tag == "class":
                    # Pickle leaves a note on classes whose instances it has seen.
                    *rest, body = fact.parts
                    kept = tuple(pair for pair in body if pair[0] != "__slotnames__")
                    fact.parts = (*rest, kept)
                return fact
        else:
            self.note_callable(
                getattr(obj, "method", None) if kind.__name__ == "methodcaller" else kind.__name__
            )
            if is_graph_node(obj):
                return Fact("opaque", opaque="a task reference hidden inside an argument")
            if kind.__module__.startswith("distributed.") and not kind.__module__.startswith(
                "distributed.shuffle"
            ):
                return Fact(
                    "opaque", opaque=f"distributed's {kind.__name__} is state of the cluster"
                )
            if kind.__module__ == "numpy" and kind.__name__ == "ndarray" and obj.base is not None:
                # A task gets its own copy: which memory the array was cut from does not matter.
                return super().facts(obj.copy(order="K"))
        return super().facts(obj)

    def note_callable(self, name: Any) -> None:
        if isinstance(name, str):
            if self.writer is None and _LIBRARY_WRITER.search(name):
                self.writer = name
            if _LIBRARY_READER.search(name):
                self.is_reader = True
                self.names.add(name)

    def user_function(self, func: types.FunctionType) -> Fact:
        self.is_user = True
        names = code_names(func.__code__)
        self.names |= names.attributes
        self.names |= set(names.global_names)
        if names.stored:
            self.writer = f"{func.__name__} (binds the global {min(names.stored)})"
        if (
            "getattr" in names.global_names
            and "getattr" not in func.__globals__
            and _has_dynamic_getattr(func.__code__)
        ):
            self.reasons.append(f"{func.__name__} looks up attributes by a name made at run time")
        fact = super().facts(func)
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
        names = self.names
        opaque = [*walk.opaque, *self.reasons]
        writer = self.writer
        suspect = bool(walk.marks) and any(
            mark.startswith("nondeterministic") for mark in walk.marks
        )
        if self.is_user:
            if found := names & _WRITES:
                writer = writer or min(found)
            if found := names & _READS_OUTSIDE:
                opaque.append(f"reads what is outside its arguments: {min(found)}")
            suspect = suspect or bool(names & _DRAWS)
        natively = min(names & _READS_NATIVELY, default=None)
        marks = sorted(mark for mark in walk.marks if mark.startswith("nondeterministic"))
        fp = walk.fp if not opaque else None
        return Literal(
            fp,
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
        )


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
    scalars: str = ""
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

    @property
    def marks(self) -> list[str]:
        """Marks of nondeterminism."""
        return [mark for literal in self.literals for mark in literal.marks]

    @property
    def files(self) -> dict[str, str]:
        """Files that literals name, with their digests."""
        return {path: found for literal in self.literals for path, found in literal.files.items()}


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
        observed: Callable[[str], bool] | None = None,
        spec: Any = None,
    ) -> None:
        if spec is None:
            from dask import _task_spec as spec
        # The kinds of graph nodes: Dask's, or others that look like them.
        self.spec = spec
        self.graph = graph
        self.salt = f"{environment_salt()}; {salt}"
        self.known = known or (lambda key: (None, frozenset()))
        # Keys that the cluster already holds: whatever their task says now, that result will be
        # taken.
        self.live = live or (lambda key: False)
        # Futures of values that were put on the cluster as they are: no task, nothing to look up.
        self.is_value = is_value or (lambda key: False)
        # Suspect tasks that look the same are told apart by the order in which they were asked for.
        self.occurrences = occurrences if occurrences is not None else {}
        # Fingerprint -> do records say that its result depends on more than the fingerprint covers?
        self.observed = observed or (lambda fp: False)
        self.context = _TaskContext()
        self.by_id: dict[tuple[int, ...], Literal] = {}
        self.by_text: dict[str, Literal | None] = {}
        # Keeps what `by_id` names alive, so that no address is used twice.
        self.kept: list[Any] = []
        self.facts: list[TaskFacts] = []

    def run(self) -> list[TaskFacts]:
        """Facts of every node, in the order of `graph.nodes`."""
        for node in self.graph.nodes:
            facts = self._facts_of(node)
            if node.owner is None and node.kind != "external" and self.live(node.key):
                known, draws = self.known(node.key)
                if known is None or known != facts.fp:
                    facts.fp = None
                    facts.opaque.insert(
                        0, f"{facts.name} has a result on the cluster that another task made"
                    )
                else:
                    facts.is_live = True
                    facts.draws = draws
            self.facts.append(facts)
        return self.facts

    # -- one node

    def _facts_of(self, node: Node) -> TaskFacts:
        if node.kind == "external":
            fp, draws = self.known(node.key)
            # A future holds one certain result: what is built on it stands on that one.
            facts = TaskFacts(name=key_name(node.key, None), fp=fp, draws=draws)
            if fp is not None and not self.is_value(node.key):
                facts.draws = draws | {fp}
            if fp is None:
                facts.opaque.append("depends on a future whose task is not known")
            return facts
        if node.target is not None:
            source = self.facts[node.target.idx]
            name = key_name(node.key, None) if node.kind == "fused" else source.name
            return TaskFacts(
                name=name,
                fp=source.fp,
                opaque=source.opaque,
                draws=source.draws,
                writer=source.writer,
            )
        if node.kind == "data":
            facts = TaskFacts(name="data")
            complex_literals: list[Any] = []
            code = self._encode(node.spec.value, node, complex_literals, facts, False)
            self._close(facts, ("data", code), complex_literals, None)
            return facts
        return self._task(node)

    def _task(self, node: Node) -> TaskFacts:
        spec = node.spec
        facts = TaskFacts(name=key_name(node.key, spec.func), n_refs=len(node.refs))
        if type(spec).__name__ not in _KNOWN_KINDS:
            facts.opaque.append(f"a task of the unknown kind {type(spec).__name__}")
        complex_literals: list[Any] = []
        code = self._encode_task(spec, node, complex_literals, facts)
        if hasattr(spec, "spec"):
            rest = {name: value for name, value in vars(spec.spec).items() if name != "id"}
            complex_literals.append((type(spec.spec), rest))
        func = None if is_container(spec) else self._literal((spec.func,))
        module = getattr(spec.func, "__module__", None) or type(spec.func).__module__
        if module.startswith(_SHUFFLE_MODULES):
            name = getattr(spec.func, "__name__", type(spec.func).__name__)
            where = getattr(spec.func, "__qualname__", name)
            facts.is_interior = (
                name in _INTERIOR and not where.startswith("TaskShuffle")
            ) or module.startswith("partd")
            facts.is_shuffle_output = name in _SHUFFLE_OUTPUTS
        facts.is_interior = facts.is_interior or facts.name in {"partd", "zpartd"}
        self._close(facts, ("task", code), complex_literals, func)
        for source in node.refs.values():
            upstream = self.facts[source.idx]
            if upstream.draws:
                facts.draws = facts.draws | upstream.draws
            if upstream.fp is None and facts.fp is not None:
                facts.fp = None
            if upstream.fp is None and not facts.opaque:
                facts.opaque.append(
                    f"follows {upstream.name}: {upstream.opaque[0] if upstream.opaque else 'opaque'}"
                )
        if facts.is_suspect and facts.fp is not None:
            facts.fp = self._occurrence(facts.fp, node)
        if facts.fp is not None and (
            facts.is_suspect or facts.reads_natively or (facts.is_user and self.observed(facts.fp))
        ):
            facts.draws = facts.draws | {facts.fp}
        return facts

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
        self, facts: TaskFacts, code: tuple[Any, ...], literals: list[Any], func: Literal | None
    ) -> None:
        """Turn what was encoded into a fingerprint, and take over what the literals say."""
        found = [func] if func is not None else []
        if literals:
            found.append(self._literal(tuple(literals)))
        facts.literals = tuple(found)
        for literal in found:
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
        facts.scalars = digest(code)
        facts.fp = digest((self.salt, facts.scalars, *(literal.fp for literal in found)))

    # -- arguments

    def _encode_task(
        self, spec: Any, node: Node, literals: list[Any], facts: TaskFacts
    ) -> tuple[Any, ...]:
        if is_container(spec):
            children = [self._encode(item, node, literals, facts, False) for item in spec.args]
            if type(spec).__name__ == "Set":
                children.sort(key=lambda child: digest((child,)))
            return ("container", type(spec).__name__, tuple(children))
        is_library = is_library_module(
            getattr(spec.func, "__module__", None) or type(spec.func).__module__
        )
        args = tuple(self._encode(item, node, literals, facts, is_library) for item in spec.args)
        kwargs = tuple(
            (name, self._encode(spec.kwargs[name], node, literals, facts, is_library))
            for name in sorted(spec.kwargs)
        )
        return ("call", args, kwargs)

    def _encode(
        self, value: Any, node: Node, literals: list[Any], facts: TaskFacts, is_library: bool
    ) -> Any:
        """An argument as scalars and tuples, each with its kind, so that no two arguments look alike."""
        kind = type(value)
        if kind is str:
            return self._encode_text(value, literals, is_library)
        if kind in _SCALARS:
            return ("s", value)
        t = self.spec
        if isinstance(value, t.TaskRef):
            return ("r", self.facts[node.refs[value.key].idx].fp)
        if isinstance(value, t.GraphNode):
            if isinstance(value, t.Alias):
                return ("r", self.facts[node.refs[value.target].idx].fp)
            if isinstance(value, t.DataNode):
                return self._encode(value.value, node, literals, facts, is_library)
            if not is_container(value):
                # A call nested in an argument: its function is a literal like any other.
                literals.append(value.func)
                return ("n", self._encode_task(value, node, literals, facts))
            return self._encode_task(value, node, literals, facts)
        if kind is tuple and len(value) <= 16:
            return ("t", *(self._encode(item, node, literals, facts, is_library) for item in value))
        literals.append(value)
        return ("l", len(literals))

    def _encode_text(self, text: str, literals: list[Any], is_library: bool) -> Any:
        if is_library and len(text) >= 32:
            for length in (36, 32):
                if text[-length:] in self.graph.tokens:
                    # An identity made up for this graph, such as a shuffle's: what it stands for
                    # is in the inputs.
                    return ("token", text[:-length])
        known = self.by_text.get(text, self)
        if known is self:
            known = self.by_text[text] = (
                self.context.literal(text) if 0 < len(text) < 1024 and _names_file(text) else None
            )
        if known is None:
            return ("s", text)
        literals.append(text)
        return ("l", len(literals))

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

    def changed_functions(self) -> set[int]:
        """After a run in this process: literals (by id of the `Literal`) whose content the run changed."""
        found = set()
        for literal in self.by_id.values():
            if (
                literal.is_user
                and literal.fp is not None
                and self.context.literal(literal.obj).fp != literal.fp
            ):
                found.add(id(literal))
        return found


def _names_file(text: str) -> bool:
    try:
        return os.path.exists(text)
    except ValueError:
        return False


def is_container(spec: Any) -> bool:
    """True for List, Tuple, Set and Dict nodes, whose function is always the same."""
    return (
        type(spec).__name__ in {"List", "Tuple", "Set", "Dict"}
        and type(spec).__module__ == "dask._task_spec"
    )


def key_name(key: Key, func: Any) -> str:
    """The name of a task for people: its key without tokens, or the name of its function."""
    if isinstance(key, TaskName):
        return key.name
    from dask.utils import funcname, key_split

    text = key_split(key) if key is not None else "Other"
    if func is not None and (text in {"Other", "data"} or "blockwise" in text):
        text = funcname(func)
    return text


def components(facts: TaskFacts, node: Node, all_facts: list[TaskFacts]) -> dict[str, str]:
    """What a fingerprint is made of, by label: where two of them differ is why a task runs again."""
    found: dict[str, str] = {}
    for literal in facts.literals:
        for label, value in literal.components:
            while label in found and found[label] != value:
                label += "'"
            found[label] = value
    if facts.literals:
        found["function"] = facts.literals[0].fp or ""
    found["arguments"] = digest((facts.scalars, *(literal.fp for literal in facts.literals[1:])))
    inputs: dict[str, list[str]] = {}
    for source in node.refs.values():
        upstream = all_facts[source.idx]
        inputs.setdefault(upstream.name, []).append(upstream.fp or "")
    for name, fps in inputs.items():
        found[f"input {name}"] = digest(tuple(fps))
    return found


def explain(now: dict[str, str], before: dict[str, str]) -> str:
    """Which components differ; the innermost when one label is inside another."""
    labels = [label for label in now if now[label] != before.get(label)]
    labels += [label for label in before if label not in now]
    named = [label for label in labels if label not in {"function", "arguments"}]
    if named:
        labels = named
    inner = [
        label for label in labels if not any(other.startswith(label + " -> ") for other in labels)
    ]
    return ", ".join(inner) if inner else "nothing that is named"


def value_fingerprint(value: Any) -> str | None:
    """Content of a value, or None when it has none to compare."""
    found = _TaskContext().literal(value)
    return digest(("value", found.fp)) if found.fp is not None else None


def file_signatures(files: dict[str, str]) -> dict[str, Any] | None:
    """What must be unchanged on the worker for these digests to hold; None: it changed already."""
    found: dict[str, Any] = {}
    for path, before in files.items():
        found[path] = signature(path)
        if path_digest(path) != before:
            return None
    return found

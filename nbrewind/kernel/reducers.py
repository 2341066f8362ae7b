"""Reductions for what pickle cannot keep, or keeps with a loss that user code could see.

Each function returns a reduction or NotImplemented. What is rebuilt here is walked again after it was loaded: a
reduction that does not give the recorded content makes the name a stub, never a wrong value.
"""

from __future__ import annotations

import csv
import ctypes
import decimal
import enum
import functools
import importlib
import inspect
import io
import operator
import os
import pickle
import re
import sys
import threading
import types
import typing
import weakref
from collections.abc import Callable
from typing import Any

from cloudpickle import cloudpickle

from nbrewind.fingerprint import is_importable
from nbrewind.fingerprint.arrays import copies_on_write, whole_of
from nbrewind.fingerprint.libraries import is_plain_tensor, parts_of_bar, storage_bytes
from nbrewind.fingerprint.library import place_of_function
from nbrewind.fingerprint.objects import (
    BUFFERED,
    is_current,
    library_name_of,
    library_name_of_instance,
    mapping_of,
    name_of_stream,
    parts_of_closed,
    refuses_pickling,
    singleton_name,
    slots_of,
    written_through,
)
from nbrewind.fingerprint.standing import (
    is_free,
    parts_of_csv,
    reading_of,
    standing_of,
    values_of_dialect,
)
from nbrewind.fingerprint.writing import rebuild_writing, writing_of
from nbrewind.hush import standard_stream
from nbrewind.kernel.takeback import journal

# --- Classes ------------------------------------------------------------------------------------------------------


def _reduce_class(cls: type) -> Any:
    """A class of the notebook as a new class with its slots.

    cloudpickle gives a class without slots, whose instances have a `__dict__`; and it keeps one class per process,
    so that loading an earlier version would change the class that an undo must bring back.
    """
    reduced = cloudpickle._class_reduce(cls)
    if reduced is NotImplemented or len(reduced) < 6:
        return reduced
    build, args, state, *rest = reduced
    if build is cloudpickle._make_skeleton_enum:
        bases, name, qualname, members, module, _, extra = args
        return (build, (bases, name, qualname, members, module, None, extra), state, *rest)
    if build is not cloudpickle._make_skeleton_class:
        return reduced
    kind, name, bases, keywords, _, extra = args
    build = _bare_class
    if "__slots__" in vars(cls):
        keywords = {**keywords, "__slots__": vars(cls)["__slots__"]}
        attributes, slots = state
        state = (
            {
                key: value
                for key, value in attributes.items()
                if key != "__slots__"
                and not (
                    isinstance(value, types.MemberDescriptorType) and value.__objclass__ is cls
                )
            },
            slots,
        )
    return (build, (kind, name, bases, keywords, None, extra), state, *rest)


def _bare_class(
    kind: Any, name: str, bases: tuple[Any, ...], keywords: dict[str, Any], _: None, extra: Any
) -> Any:
    """A class to be filled, made without the notebook's code.

    What its metaclasses and bases do with every class that is made (they put it into a register, say) was done when
    the class statement ran, and may read names that are not loaded yet.
    """
    resolved = types.resolve_bases(bases)
    listeners = [
        (base, vars(base)["__init_subclass__"])
        for base in {id(base): base for one in resolved for base in one.__mro__}.values()
        if _is_of_notebook(base) and "__init_subclass__" in vars(base)
    ]
    if not listeners and not any(map(_is_of_notebook, kind.__mro__)):
        return cloudpickle._make_skeleton_class(kind, name, bases, keywords, None, extra)
    body = {sys.intern(key): value for key, value in keywords.items()}
    if resolved is not bases:
        body["__orig_bases__"] = bases
    makers = [one for one in kind.__mro__ if not _is_of_notebook(one)]
    try:
        for base, _listener in listeners:
            type.__setattr__(base, "__init_subclass__", _deaf(base))
        made = _first(makers, "__new__")(kind, name, resolved, body)
        _first(makers, "__init__")(made, name, resolved, body)
        return made
    finally:
        for base, listener in listeners:
            type.__setattr__(base, "__init_subclass__", listener)


def _is_of_notebook(cls: type) -> bool:
    return vars(cls).get("__module__") == "__main__"


def _first(kinds: list[Any], name: str) -> Any:
    return getattr(next(kind for kind in kinds if name in vars(kind)), name)


def _deaf(base: Any) -> Any:
    """What hears of new classes in place of a base of the notebook, and hands on to bases of libraries."""

    def hand_on(cls: Any, **keywords: Any) -> None:
        super(base, cls).__init_subclass__(**keywords)

    return classmethod(hand_on)


# --- Instances of the user's own classes --------------------------------------------------------------------------


def _drops_nothing(kind: type) -> bool:
    """True when the class leaves pickling to `object`, which keeps `__dict__` and slots."""
    return not hasattr(kind, "__setstate__") and all(
        getattr(kind, name) is getattr(object, name)
        for name in ("__reduce_ex__", "__reduce__", "__getstate__")
    )


def _set_everything(obj: Any, kept: tuple[Any, Any, Any]) -> None:
    state, attributes, slots = kept
    if state is not None:
        if hasattr(obj, "__setstate__"):
            obj.__setstate__(state)
        else:
            _set_plainly(obj, state)
    if attributes is not None:
        own = obj.__dict__
        own.clear()
        own.update(attributes)
    for name, value in slots:
        object.__setattr__(obj, name, value)


def _set_plainly(obj: Any, state: Any) -> None:
    attributes, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
    if attributes:
        # Not as attributes: a property of the same name would take them.
        object.__getattribute__(obj, "__dict__").update(attributes)
    for name, value in (slots or {}).items():
        object.__setattr__(obj, name, value)


def _new(kind: type, *args: Any) -> Any:
    return kind.__new__(kind, *args)


def _reduce_instance(obj: Any) -> Any:
    """What the class's own reduction gives, and everything that it leaves out."""
    kind = type(obj)
    if issubclass(kind, BaseException) and kind.__reduce__ is BaseException.__reduce__:
        # Pickle would call the class with `args`, which is not what its constructor was called with.
        kept = (None, vars(obj), slots_of(obj))
        return (_new, (kind, *obj.args), kept, None, None, _set_everything)
    reduced = obj.__reduce_ex__(4)
    if isinstance(reduced, str) or len(reduced) > 5:
        return NotImplemented
    func, args, state, items, pairs = (*reduced, None, None, None)[:5]
    kept = (state, getattr(obj, "__dict__", None), slots_of(obj))
    return (func, args, kept, items, pairs, _set_everything)


def _reduce_refusing(obj: Any) -> Any:
    """What is nothing but attributes and slots, and whose class has not been taught to be pickled."""
    attributes = getattr(obj, "__dict__", None)
    slots = dict(slots_of(obj))
    return (object.__new__, (type(obj),), (attributes, slots), None, None, _set_plainly)


def _is_made_by_its_own_code(kind: type) -> bool:
    """True for classes whose `__new__` must not be called again: it wants arguments that nobody kept, or is the user's.

    What the user's own does, it has done; and it may need names that are not there yet.
    """
    new = kind.__new__
    if not isinstance(new, types.FunctionType) or not _drops_nothing(kind):
        return False
    if hasattr(kind, "__getnewargs__") or hasattr(kind, "__getnewargs_ex__"):
        return False
    if not is_importable(kind):
        return True
    try:
        inspect.signature(new).bind(kind)
    except TypeError:
        return True
    return False


def _reduce_without_new(obj: Any) -> Any:
    """What it holds, without a call of its `__new__`."""
    _, args, state, items, pairs = obj.__reduce_ex__(4)
    base = next(one for one in type(obj).__mro__ if not one.__flags__ & _HEAP_TYPE)
    return (base.__new__, args, state, items, pairs, _set_plainly)


def _reduce_template(template: Any) -> Any:
    """A template of jinja2: one that a library keeps is that very object everywhere."""
    found = _reduce_held(template)
    return _reduce_without_new(template) if found is NotImplemented else found


def _fills_by_its_own_methods(kind: type) -> bool:
    """True for lists and dicts that do more than put an item in, and leave pickling to `object`."""
    if not _drops_nothing(kind):
        return False
    if issubclass(kind, list):
        return kind.append is not list.append or kind.extend is not list.extend
    return issubclass(kind, dict) and kind.__setitem__ is not dict.__setitem__


def _fill_plainly(obj: Any, kept: tuple[Any, Any]) -> None:
    state, content = kept
    if state is not None:
        _set_plainly(obj, state)
    if isinstance(obj, list):
        list.extend(obj, content)
    else:
        dict.update(obj, content)


def _fill_attributes(obj: Any, content: dict[Any, Any]) -> None:
    dict.update(obj, content)
    object.__setattr__(obj, "__dict__", obj)


def _reduce_own_attributes(obj: Any) -> Any:
    """A dict that is its own `__dict__`, so that its items are its attributes: `self.__dict__ = self`."""
    func, args, *_ = obj.__reduce_ex__(4)
    return (func, args, dict(obj), None, None, _fill_attributes)


# The object's own reference to its `__dict__`, the name here, and the argument of the question.
_OWN_REFERENCES = 3


def _adopt(obj: Any, state: Any) -> None:
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    object.__setattr__(obj, "__dict__", attributes)
    _set_plainly(obj, (None, slots))


def _reduce_plain(obj: Any) -> Any:
    """An object whose attributes are a dict that others have, too: `self.__dict__ = shared`."""
    attributes = object.__getattribute__(obj, "__dict__")
    if sys.getrefcount(attributes) <= _OWN_REFERENCES:
        return NotImplemented
    func, args, state, items, pairs = obj.__reduce_ex__(4)
    kept = state[0] if isinstance(state, tuple) else state
    return (func, args, state, items, pairs, _adopt) if kept is attributes else NotImplemented


def _reduce_container(obj: Any) -> Any:
    """Its attributes first: what its own methods do with an item may need them, and is done already."""
    func, args, state, items, pairs = (*obj.__reduce_ex__(4), None, None, None)[:5]
    content = list(items) if items is not None else dict(pairs or ())
    return (func, args, (state, content), None, None, _fill_plainly)


def _reduce_proxy(obj: Any) -> Any:
    """An object that looks up in another one what it does not have: not while it has nothing yet.

    Pickle would ask the empty object for `__setstate__`, and it itself for the other one, for ever.
    """
    func, args, state, items, pairs = obj.__reduce_ex__(4)
    return (func, args, state, items, pairs, _set_plainly)


# --- Parts of Python ----------------------------------------------------------------------------------------------


def _rebuild_ended_generator(code: types.CodeType, name: str, qualname: str) -> Any:
    cells = tuple(types.CellType() for _ in code.co_freevars)
    make = types.FunctionType(code, {}, name, None, cells)
    given = [None] * code.co_argcount
    generator = make(
        *given, **dict.fromkeys(code.co_varnames[code.co_argcount :][: code.co_kwonlyargcount])
    )
    generator.close()
    generator.__name__, generator.__qualname__ = name, qualname
    return generator


def _begin_generator(
    func: Any, given: tuple[Any, ...], keywords: dict[str, Any], name: str, qualname: str
) -> Any:
    generator = func(*given, **keywords)
    generator.__name__, generator.__qualname__ = name, qualname
    return generator


def _reduce_generator(generator: types.GeneratorType[Any, Any, Any]) -> Any:
    """One that has ended, or that has not begun; nothing begins in the middle of its code."""
    names = (generator.__name__, generator.__qualname__)
    if generator.gi_frame is None:
        return _rebuild_ended_generator, (generator.gi_code, *names)
    found = standing_of(generator)
    if found is None or found.has_begun:
        raise pickle.PicklingError("a generator that has begun cannot be stored")
    func = found.func
    if func.__module__ == "__main__":
        # Without what only a call asks for: other names may share it.
        scope, closure = func.__globals__, func.__closure__
        func = types.FunctionType(func.__code__, scope, func.__name__, None, closure)
    return _begin_generator, (func, *found.given, *names)


def _rebuild_closed_file(
    kind: str,
    name: Any,
    mode: str,
    text: tuple[Any, ...] | None,
    seen: str | tuple[str, ...] | None,
) -> Any:
    # Not the file itself: opening that could change it.
    raw: Any
    if seen is None:
        raw = io.FileIO(os.devnull, mode)
    else:
        reading, writing = os.pipe()
        os.write(writing, "".join(seen).encode())
        os.close(writing)
        raw = io.FileIO(reading, mode)
    raw.name = name
    file: Any = raw if kind == "FileIO" else getattr(io, kind)(raw)
    if text is not None:
        mode, encoding, errors, *buffering = text
        file = io.TextIOWrapper(file, encoding, errors, None, *buffering)
        file.mode = mode
        if seen is not None:
            file.read()
    file.close()
    return file


def _rebuild_reading(how: tuple[Any, ...], at: int, newlines: Any) -> Any:
    name, mode, *text = how
    # Of bytes there is nothing to say.
    file: Any = open(name, mode) if text[0] is None else open(name, mode, -1, *text)
    if newlines is not None and at <= _READ_AGAIN:
        # It has seen ends of lines: so it sees them again.
        with open(name, "rb") as content:
            before = io.TextIOWrapper(io.BytesIO(content.read(at)), *text)
        file.read(len(before.read()))
    if file.tell() != at:
        file.seek(at)
    return file


def _rebuild_writing(kind: str, name: Any, *opened: Any) -> Any:
    # Nobody sees it opened.
    journal.note(os.fsdecode(name))
    return rebuild_writing(kind, name, *opened)


_READ_AGAIN = 64 << 20


def _reduce_file(file: Any) -> Any:
    """A file that is closed, or open and as its content tells: it is opened again, and nothing is cut off."""
    parts = parts_of_closed(file)
    if parts is not None:
        return (_rebuild_closed_file, parts)
    found = reading_of(file)
    if found is None and (written := writing_of(file)) is not None:
        opened = (written.kind, written.name, written.mode, written.text)
        return (_rebuild_writing, (*opened, written.waiting, written.at))
    if found is None:
        raise pickle.PicklingError("an open file cannot be stored")
    how = (found.name, found.mode, found.encoding, found.errors, found.newline)
    return (_rebuild_reading, (how, found.at, found.newlines))


def _rebuild_csv(kind: str, dialect: dict[str, Any], other: Any) -> Any:
    if kind == "writer":
        return csv.writer(types.SimpleNamespace(write=other), **dialect)
    reader = csv.reader(other, **dialect)
    return reader if kind == "reader" else reader.dialect


def _reduce_csv(obj: Any) -> Any:
    """A writer, or a reader that has read nothing: of others the number of lines would be lost."""
    found = parts_of_csv(obj)
    if found is None or (type(obj).__name__ == "reader" and obj.line_num):
        raise pickle.PicklingError("a reader of csv that has begun cannot be stored")
    return (_rebuild_csv, (type(obj).__name__, *found))


def _reduce_dialect(obj: Any) -> Any:
    return (_rebuild_csv, ("dialect", values_of_dialect(obj), ()))


def _new_lock(name: str) -> Any:
    return getattr(threading, name)()


def _reduce_lock(lock: Any) -> Any:
    """A lock that nobody holds."""
    found = library_name_of(lock)
    if found is not None:
        return (_get_global, found)
    if not is_free(lock):
        raise pickle.PicklingError("a lock that is held cannot be stored")
    return (_new_lock, ("RLock" if type(lock).__name__ == "RLock" else "Lock",))


def _rebuild_type_variable(
    name: str, module: str, bound: Any, constraints: tuple[Any, ...], kinds: tuple[bool, bool]
) -> Any:
    covariant, contravariant = kinds
    made: Any = typing.TypeVar(  # type: ignore[misc]
        name, *constraints, bound=bound, covariant=covariant, contravariant=contravariant
    )
    made.__module__ = module
    return made


def _reduce_type_variable(obj: Any) -> Any:
    if is_importable(obj):
        return NotImplemented
    kinds = (obj.__covariant__, obj.__contravariant__)
    what = (obj.__name__, obj.__module__, obj.__bound__, obj.__constraints__, kinds)
    return (_rebuild_type_variable, what)


def _reduce_struct(obj: Any) -> Any:
    return (type(obj), (obj.format,))


def _reduce_simple_queue(obj: Any) -> Any:
    return NotImplemented if obj.qsize() else (type(obj), ())


def _reduce_stream(stream: Any) -> Any:
    """The kernel's own stream is the one of the kernel where it is loaded."""
    name = name_of_stream(stream)
    return NotImplemented if name is None else (standard_stream, (name,))


def _get_global(module: str, name: str) -> Any:
    return operator.attrgetter(name)(importlib.import_module(module))


def _get_held(module: str, name: str) -> Any:
    found = _get_global(module, name)
    if found is None:
        # It is kept from the first time that somebody asks for it (`Path.unit_circle()`).
        owner, _, attribute = name.rpartition(".")
        found = _get_global(module, f"{owner}.{attribute.lstrip('_')}")()
    return found


def _reduce_held(obj: Any) -> Any:
    """What a library keeps for everyone is that very object in every process."""
    found = library_name_of(obj)
    return NotImplemented if found is None else (_get_held, found)


def _reduce_kept(obj: Any) -> Any:
    """An object that a module of its library keeps, and that no use changes, is that very object everywhere."""
    found = library_name_of_instance(obj)
    return NotImplemented if found is None else (_get_global, found)


def _reduce_function(func: types.FunctionType) -> Any:
    """A function that a library keeps under another name than its own, or the way to a stream of the kernel."""
    if is_importable(func):
        return NotImplemented
    found = place_of_function(func)
    if found is not None:
        return (_get_global, found)
    write = written_through(func)
    return NotImplemented if write is None else (getattr, (write.__self__, "write"))


def _reduce_singleton(obj: Any) -> Any:
    """An object that a library has only one of is that very object in every process."""
    found = singleton_name(obj)
    return NotImplemented if found is None else (_get_global, found)


def _reduce_context(context: decimal.Context) -> Any:
    """The current context is the one that is current where it is loaded."""
    return (decimal.getcontext, ()) if is_current(context) else NotImplemented


class HeldByLibrary:
    """Stands in a stream for an object that a library keeps."""

    def __init__(self, place: tuple[str, str]) -> None:
        self._place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return (_get_global, self._place)


def _rebuild_cached_property(func: Any, attrname: str | None) -> Any:
    found = functools.cached_property(func)
    if attrname is not None:
        found.attrname = attrname
    return found


def _reduce_cached_property(obj: Any) -> Any:
    return (_rebuild_cached_property, (obj.func, obj.attrname))


def _view_of(mapping: dict[Any, Any], kind: str) -> Any:
    return types.MappingProxyType(mapping) if kind == "mappingproxy" else getattr(mapping, kind)()


def _reduce_view(view: Any) -> Any:
    mapping = mapping_of(view)
    if mapping is None:
        return NotImplemented
    return (_view_of, (mapping, type(view).__name__.removeprefix("dict_")))


def _rebuild_memoryview(
    owner: Any, start: int, n_bytes: int, form: str, shape: tuple[int, ...], readonly: bool
) -> memoryview:
    part: Any = memoryview(owner).cast("B")[start : start + n_bytes]
    view: memoryview = part.cast(form, shape)
    return view.toreadonly() if readonly else view


class _Buffer(ctypes.Structure):
    """`Py_buffer`."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.POINTER(ctypes.c_ssize_t)),
        ("strides", ctypes.POINTER(ctypes.c_ssize_t)),
        ("suboffsets", ctypes.POINTER(ctypes.c_ssize_t)),
        ("internal", ctypes.c_void_p),
    )


def _address(obj: Any) -> int:
    """Where the memory of the object begins. Not by numpy, which the notebook may not have loaded."""
    buffer = _Buffer()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(obj), ctypes.byref(buffer), 0)
    try:
        return buffer.buf or 0
    finally:
        ctypes.pythonapi.PyBuffer_Release(ctypes.byref(buffer))


def _reduce_memoryview(view: memoryview) -> Any:
    """A part of the memory of its owner, which other names may share."""
    if view.obj is None or not view.c_contiguous or not isinstance(view.obj, bytes | bytearray):
        raise pickle.PicklingError("a memoryview of this kind cannot be stored")
    start = _address(view) - _address(view.obj)
    return (
        _rebuild_memoryview,
        (view.obj, start, view.nbytes, view.format, tuple(view.shape or ()), view.readonly),
    )


def _rebuild_match(pattern: re.Pattern[Any], text: Any, start: int, end: int, regs: Any) -> Any:
    for look in (pattern.match, pattern.search, pattern.fullmatch):
        found = look(text, start, end)
        if found is not None and found.regs == regs:
            return found
    for found in pattern.finditer(text, start, end):
        if found.regs == regs:
            return found
    raise pickle.PicklingError("a match cannot be found again")


def _reduce_match(match: re.Match[Any]) -> Any:
    regs = match.regs
    return (_rebuild_match, (match.re, match.string, match.pos, match.endpos, regs))


# --- Weak references ----------------------------------------------------------------------------------------------


def _reduce_ref(ref: Any) -> Any:
    """A weak reference keeps nothing alive: what it points to comes back when a name of this co-variable holds it."""
    target = ref()
    if target is None:
        return (_dead_ref, ())
    return (weakref.ref, (target,))


class _Gone:
    pass


def _dead_ref() -> Any:
    return weakref.ref(_Gone())


def _rebuild_weak(kind: Any, items: Any) -> Any:
    return kind(items)


def _reduce_weak(obj: Any) -> Any:
    items = list(obj) if isinstance(obj, weakref.WeakSet) else list(obj.items())
    return (_rebuild_weak, (type(obj), items))


# --- Tensors ------------------------------------------------------------------------------------------------------


def _rebuild_storage(content: Any) -> Any:
    import torch

    storage = torch.UntypedStorage(len(content))
    if len(content):
        storage_bytes(storage)[:] = content
    return storage


def _reduce_storage(storage: Any) -> Any:
    import numpy as np

    content = storage_bytes(storage)
    return (_rebuild_storage, (np.array(content),))


def _rebuild_tensor(
    storage: Any,
    dtype: Any,
    place: tuple[Any, ...],
    parameter: Any,
    requires_grad: bool,
    grad: Any,
    attributes: dict[str, Any],
) -> Any:
    import torch

    tensor = torch.empty(0, dtype=dtype).set_(storage, *place)
    if parameter is not None:
        tensor = parameter(tensor, requires_grad)
    elif requires_grad:
        tensor.requires_grad_()
    tensor.grad = grad
    vars(tensor).update(attributes)
    return tensor


def _reduce_tensor(tensor: Any) -> Any:
    """A part of a storage, so that tensors go on sharing it; with its gradient."""
    import torch

    if not is_plain_tensor(tensor):
        return NotImplemented
    place = (tensor.storage_offset(), tuple(tensor.shape), tensor.stride())
    parameter = None if type(tensor) is torch.Tensor else type(tensor)
    state = (parameter, tensor.requires_grad, tensor.grad, vars(tensor))
    return (_rebuild_tensor, (tensor.untyped_storage(), tensor.dtype, place, *state))


def _reduce_torch_constant(obj: Any) -> Any:
    return (_get_global, tuple(str(obj).rsplit(".", 1)))


# --- Masked arrays ------------------------------------------------------------------------------------------------


def _rebuild_masked(data: Any, mask: Any, fill_value: Any, hard: bool, attributes: Any) -> Any:
    import numpy as np

    array: Any = np.ma.MaskedArray(data, mask=np.ma.nomask if mask is None else mask)
    if fill_value is not None:
        array.fill_value = fill_value
    if hard:
        array.harden_mask()
    array._optinfo.update(attributes)
    return array


def _reduce_masked(array: Any) -> Any:
    """Pickle gives an array without a mask a mask of its own, which user code can see."""
    import numpy as np

    mask = None if array.mask is np.ma.nomask else array.mask
    return (
        _rebuild_masked,
        (array.data, mask, array._fill_value, array.hardmask, dict(array._optinfo)),
    )


def _reduce_figure(figure: Any) -> Any:
    """Without the mark that opens it in pyplot when it is loaded, under the next free number."""
    func, args, state, *rest = figure.__reduce_ex__(4)
    return (func, args, {k: v for k, v in state.items() if k != "_restore_to_pylab"}, *rest)


def _rebuild_bar(kind: Any, state: dict[str, Any], file: Any, length: int) -> Any:
    from tqdm.utils import DisableOnWriteError

    # Not by its own `__new__`, which shows it among the others.
    bar: Any = object.__new__(kind)
    bar.__dict__.update(state)
    if file is not None:
        bar.fp = DisableOnWriteError(file, tqdm_instance=bar)
        bar.sp = bar.status_printer(bar.fp)
        names = bar.sp.__code__.co_freevars
        bar.sp.__closure__[names.index("last_len")].cell_contents[0] = length
    return bar


def _reduce_bar(bar: Any) -> Any:
    """A progress bar that is closed."""
    parts = parts_of_bar(bar)
    return NotImplemented if parts is None else (_rebuild_bar, (type(bar), *parts))


class _Whole:
    """Stands for the table that another one is a part of, as far as pandas 2 asks for it."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def __call__(self) -> _Whole:
        return self


def _set_part(frame: Any, kept: tuple[Any, Any, Any]) -> None:
    state, whole, column = kept
    frame.__setstate__(state)
    if whole is not None:
        object.__setattr__(frame, "_is_copy", whole)
    if column is not None:
        key, table = column
        object.__setattr__(frame, "_cacher", (key, weakref.ref(table)))


def _reduce_part(frame: Any) -> Any:
    """A table that pandas 2 takes for a part of another one, or for its column: it warns when that is written."""
    if copies_on_write():
        return NotImplemented
    import numpy as np

    whole, column = whole_of(frame), None
    key, ref = getattr(frame, "_cacher", None) or (None, None)
    table = ref() if ref is not None else None
    blocks = table._mgr.blocks if table is not None and type(frame._values) is np.ndarray else ()
    arrays = [block.values for block in blocks if type(block.values) is np.ndarray]
    if any(np.may_share_memory(frame._values, values) for values in arrays):
        column = (key, table)
    if whole is None and column is None:
        return NotImplemented
    func, args, state, *_ = frame.__reduce_ex__(4)
    known = _Whole(whole.shape) if hasattr(whole, "shape") else whole
    return (func, args, (state, known, column), None, None, _set_part)


_BY_NAME: dict[str, Callable[[Any], Any]] = {
    "_csv:Dialect": _reduce_dialect,
    "_csv:reader": _reduce_csv,
    "_csv:writer": _reduce_csv,
    "_queue:SimpleQueue": _reduce_simple_queue,
    "_struct:Struct": _reduce_struct,
    "_thread:RLock": _reduce_lock,
    "_thread:lock": _reduce_lock,
    "ipykernel.iostream:OutStream": _reduce_stream,
    "matplotlib:RcParams": _reduce_singleton,
    "numpy.random.mtrand:RandomState": _reduce_singleton,
    "os:_Environ": _reduce_singleton,
    "pandas._config.config:DictWrapper": _reduce_singleton,
    "pandas.core.frame:DataFrame": _reduce_part,
    "pandas.core.series:Series": _reduce_part,
    "random:Random": _reduce_singleton,
    "torch:Tensor": _reduce_tensor,
    "typing:TypeVar": _reduce_type_variable,
    "tqdm.asyncio:tqdm_asyncio": _reduce_bar,
    "tqdm.auto:tqdm": _reduce_bar,
    "tqdm.std:tqdm": _reduce_bar,
    "torch.nn.parameter:Parameter": _reduce_tensor,
    "torch.storage:UntypedStorage": _reduce_storage,
    "torch:layout": _reduce_torch_constant,
    "torch:memory_format": _reduce_torch_constant,
    "matplotlib.path:Path": _reduce_held,
    "jinja2.environment:Template": _reduce_template,
    "matplotlib.figure:Figure": _reduce_figure,
    "numpy.ma:MaskedArray": _reduce_masked,
    "numpy.ma.core:MaskedArray": _reduce_masked,
}

_BY_TYPE: dict[type, Callable[[Any], Any]] = {
    decimal.Context: _reduce_context,
    object: _reduce_held,
    functools.cached_property: _reduce_cached_property,
    types.MappingProxyType: _reduce_view,
    type({}.keys()): _reduce_view,
    type({}.values()): _reduce_view,
    type({}.items()): _reduce_view,
    memoryview: _reduce_memoryview,
    types.FunctionType: _reduce_function,
    types.GeneratorType: _reduce_generator,
    **dict.fromkeys((io.TextIOWrapper, io.FileIO, *BUFFERED), _reduce_file),
    re.Match: _reduce_match,
    weakref.ref: _reduce_ref,
    weakref.WeakValueDictionary: _reduce_weak,
    weakref.WeakKeyDictionary: _reduce_weak,
    weakref.WeakSet: _reduce_weak,
}

# Classes whose instances are kept by modules, with all that are derived from them.
_KEPT = frozenset({"scipy.stats._distn_infrastructure:rv_generic"})

_known_kinds: weakref.WeakKeyDictionary[type, Callable[[Any], Any] | None] = (
    weakref.WeakKeyDictionary()
)

# Py_TPFLAGS_HEAPTYPE: classes made at run time.
_HEAP_TYPE = 1 << 9


def _reducer_for(kind: type) -> Callable[[Any], Any] | None:
    if issubclass(kind, type):
        return _reduce_class
    found = _BY_TYPE.get(kind) or _BY_NAME.get(f"{kind.__module__}:{kind.__qualname__}")
    if found is not None:
        return found
    if any(f"{base.__module__}:{base.__qualname__}" in _KEPT for base in kind.__mro__):
        return _reduce_kept
    is_own = kind.__flags__ & _HEAP_TYPE and not issubclass(kind, enum.Enum | types.ModuleType)
    if is_own and refuses_pickling(kind):
        return _reduce_refusing
    if is_own and _fills_by_its_own_methods(kind):
        return _reduce_container
    if is_own and _is_made_by_its_own_code(kind):
        return _reduce_without_new
    if is_own and hasattr(kind, "__getattr__") and _drops_nothing(kind):
        return _reduce_proxy
    if is_own and kind.__dictoffset__ and _drops_nothing(kind):
        return _reduce_plain
    if not is_own or is_importable(kind) or _drops_nothing(kind):
        return None
    return _reduce_instance


def reduce_own(obj: Any) -> Any:
    """The reduction of one object, or NotImplemented."""
    kind = type(obj)
    if isinstance(obj, dict) and getattr(obj, "__dict__", None) is obj and _drops_nothing(kind):
        return _reduce_own_attributes(obj)
    try:
        found = _known_kinds[kind]
    except KeyError:
        found = _known_kinds[kind] = _reducer_for(kind)
    return NotImplemented if found is None else found(obj)

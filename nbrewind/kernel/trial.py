"""Is what was pickled what comes back? Tried when a value is stored, once for each set of classes.

A value that comes back as something else would be found at restore, when nobody can help any more. Found now, it gets a
recipe instead. Loading runs code: of libraries only, never of the notebook, so values of its own classes are not tried.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from nbrewind import _native
from nbrewind.kernel import pickling
from nbrewind.kernel.namespace import CoVariable
from nbrewind.tasks.worker import LoadError

if TYPE_CHECKING:
    from nbrewind.kernel.session import Session

# Larger values are not tried: the time would show.
MAX_BYTES = 8 << 20
MAX_HEAD = 1 << 20

# The last part of a global's name in a pickle of protocol 4 and later, memoized or not.
_GLOBAL = re.compile(rb"\x8c.([A-Za-z_][\w.]{0,99})\x94?\x93", re.DOTALL)
# Classes of the notebook are made by these.
_OWN_CLASSES = frozenset({b"_make_skeleton_class", b"_make_skeleton_enum", b"_set_everything"})


class _InMemory:
    """A piece that is not in the store yet."""

    names = None

    def __init__(self, array: Any) -> None:
        self._array = array

    def fill(self, flat: Any) -> None:
        flat[:] = memoryview(self.read())

    def read(self) -> bytearray:
        return bytearray(self._array.tobytes())


def comes_back(
    session: Session, version: CoVariable, stream: tuple[bytes, list[Any], list[Any]]
) -> bool:
    """False when loading the stream gives something else than was recorded; True also when nobody tried."""
    head, buffers, pieces = stream
    if version.joint is None or version.n_bytes > MAX_BYTES or len(head) > MAX_HEAD:
        return True
    classes = frozenset(_GLOBAL.findall(head))
    if classes and version.holds_nan:
        # Some classes keep the value and not the object.
        classes |= {b"nan"}
    if not classes or classes in session.proven or classes & _OWN_CLASSES:
        return True
    if any(
        facts.files or any(mark.startswith("module: ") for mark in facts.marks)
        for facts in version.facts.values()
    ):
        return True
    generators = session.ambient.snapshot_generators()
    try:
        copies: list[Any] = []
        for buffer in buffers:
            raw = buffer.raw()
            copies.append(bytes(raw) if raw.readonly else bytearray(raw))
        made = list(map(_InMemory, pieces))
        values = pickling.load(head, copies, made, session.namespace, is_trial=True)
        found = session.state.fingerprint(values, _native.Memory(False))
    except (LoadError, pickling.Finalizes):
        # A task that it refers to has not stored its result yet, or its end would be seen. That says nothing of the
        # pickle.
        return True
    except Exception:  # noqa: BLE001 - foreign unpickling may raise anything
        return False
    finally:
        session.ambient.put_back_generators(generators)
    if found == version.joint:
        session.proven.add(classes)
        return True
    return False

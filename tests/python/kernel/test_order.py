"""Names are put in order in one step: a thread that looks one up meanwhile finds it."""

from __future__ import annotations

import sys
import threading

from nbrewind.kernel.namespace import NamespaceState

N_NAMES = 100
N_TIMES = 1000


def test_a_thread_never_misses_a_name_that_is_put_in_order() -> None:
    namespace = {f"name_{i}": i for i in range(N_NAMES)}
    state = NamespaceState(namespace)
    state.sweep()
    missed = []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            found = len(namespace)
            if found != N_NAMES:
                missed.append(found)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=look) for _ in range(2)]
    try:
        for thread in threads:
            thread.start()
        for _ in range(N_TIMES):
            state.bound = dict(reversed(state.bound.items()))
            state.arrange()
            assert list(namespace) == list(state.bound)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(before)
    assert missed == []

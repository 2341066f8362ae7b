"""Runs a notebook from scratch and tells what every cell really did.

`python -m bench.verdicts.runs` imports what notebooks import and forks for each job, a line of JSON on its standard
input. The child runs the cells in an IPython shell whose namespace counts: which names a cell took that it had not
bound itself, which it bound, and, by a description of every value after every cell, which changed in place.

What this does not see: reads of globals by class bodies (CPython looks past a subclass of dict there) and by code that
copies the namespace, such as `DataFrame.query`. The measure of reads is recall, so that only fewer reads are asked for.
"""

from __future__ import annotations

import builtins
import contextlib
import hashlib
import io
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import types
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from IPython.utils.capture import CapturedIO

from bench.verdicts.pages import Cells

ROOT = Path(__file__).parents[2]
# Seconds that a notebook may take.
LIMIT = 40
# Values of these are what they show: figures and axes are compared as pictures, not by their thousands of parts; single
# lines and patches not at all.
UNDESCRIBED = ("matplotlib", "mpl_toolkits", "sqlite3")


class RunDidNotEnd(Exception):
    """The notebook ran into the limit, or its process died."""


class Runner:
    """One process that runs are forked from."""

    def __init__(self) -> None:
        environment = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
        environment |= {
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            "MPLBACKEND": "agg",
            # Threads do not survive a fork.
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }
        self._folder = tempfile.TemporaryDirectory(prefix="nbrewind-verdicts-")
        environment["IPYTHONDIR"] = environment["MPLCONFIGDIR"] = self._folder.name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.verdicts.runs"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, cells: Cells, files: dict[str, str]) -> list[dict[str, Any]]:
        """What every cell did, in order; `_run` makes it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"cells": cells, "files": files}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the process that runs are forked from is gone")
        found = json.loads(line)
        if found is None:
            raise RunDidNotEnd
        if isinstance(found, str):
            raise RuntimeError(found)
        return list(found)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(120)
        self._process.stdout.close()
        self._folder.cleanup()


# --- In the process that runs are forked from ---------------------------------------------------------------------


class CountingNamespace(dict[str, Any]):
    """A namespace that knows what was taken from it and bound in it."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: set[str] = set()
        self.binds: set[str] = set()
        self.deletes: set[str] = set()

    def begin(self) -> None:
        """A cell begins."""
        self.reads, self.binds, self.deletes = set(), set(), set()

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        if name not in self.binds:
            self.reads.add(name)
        return value

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        self.binds.add(name)

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        self.deletes.add(name)


def _is_users(name: str) -> bool:
    return not name.startswith("_") and name not in {
        "In",
        "Out",
        "exit",
        "quit",
        "get_ipython",
        "open",
    }


def _make_shell() -> Any:
    from IPython.core.displayhook import DisplayHook
    from IPython.core.displaypub import CapturingDisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell

    class Hook(DisplayHook):
        """Keeps what is shown as text."""

        def write_output_prompt(self) -> None:
            pass

        def write_format_data(self, format_dict: Any, md_dict: Any = None) -> None:
            print(format_dict.get("text/plain", ""))

    class Shell(InteractiveShell):
        """One whose functions have the counting namespace as their globals."""

        displayhook_class = Hook
        display_pub_class = CapturingDisplayPublisher

        @property
        def user_global_ns(self) -> Any:
            return self.user_ns

        def enable_gui(self, gui: Any = None) -> None:
            pass

    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    namespace = CountingNamespace()
    module = types.ModuleType("__main__")
    shell = Shell(user_module=module, user_ns=namespace, config=config)
    namespace.setdefault("__name__", "__main__")
    namespace.setdefault("__builtins__", builtins)
    sys.modules["__main__"] = module
    return shell


class Observer:
    """What the values of the user's names are, cell by cell."""

    def __init__(self, namespace: CountingNamespace) -> None:
        self.namespace = namespace
        self.objects: dict[str, Any] = {}
        self.values: dict[str, str | None] = {}

    def look(self) -> tuple[dict[str, Any], dict[str, str | None]]:
        """Objects and descriptions by name; None for what is not described."""
        _drawn.clear()
        objects = {
            name: dict.__getitem__(self.namespace, name)
            for name in self.namespace
            if _is_users(name)
        }
        return objects, {name: self._describe(value) for name, value in objects.items()}

    def _describe(self, value: Any) -> str | None:
        from tests.python.generated.describe import masked

        try:
            if (picture := _picture(value)) is not None:
                return picture
            if not _is_described(value):
                return None
            found = _describer(self.namespace).node(_inside(value))
            return hashlib.sha256(masked(json.dumps(found)).encode()).hexdigest()[:16]
        except (RecursionError, TypeError, ValueError, AttributeError):
            return None


def _describer(namespace: CountingNamespace) -> Any:
    from tests.python.generated.describe import Describer

    class WithPictures(Describer):
        """What objects of the notebook keep of figures is what it shows, too."""

        def node(self, obj: Any) -> Any:
            if type(obj).__module__.startswith(UNDESCRIBED):
                return [_kind(obj), _picture(obj)]
            return super().node(obj)

    return WithPictures(namespace)


def _is_own_module(value: Any) -> bool:
    file = getattr(value, "__file__", None) if isinstance(value, types.ModuleType) else None
    # Wherever the notebook has gone since (`os.chdir`).
    return file is not None and "nbrewind-run-" in Path(file).resolve().parent.name


def _inside(value: Any) -> Any:
    """What there is to a value that does not show it as other values do."""
    if _is_own_module(value):
        return {
            name: item
            for name, item in vars(value).items()
            if not name.startswith("__") and not isinstance(item, types.ModuleType)
        }
    if isinstance(value, sqlite3.Connection):
        try:
            return list(value.iterdump())
        except sqlite3.ProgrammingError:
            return "closed"
    if isinstance(value, CapturedIO):
        return [value.stdout, value.stderr]
    if type(value).__module__.startswith("dask.") and hasattr(value, "__dask_keys__"):
        # Names stand for what is to be computed; what was found out about it on the way is no part of that.
        return [type(value).__name__, repr(value.__dask_keys__())]
    return value


def _is_described(value: Any) -> bool:
    if isinstance(value, sqlite3.Connection):
        return True
    if isinstance(value, types.ModuleType):
        return _is_own_module(value)
    return not any(type(item).__module__.startswith(UNDESCRIBED) for item in _items(value))


def _items(value: Any) -> list[Any]:
    if type(value).__name__ == "ndarray" and value.dtype.hasobject:
        # `plt.subplots` gives its axes so.
        return list(value.flat)
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple) else [value]


def _picture(value: Any) -> str | None:
    """What a figure, axes or some of them show, also where the figure is closed; None for anything else."""
    artists = sys.modules.get("matplotlib.figure")
    items = _items(value)
    if artists is None or not items:
        return None
    figures = artists.Figure
    axes = sys.modules["matplotlib.axes"].Axes
    if not all(isinstance(item, figures | axes) for item in items):
        return None
    seen = hashlib.sha256()
    for item in items:
        figure = item if isinstance(item, figures) else item.get_figure(root=True)
        if figure is None:
            seen.update(b"removed")
            continue
        pixels, renderer, boxes = _drawing(figure)
        if item is not figure:
            # Its part of the figure, with its labels.
            if item not in boxes:
                boxes[item] = item.get_tightbbox(renderer)
            box = boxes[item]
            if box is None:
                seen.update(b"invisible")
                continue
            height, width = pixels.shape[:2]
            left, right = max(0, int(box.x0)), min(width, int(box.x1) + 1)
            top, bottom = max(0, height - int(box.y1) - 1), min(height, height - int(box.y0))
            pixels = pixels[top:bottom, left:right]
        seen.update(pixels.tobytes())
    return f"picture {seen.hexdigest()[:16]}"


# What figures showed in this look.
_drawn: dict[Any, tuple[Any, Any, dict[Any, Any]]] = {}


def _drawing(figure: Any) -> tuple[Any, Any, dict[Any, Any]]:
    """What a figure shows, what drew it, and where its axes are."""
    if figure not in _drawn:
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        before = figure.canvas
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        _drawn[figure] = (
            sys.modules["numpy"].asarray(canvas.buffer_rgba()),
            canvas.get_renderer(),
            {},
        )
        figure.set_canvas(before)
    return _drawn[figure]


def _files() -> dict[str, str]:
    """The files in this folder, by content; what Python and IPython keep for themselves does not count."""
    found = {}
    for path in sorted(Path().rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return found


def _run(cells: Cells, files: dict[str, str]) -> list[dict[str, Any]]:
    for name, text in files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    sys.path.insert(0, "")
    random.seed(os.urandom(8))
    sys.modules["numpy"].random.seed(int.from_bytes(os.urandom(4), "big"))
    shell = _make_shell()
    namespace = shell.user_ns
    observer = Observer(namespace)
    objects, values = observer.look()
    folder = os.getcwd()
    found = []
    files = _files()
    for cell, source in cells:
        namespace.begin()
        text = io.StringIO()
        shell.display_pub.outputs.clear()
        with contextlib.redirect_stdout(text), contextlib.redirect_stderr(io.StringIO()):
            result = shell.run_cell(source, store_history=True)
        reads, binds, deletes = namespace.reads, namespace.binds, namespace.deletes
        figures = _figures()
        new_objects, new_values = observer.look()
        new_files = _files()
        # `global x` in a function binds without a word to the namespace.
        bound = {
            name
            for name, value in new_objects.items()
            if name in binds or name not in objects or objects[name] is not value
        }
        error = result.error_in_exec or result.error_before_exec
        shown = [
            _masked(text.getvalue(), folder),
            *map(_of_output, shell.display_pub.outputs),
            *figures,
        ]
        found.append(
            {
                "cell": cell,
                "reads": sorted(name for name in reads if _is_users(name) and name in objects),
                "binds": sorted(bound),
                "changes": sorted(
                    name
                    for name in new_values
                    if name not in bound
                    and values[name] is not None
                    and values[name] != new_values[name]
                ),
                "deletes": sorted(
                    name for name in deletes if name in objects and name not in new_objects
                ),
                "kinds": {name: _kind(value) for name, value in new_objects.items()},
                "inputs": values,
                "values": new_values,
                "files": new_files,
                "written": sorted(
                    path for path in {*files, *new_files} if files.get(path) != new_files.get(path)
                ),
                "shown": shown,
                "error": None if error is None else f"{type(error).__name__}: {error}",
            }
        )
        objects, values, files = new_objects, new_values, new_files
    return found


def _of_output(output: Any) -> str:
    return str(output["data"].get("text/plain", sorted(output["data"])))


def _figures() -> list[str]:
    """What open figures show; they are closed, as the inline backend does."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None or not pyplot.get_fignums():
        return []
    shown = []
    for number in pyplot.get_fignums():
        canvas = pyplot.figure(number).canvas
        canvas.draw()
        shown.append(hashlib.sha256(bytes(canvas.buffer_rgba())).hexdigest()[:16])
    pyplot.close("all")
    return shown


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _masked(text: str, folder: str) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m", "", text.replace(folder, "."))
    text = re.sub(r"(CPU times|Wall time).*\n", "", text)
    # Of an error its kind and message count: they are kept apart.
    text = re.sub(r"(?s)-{20,}\n.*", "", text)
    return re.sub(r"0x[0-9a-f]{6,}", "0x", text)


def _child(job: dict[str, Any], out: int) -> None:
    signal.alarm(LIMIT)
    with tempfile.TemporaryDirectory(prefix="nbrewind-run-") as folder:
        os.chdir(folder)
        reply: Any
        try:
            reply = _run(job["cells"], job["files"])
        except Exception as error:  # noqa: BLE001 - told to the one who asked
            reply = f"{type(error).__name__}: {error}"
        os.chdir("/")
    with os.fdopen(out, "w") as stream:
        stream.write(json.dumps(reply))


def _imports() -> Iterable[str]:
    yield from (
        "numpy",
        "pandas",
        "matplotlib.pyplot",
        "sklearn.linear_model",
        "sklearn.model_selection",
    )
    yield from (
        "sklearn.preprocessing",
        "sklearn.compose",
        "sklearn.pipeline",
        "scipy.stats",
        "dask.array",
        "dask.bag",
        "dask.dataframe",
        "sqlite3",
        "IPython",
        "tests.python.generated.describe",
    )


def _serve() -> None:
    warnings.simplefilter("ignore")
    for name in _imports():
        with contextlib.suppress(ImportError):
            __import__(name)
    replies = os.fdopen(os.dup(1), "w")
    # What programs print that cells start must not get among the replies.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for line in sys.stdin:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            code = 1
            try:
                _child(json.loads(line), write)
                code = 0
            finally:
                os._exit(code)
        os.close(write)
        with os.fdopen(read) as stream:
            text = stream.read()
        os.waitpid(child, 0)
        replies.write((text or "null") + "\n")
        replies.flush()


if __name__ == "__main__":
    _serve()

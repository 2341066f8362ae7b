"""The manager, as `ndcctools.taskvine.manager` has it."""

import inspect
import os
import subprocess
import sys

import cloudpickle

from .task import Task  # noqa: F401 - as in the original

_WORKER = """
import sys, cloudpickle
with open(sys.argv[1], "rb") as file:
    func, args, kwargs = cloudpickle.load(file)
out = func(*args, **kwargs)
with open(sys.argv[2], "wb") as file:
    cloudpickle.dump(out, file)
"""


class File:
    def __init__(self, path):
        self._path = path

    def source(self):
        return self._path


class Manager:
    def __init__(self, port=0, *, staging_path="vine"):
        self.staging_directory = os.path.abspath(staging_path)
        for name in ("arguments", "outputs", "work"):
            os.makedirs(os.path.join(self.staging_directory, name), exist_ok=True)
        self._tasks_cache = None
        self._cached_queue = []
        self._waiting = []
        self._table = {}
        self._libraries = {}
        self._texts = {}
        # For tests: what a worker can import.
        self.worker_path = None

    def declare_file(self, path, cache=False):
        return File(path)

    def create_library_from_functions(self, library_name, *function_list, add_env=True, **options):
        # The original keeps a library by the text of its functions, and what it has kept it uses again.
        texts = tuple(inspect.getsource(function) for function in function_list)
        kept = self._texts.setdefault(
            (library_name, texts), cloudpickle.dumps({f.__name__: f for f in function_list})
        )
        return library_name, kept

    def install_library(self, library):
        self._libraries[library[0]] = library[1]

    def _submit_cache_check(self, task):
        return None

    def _pop_cached_result(self, tag):
        if not self._tasks_cache or not self._cached_queue:
            return None
        raise AssertionError("its own cache is off")

    def submit(self, task):
        task.manager = self
        task.submit_finalize()
        task._task_id = len(self._table) + 1
        self._table[task._task_id] = task
        self._waiting.append(task)
        return task._task_id

    def empty(self):
        return not self._waiting and len(self._cached_queue) < 1

    def _run(self, task):
        self._waiting.remove(task)
        name = os.path.join(self.staging_directory, "arguments", task._id)
        with open(name, "wb") as file:
            file.write(task._payload)
        command = [sys.executable, "-c", _WORKER, name, task._output_file.source()]
        env = {**os.environ, **({"PYTHONPATH": self.worker_path} if self.worker_path else {})}
        folder = os.path.join(self.staging_directory, "work")
        done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True)
        task._exit_code, task._stdout = done.returncode, done.stdout + done.stderr
        return task

    def wait(self, timeout="wait_forever"):
        return self.wait_for_tag(None, timeout)

    def wait_for_tag(self, tag, timeout="wait_forever"):
        cached = self._pop_cached_result(tag)
        if cached:
            return cached
        found = [task for task in self._waiting if tag is None or task.tag == tag]
        return self._run(found[0]) if found else None

    def wait_for_task_id(self, task_id, timeout="wait_forever"):
        found = [task for task in self._waiting if task_id in {-1, task.id}]
        return self._run(found[0]) if found else None

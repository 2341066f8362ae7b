"""Tasks, as `ndcctools.taskvine.task` has them."""

import os
import uuid

import cloudpickle


class Task:
    def __init__(self, command):
        self._tracked_inputs = []
        self._tracked_outputs = []
        self._tag = None
        self._task_id = 0
        self._exit_code = 0
        self._stdout = ""
        self.manager = None
        self._command = command

    def set_command(self, command):
        self._command = command

    def set_env_var(self, name, value=None):
        pass

    def add_environment(self, file):
        pass

    def add_input(self, file, remote_name):
        self._tracked_inputs.append((file, remote_name))

    def add_output(self, file, remote_name):
        self._tracked_outputs.append((file, remote_name, 0))

    def set_tag(self, tag):
        self._tag = tag

    def submit_finalize(self):
        pass

    @property
    def tag(self):
        return self._tag

    @property
    def command(self):
        return self._command

    @property
    def id(self):
        return self._task_id

    @property
    def exit_code(self):
        return self._exit_code

    @property
    def std_output(self):
        return self._stdout

    @property
    def result(self):
        return "success"

    def completed(self):
        return self.result == "success"

    def successful(self):
        return self.completed() and self.exit_code == 0


class PythonTask(Task):
    def __init__(self, func, *args, **kwargs):
        self._id = str(uuid.uuid4())
        self._output_loaded = False
        self._output = None
        self._serialize_output = True
        self._tmp_output_enabled = False
        self._output_file = None
        self._fn_def = (func, args, kwargs)
        super().__init__(f"python w_{self._id}")

    def submit_finalize(self):
        func, args, kwargs = self._fn_def
        self._payload = cloudpickle.dumps((func, args, kwargs))
        self._fn_def = None
        self._declare_output()

    def _declare_output(self):
        name = os.path.join(self.manager.staging_directory, "outputs", self._id)
        self._output_file = self.manager.declare_file(name)

    def enable_temp_output(self):
        self._tmp_output_enabled = True

    @property
    def output_file(self):
        return self._output_file

    @property
    def output(self):
        if not self._output_loaded:
            if self.successful():
                with open(self._output_file.source(), "rb") as file:
                    self._output = cloudpickle.load(file)
            self._output_loaded = True
        return self._output


class FunctionCall(PythonTask):
    def __init__(self, library, fn, *args, **kwargs):
        super().__init__(self, None)
        self.set_command(fn)
        self._event = {"fn_args": args, "fn_kwargs": kwargs}
        self._library = library

    def get_library_required(self):
        return self._library

    def submit_finalize(self):
        functions = cloudpickle.loads(self.manager._libraries[self._library])
        event, self._event = self._event, None
        func = functions[self.command]
        self._payload = cloudpickle.dumps((func, event["fn_args"], event["fn_kwargs"]))
        self._declare_output()

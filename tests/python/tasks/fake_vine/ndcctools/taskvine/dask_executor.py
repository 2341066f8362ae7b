"""`DaskVine`, as `ndcctools.taskvine.dask_executor` has it: tasks take files of other tasks, never values."""

from .manager import Manager
from .task import PythonTask


class PythonTaskDask(PythonTask):
    pass


class DaskVine(Manager):
    def get(self, dsk, keys, **options):
        from dask._task_spec import DataNode, convert_legacy_graph
        from dask.core import flatten, toposort

        dsk = convert_legacy_graph(dsk)
        found = {}
        for key in toposort({key: set(spec.dependencies) for key, spec in dsk.items()}):
            spec = dsk[key]
            if isinstance(spec, DataNode):
                found[key] = spec.value
                continue
            for name in spec.dependencies:
                assert not isinstance(dsk[name], DataNode), "a dependency that is no file"
            self.submit(PythonTaskDask(spec, {name: found[name] for name in spec.dependencies}))
            task = self.wait()
            assert task.successful(), task.std_output
            found[key] = task.output
        return [found[key] for key in flatten(keys)] if isinstance(keys, list) else found[keys]

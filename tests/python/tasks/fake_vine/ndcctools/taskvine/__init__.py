"""What TaskVine's Python interface does, without its core: names, order and attributes are those of cctools.

Every task runs in a process of its own, as on a worker, when the manager waits for it.
"""

from .dask_executor import DaskVine
from .manager import Manager
from .task import FunctionCall, PythonTask, Task

__all__ = ["DaskVine", "FunctionCall", "Manager", "PythonTask", "Task"]

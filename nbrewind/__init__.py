"""NBRewind: audit, replay and restore notebooks that drive distributed work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from nbrewind.tasks.cached import cached

__all__ = ["__version__", "cached", "load_ipython_extension", "unload_ipython_extension"]

# The workspace's Cargo.toml holds the same number; a test keeps the two together.
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # `import nbrewind` in a worker must not pull in the task cache.
    if name == "cached":
        from nbrewind.tasks.cached import cached

        return cached
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Turn a running IPython kernel into one that can audit: ``%load_ext nbrewind``."""
    # Imported only now: `import nbrewind` in a worker or a script must not pull in the kernel.
    from nbrewind.kernel.extension import load_ipython_extension as load

    load(shell)


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    """Where the Jupyter server finds our routes."""
    return [{"module": "nbrewind.server"}]


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    """Where JupyterLab finds our front end when the package is installed from its sources."""
    return [{"src": "../data/data/share/jupyter/labextensions/nbrewind", "dest": "nbrewind"}]


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Give the shell back as it was: ``%unload_ext nbrewind``."""
    from nbrewind.kernel.extension import unload_ipython_extension as unload

    unload(shell)

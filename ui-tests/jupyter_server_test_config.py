"""JupyterLab for the browser tests: its own port and folder, the helpers of galata, our extension as installed."""

import os

from jupyterlab.galata import configure_jupyter_server

configure_jupyter_server(c)  # noqa: F821 - given by the server
c.ServerApp.port = int(os.environ["NBREWIND_UI_PORT"])  # noqa: F821
c.ServerApp.root_dir = os.environ["NBREWIND_UI_ROOT"]  # noqa: F821
c.ServerApp.allow_root = True  # noqa: F821
c.ServerApp.log_level = "WARN"  # noqa: F821
c.FileContentsManager.delete_to_trash = False  # noqa: F821

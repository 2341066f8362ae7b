"""The server extension: HTTP only. It translates requests and starts jobs; it never loads a recorded value."""

from __future__ import annotations

from typing import Any


def _load_jupyter_server_extension(server: Any) -> None:
    """Add our routes to a running Jupyter server."""
    from nbrewind.server.routes import add_routes

    add_routes(server.web_app)
    server.log.info("NBRewind is at %snbrewind/", server.web_app.settings["base_url"])

"""An authorizer for tests: the user may look, and do nothing else."""

from __future__ import annotations

from typing import Any

from jupyter_server.auth.authorizer import Authorizer


class OnlyReads(Authorizer):
    """Allows reading of everything; and the server's own route for starting kernels, so that there is one to read."""

    def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:
        is_start = (action, resource) == ("write", "kernels") and handler.auth_resource == resource
        return action == "read" or is_start

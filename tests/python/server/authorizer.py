"""An authorizer for tests: the user may look, and do nothing else."""

from __future__ import annotations

from typing import Any

from jupyter_server.auth.authorizer import Authorizer


class OnlyReads(Authorizer):
    """Allows reading of everything."""

    def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:
        return action == "read"

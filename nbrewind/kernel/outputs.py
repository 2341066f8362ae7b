"""Outputs of a run: taken as the front end saw them, published again when the run is replayed."""

from __future__ import annotations

import copy
import json
from typing import Any

from jupyter_client.jsonutil import json_default

_KINDS = frozenset(
    {"stream", "display_data", "execute_result", "update_display_data", "clear_output", "error"}
)


def _as_sent(content: Any) -> Any:
    """A copy in the words of the wire, where pictures that are bytes are text."""
    try:
        return json.loads(json.dumps(content, default=json_default))
    except (TypeError, ValueError):
        return copy.deepcopy(content)


class OutputTap:
    """Listens to what the kernel publishes for one request. The kernel's session is wrapped once, for good."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self._taken: list[dict[str, Any]] | None = None
        self._parent_id: str | None = None
        # Live widgets: what they show comes over comms, which no output keeps.
        self.opened_comm = False
        session = kernel.session
        original = session.send

        def send(
            stream: Any,
            msg_or_type: Any,
            content: Any = None,
            parent: Any = None,
            *args: Any,
            **kwargs: Any,
        ) -> Any:
            self._see(msg_or_type, content, parent)
            return original(stream, msg_or_type, content, parent, *args, **kwargs)

        session.send = send

    def _see(self, msg_or_type: Any, content: Any, parent: Any) -> None:
        taken = self._taken
        if taken is None:
            return
        if isinstance(msg_or_type, dict):
            kind = msg_or_type.get("header", {}).get("msg_type") or msg_or_type.get("msg_type")
            content = msg_or_type.get("content")
            parent_id = (msg_or_type.get("parent_header") or {}).get("msg_id")
        else:
            kind = msg_or_type
            header = parent.get("header", parent) if isinstance(parent, dict) else {}
            parent_id = header.get("msg_id")
        if kind == "comm_open":
            self.opened_comm = True
        if kind not in _KINDS or (self._parent_id and parent_id and parent_id != self._parent_id):
            return
        content = _as_sent(content)
        last = taken[-1] if taken else None
        if (
            kind == "stream"
            and last
            and last["kind"] == "stream"
            and last["content"]["name"] == content["name"]
        ):
            last["content"]["text"] += content["text"]
            return
        taken.append({"kind": kind, "content": content})

    def start(self) -> None:
        """Begin to take the outputs of the current request."""
        parent = self._kernel.get_parent() or {}
        self._parent_id = parent.get("header", {}).get("msg_id")
        self._taken = []
        self.opened_comm = False

    def stop(self) -> list[dict[str, Any]]:
        """End; the messages in order."""
        taken, self._taken = self._taken or [], None
        return taken

    def publish(self, outputs: list[dict[str, Any]], execution_count: int) -> None:
        """Publish recorded outputs for the current request."""
        kernel = self._kernel
        parent = kernel.get_parent()
        prefix = f"kernel.{kernel.ident}"
        for output in outputs:
            content = copy.deepcopy(output["content"])
            if output["kind"] == "execute_result":
                content["execution_count"] = execution_count
            kernel.session.send(
                kernel.iopub_socket,
                output["kind"],
                content,
                parent=parent,
                ident=f"{prefix}.{output['kind']}".encode(),
            )

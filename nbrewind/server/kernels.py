"""Attaches to running kernels of the server's kernel manager, as one client among others."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import zmq.asyncio
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from jupyter_core.utils import ensure_async

from nbrewind.client import Conversation, Refused, Subshell
from nbrewind.server.errors import Trouble
from nbrewind.server.notebooks import Place

_SUBSHELLS: WeakKeyDictionary[Any, Subshell] = WeakKeyDictionary()


def check_kernel(kernels: Any, kernel_id: str) -> None:
    """Raise `Trouble` when the server has no such kernel."""
    if kernel_id not in kernels:
        raise Trouble("no-kernel", f"there is no kernel {kernel_id}")


def attach(
    kernels: Any,
    kernel_id: str,
    on_event: Callable[[dict[str, Any]], None] = lambda event: None,
) -> Conversation:
    """A conversation with a running kernel; it is lost when the kernel's process goes, also by a restart."""
    check_kernel(kernels, kernel_id)
    manager = kernels.get_kernel(kernel_id)
    # An identity of its own: two sockets with one identity would take each other's replies.
    session = manager.session.clone()
    session.session = uuid.uuid4().hex
    process = _process(manager)

    async def is_alive() -> bool:
        return (
            kernel_id in kernels
            and _process(manager) == process
            and bool(await ensure_async(manager.is_alive()))
        )

    shared = _SUBSHELLS.setdefault(manager, Subshell())
    # One context for all: each has threads, which would stay until it is collected.
    channels = manager.client(session=session, context=zmq.asyncio.Context.instance())
    return Conversation(channels, is_alive, on_event, shared=shared)


def _process(manager: Any) -> Any:
    return getattr(getattr(manager, "provisioner", None), "pid", None)


def is_local(kernels: Any, kernel_id: str) -> bool:
    """True when the kernel sees the files that the server sees."""
    provisioner = getattr(kernels.get_kernel(kernel_id), "provisioner", None)
    return isinstance(provisioner, LocalProvisioner)


async def configure(
    kernels: Any,
    kernel_id: str,
    talk: Conversation,
    place: Place | None,
    mode: str | None = None,
    patience: float | None = None,
) -> dict[str, Any]:
    """Set the mode (None: it stays), notebook and store. Raises `Refused` if the kernel has another store."""
    arguments: dict[str, Any] = {} if mode is None else {"mode": mode}
    if place is not None:
        arguments["notebook"] = place.file.name
        # On another host, paths and store are the kernel's own.
        if is_local(kernels, kernel_id):
            arguments["store"] = str(place.store)
    answer = await talk.ask("configure", patience=patience, **arguments)
    store = answer.get("store")
    wanted = arguments.get("store")
    if wanted and store is not None and os.path.realpath(store) != os.path.realpath(wanted):
        raise Refused(
            f"this kernel uses the store {store}, not that of {place.path if place else ''}; restart it to change that"
        )
    return answer

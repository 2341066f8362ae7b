"""Recipes: rebuild what cannot be stored by executing the statements that made it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbrewind.kernel.namespace import CoVariable

if TYPE_CHECKING:
    from nbrewind.kernel.session import Session


class NoRecipe(Exception):
    """Nothing is known that would rebuild the value."""


def rebuild(session: Session, version: CoVariable, built: dict[str, Any]) -> dict[str, Any]:
    """Execute the recipe in a namespace of its own, with the inputs that the statements had then.

    `built` holds values by manifest, so that one restore builds nothing twice.
    """
    from nbrewind.kernel.repeat import load_version

    assert session.history is not None
    if version.manifest_id in built:
        found: dict[str, Any] = built[version.manifest_id]
        return found
    if not version.recipe:
        raise NoRecipe(version.why or "it could not be stored")
    scratch = dict(session.scratch)
    scratch["get_ipython"] = session.shell.get_ipython
    for step in version.recipe:
        for name, manifest_id in step["needs"].items():
            if name in scratch and name in version.names:
                continue
            needed = session.history.manifest(manifest_id)
            if manifest_id not in built:
                built[manifest_id] = load_version(session, needed, built)
            scratch[name] = built[manifest_id][name]
        for text in step["statements"]:
            code = session.shell.transform_cell(text)
            exec(compile(code, "<nbrewind: recipe>", "exec"), scratch)
    missing = [name for name in version.names if name not in scratch]
    if missing:
        raise NoRecipe(f"its recipe does not give {', '.join(missing)}")
    values = {name: scratch[name] for name in version.names}
    built[version.manifest_id] = values
    return values

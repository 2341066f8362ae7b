"""Files and folders that tasks name: inputs of the cell that asked for the tasks."""

from __future__ import annotations

import os

from nbrewind.fingerprint import MAX_LISTED_FILES, path_digest
from nbrewind.tasks.plan import Plan


def named_files(plan: Plan) -> dict[str, str | None]:
    """Files that the arguments and functions of tasks name, folders with all that is in them.

    Task fingerprints cover them; but the cell that asked knows nothing of them.
    """
    found: dict[str, str | None] = {}
    for literal in {id(one): one for fact in plan.facts for one in fact.literals}.values():
        for name, content in literal.files.items():
            found[os.path.abspath(name)] = content
            found |= inside(name)
    return found


def inside(folder: str) -> dict[str, str | None]:
    """Everything in a folder, and itself. Raises `TooMuch`."""
    found: dict[str, str | None] = {}
    files = []
    for root, _, names in os.walk(os.path.abspath(folder)):
        found[root] = None
        files += [os.path.join(root, one) for one in names]
        if len(files) > MAX_LISTED_FILES:
            raise TooMuch(f"{folder} holds more than {MAX_LISTED_FILES} files")
    found.update((full, path_digest(full)) for full in files)
    return found


class TooMuch(Exception):
    """A folder that nobody looks through."""

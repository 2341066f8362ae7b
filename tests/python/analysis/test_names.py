"""Names are what Python makes of them: NFKC of what is written."""

from __future__ import annotations

import json
import random
import sys
import unicodedata

from nbrewind._native import analyze_cell


def written(names: list[str]) -> list[str]:
    """What the analysis says that these names, each assigned to once, are."""
    effects = json.loads(analyze_cell("\n".join(f"{name} = 1" for name in names)))
    assert not effects["parse_errors"]
    return [statement["writes"][0] for statement in effects["statements"]]


def test_every_character_becomes_what_python_makes_of_it() -> None:
    """All that may stand in a name, each alone."""
    letters = (f"a{chr(code)}" for code in range(128, sys.maxunicode + 1))
    names = [name for name in letters if name.isidentifier()]
    # What changes by itself, and every hundredth of the rest, as there is much of it.
    changed = [name for name in names if unicodedata.normalize("NFKC", name) != name]
    names = changed + names[::100]
    assert len(names) > 4000
    assert written(names) == [unicodedata.normalize("NFKC", name) for name in names]


def test_marks_and_what_they_stand_on_become_what_python_makes_of_them() -> None:
    """Names of a few characters that combine, in any order."""
    dice = random.Random(1)
    combine = [
        chr(code)
        for code in range(128, sys.maxunicode + 1)
        if f"a{chr(code)}".isidentifier()
        and (unicodedata.combining(chr(code)) or unicodedata.decomposition(chr(code)))
    ]
    combine += [*"aeiouAEIOUcns", *(chr(code) for code in range(0x1100, 0x1200))] * 8
    combine += [chr(code) for code in range(0xAC00, 0xAC00 + 11172, 28)]
    combine += [chr(code) for code in range(0x300, 0x370)] * 8
    drawn = ("x" + "".join(dice.choices(combine, k=dice.randint(2, 6))) for _ in range(20_000))
    names = [name for name in drawn if name.isidentifier()]
    assert len(names) > 5000
    assert written(names) == [unicodedata.normalize("NFKC", name) for name in names]

"""The notebooks that the analysis is timed on, made from a seed, and the edits that are typed into them."""

from __future__ import annotations

import random
import re
from typing import Any

Notebook = dict[str, Any]

# What cells of data notebooks look like; {n} is the number of the block, {m} that of an earlier one.
TEMPLATES = (
    "import numpy as np\nimport pandas as pd\nimport matplotlib.pyplot as plt",
    "# Load one run and take out what cannot be used.\n"
    "df_{n} = pd.read_csv('events_{n}.csv')\n"
    "df_{n} = df_{n}.dropna()\n"
    "df_{n}['ratio'] = df_{n}['a'] / df_{n}['b']\n"
    "df_{n}['is_late'] = df_{n}['t'] > {n}.5",
    "def select_{n}(frame, threshold=10.0):\n"
    '    """Keep what is above the threshold."""\n'
    "    kept = frame[frame.pt > threshold]\n"
    "    if len(kept) == 0:\n"
    "        raise ValueError('nothing is left')\n"
    "    return kept.assign(weight=kept.w * scale_{m})",
    "scale_{n} = 1.5 + {n}\n"
    "limits_{n} = {{'low': 0.1, 'high': scale_{n}, 'steps': [1, 2, 3]}}\n"
    "limits_{n}['width'] = limits_{n}['high'] - limits_{n}['low']",
    "chosen_{n} = select_{m}(df_{n})\n"
    "for i in range(3):\n"
    "    chosen_{n}[f'c{{i}}'] = i\n"
    "print(f'{{len(chosen_{n})}} events, {{chosen_{n}.ratio.mean():.3f}}')",
    "fig, ax = plt.subplots(figsize=(8, 4))\n"
    "ax.hist(chosen_{n}.ratio, bins=50)\n"
    "ax.set_xlabel('ratio')\n"
    "ax.axvline(limits_{n}['low'], color='grey')\n"
    "plt.show()",
    "summary_{n} = chosen_{n}.groupby('run').agg({{'ratio': 'mean', 'pt': 'max'}})\n"
    "summary_{n}.sort_values('pt', inplace=True)\n"
    "summary_{n}",
    "results_{n} = []\n"
    "for run, group in chosen_{n}.groupby('run'):\n"
    "    value = np.mean(group.ratio) * 2.0\n"
    "    results_{n}.append((run, value))\n"
    "best_{n} = max(results_{n}, key=lambda pair: pair[1])",
)


def mixed(n_cells: int) -> list[str]:
    """Blocks of eight cells that load, select, plot and sum up; some use what an earlier block made."""
    dice = random.Random(1)
    sources = []
    for at in range(n_cells):
        block = at // len(TEMPLATES)
        other = block if dice.random() < 0.8 else dice.randrange(block + 1)
        sources.append(TEMPLATES[at % len(TEMPLATES)].format(n=block, m=other))
    return sources


def files(n_cells: int) -> dict[str, str]:
    """What the cells of `mixed` read, for those who can only look at a notebook that ran."""
    dice = random.Random(4)
    made = {}
    for block in range(n_cells // len(TEMPLATES) + 1):
        rows = [
            f"{dice.random():.3f},{1 + dice.random():.3f},{at},{20 * dice.random() + 5:.2f},1.0,{at % 3}"
            for at in range(60)
        ]
        made[f"events_{block}.csv"] = "\n".join(["a,b,t,pt,w,run", *rows]) + "\n"
    return made


def dense(n_cells: int) -> list[str]:
    """Functions and values that read what stands anywhere above: an edit reaches a third of the page on average."""
    dice = random.Random(2)
    sources = ["v0 = 1.0\n\ndef f0(x):\n    return x + v0"]
    for at in range(1, n_cells):
        near = [dice.randrange(max(0, at - 40), at) for _ in range(3)]
        a, b, c = near
        sources.append(
            f"def f{at}(x, factor={at}.0):\n"
            f'    """Scale and shift."""\n'
            f"    shifted = x * factor + v{a}\n"
            f"    return shifted if shifted > 0 else -shifted\n"
            f"\n"
            f"v{at} = f{at}(v{b}) + 1.0\n"
            f"w{at} = [v{c}, v{at}]\n"
            f"w{at}.append({at})\n"
            f"print(w{at}, {at})"
        )
    return sources


def chain(n_cells: int) -> list[str]:
    """Every cell makes a new table of the one above it, which it may share items with."""
    sources = ["table0 = {'a': 1}"]
    for at in range(1, n_cells):
        sources.append(
            f"def step{at}(rows, factor={at}):\n"
            f'    """Another column."""\n'
            f"    kept = {{key: value * factor for key, value in rows.items() if value is not None}}\n"
            f"    return dict(kept, c{at}=len(kept))\n"
            f"\n"
            f"table{at} = step{at}(table{at - 1})\n"
            f"names{at} = sorted(table{at})[:5]"
        )
    return sources


def edits(sources: list[str], n_edits: int) -> list[tuple[int, str]]:
    """Keystrokes, each in another cell where there are enough: a digit more in a number; in every fourth a letter that
    makes the text one that Python cannot read, as half-typed code is."""
    dice = random.Random(3)
    places = list(range(len(sources)))
    dice.shuffle(places)
    found = []
    for nth in range(n_edits):
        at = places[nth % len(places)]
        source = sources[at]
        number = re.search(r"(?<![\w.'])\d+(\.\d+)?", source)
        if nth % 4 == 3:
            source += " ("
        elif number:
            source = source[: number.end()] + "1" + source[number.end() :]
        else:
            source += "\nx = 1"
        found.append((at, source))
    return found


def further(edit: tuple[int, str]) -> list[str]:
    """What the text becomes when three more keys are pressed where the edit was."""
    _, source = edit
    if source.endswith(" ("):
        return [source + "data"[:n_keys] for n_keys in (1, 2, 3)]
    number = re.search(r"(?<![\w.'])\d+(\.\d+)?", source)
    end = number.end() if number else len(source)
    return [source[:end] + "234"[:n_keys] + source[end:] for n_keys in (1, 2, 3)]


def all_notebooks(n_edits: int) -> list[Notebook]:
    """Everything that is timed."""
    made = []
    for name, sources, places in (
        ("mixed", mixed(1000), None),
        ("dense", dense(1000), None),
        ("chain", chain(300), [0]),
    ):
        typed = (
            edits(sources, n_edits)
            if places is None
            else [(0, f"table0 = {{'a': 1{digit}}}") for digit in range(min(n_edits, 100))]
        )
        made.append(
            {
                "name": name,
                "files": files(len(sources)) if name == "mixed" else {},
                "cells": [
                    {"id": f"c{at}", "source": source, "tags": []}
                    for at, source in enumerate(sources)
                ],
                "edits": typed,
                "further": [further(edit) for edit in typed],
            }
        )
    return made

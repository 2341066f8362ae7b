"""Writes src/tables.txt: what NFKC makes of every character, as Python's `unicodedata` or the newer `unicodedata2` says.

python vendor/unicode-normalization/tables.py
"""

from __future__ import annotations

import sys
from pathlib import Path

try:
    import unicodedata2 as unicodedata
except ImportError:
    import unicodedata

HANGUL = range(0xAC00, 0xAC00 + 11172)
SURROGATES = range(0xD800, 0xE000)
HEAD = """# Unicode {version}, written by tables.py. Numbers are hexadecimal; Hangul is computed.
"""


def characters() -> list[str]:
    """All but those that the tables leave out."""
    left_out = (*HANGUL, *SURROGATES)
    return [chr(code) for code in sorted(set(range(sys.maxunicode + 1)) - set(left_out))]


def decompositions() -> list[str]:
    """A character and what it is taken apart to. Neighbours that become neighbours are one line: first, last, first of
    what they become."""
    lines: list[str] = []
    run: list[tuple[int, int]] = []

    def close() -> None:
        if run:
            (first, becomes), last = run[0], run[-1][0]
            from_ = f"{first:x}" if first == last else f"{first:x}-{last:x}"
            lines.append(f"{from_} {becomes:x}")
            run.clear()

    for one in characters():
        parts = unicodedata.normalize("NFKD", one)
        if len(parts) == 1 and parts != one:
            pair = (ord(one), ord(parts))
            if run and (run[-1][0] + 1, run[-1][1] + 1) != pair:
                close()
            run.append(pair)
            continue
        close()
        if parts != one:
            lines.append(" ".join(f"{ord(part):x}" for part in one + parts))
    close()
    return lines


def classes() -> list[str]:
    """First and last of neighbours that combine alike, and how."""
    runs: list[list[int]] = []
    for one in characters():
        found = unicodedata.combining(one)
        if found and runs and runs[-1][1:] == [ord(one) - 1, found]:
            runs[-1][1] = ord(one)
        elif found:
            runs.append([ord(one), ord(one), found])
    return [f"{first:x}-{last:x} {found:x}" for first, last, found in runs]


def compositions() -> list[str]:
    """Two characters and the one that they become."""
    lines = []
    for one in characters():
        parts = unicodedata.decomposition(one)
        if parts and not parts.startswith("<"):
            pair = "".join(chr(int(part, 16)) for part in parts.split())
            if len(pair) == 2 and unicodedata.normalize("NFC", pair) == one:
                lines.append(" ".join(f"{ord(part):x}" for part in pair + one))
    return lines


def main() -> None:
    """Write them."""
    text = HEAD.format(version=unicodedata.unidata_version)
    for name, lines in (
        ("decompositions", decompositions()),
        ("classes", classes()),
        ("compositions", compositions()),
    ):
        text += "\n".join([f"[{name}]", *lines, ""])
    (Path(__file__).parent / "src" / "tables.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

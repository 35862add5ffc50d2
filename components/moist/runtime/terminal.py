"""What the commands print: lines of progress on stderr, results on stdout."""

import sys
from collections.abc import Sequence
from pathlib import Path

from moist.reports.labels import printable


def say(line: str) -> None:
    """A line of progress."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def show(text: str) -> None:
    """A command's result."""
    sys.stdout.write(text + "\n")


def shown(path: Path) -> str:
    """A path as short as it can be said from here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def columns(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of text under their headings, each column as wide as it needs."""
    lines = [list(headings), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(headings))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )

"""The table of a run, as plain text for terminals and as Markdown."""

import html
import textwrap
from typing import NamedTuple

from moist.reports.labels import column, fewer_macs, fixed, median_ms, ordered_rows, printable, row_label
from moist.reports.results import Results, Row
from moist.reports.verdict import caveat, verdicts

WIDTH = 100
# Over two lines, so that the text table stays within its width.
HEADINGS = (
    ("accuracy", "%"),
    ("", "loss"),
    ("", "MMAC"),
    ("x fewer", "MACs"),
    ("ms at", "batch 1"),
    ("ms at", "batch 64"),
    ("", "r"),
    ("", "a"),
    ("", "b"),
)
KEY = (
    "MMAC: million multiply-adds per image, router and the students that run. x fewer: than the teacher. "
    "ms: median of a warm batch. r: router accuracy; a, b: accuracy when rightly, wrongly routed; "
    "accuracy = r a + (1 - r) b."
)


class Line(NamedTuple):
    """One row of the table and its cells, in the order of HEADINGS."""

    row: Row
    label: str
    cells: list[str]


def table_lines(results: Results) -> list[Line]:
    """The rows in the order of the table; each column's numbers have the same decimals."""
    rows = ordered_rows(results)
    routings = [row.routing for row in rows]
    columns = [
        [fixed(100 * row.accuracy, 2) for row in rows],
        [fixed(row.loss, 4) for row in rows],
        column([row.macs / 1e6 for row in rows], significant=3),
        [fixed(fewer_macs(row, results), 1) for row in rows],
        column([median_ms(row, 1) for row in rows], significant=3),
        column([median_ms(row, 64) for row in rows], significant=3),
        ["" if routing is None else fixed(routing.r, 3) for routing in routings],
        ["" if routing is None else fixed(routing.a, 3) for routing in routings],
        ["" if routing is None else fixed(routing.b, 3) for routing in routings],
    ]
    return [Line(row, row_label(row), [cells[index] for cells in columns]) for index, row in enumerate(rows)]


def text_table(results: Results) -> str:
    """The table, its key, notes and the verdict as plain text, at most 100 columns wide."""
    lines = table_lines(results)
    widths = [
        max(map(len, (*heading, *(line.cells[index] for line in lines)))) for index, heading in enumerate(HEADINGS)
    ]
    labels = [_marked(line) for line in lines]
    room = WIDTH - sum(widths) - 2 * len(widths)
    label_width = max(12, min(room, max(map(len, labels), default=0)))

    def joined(label: str, cells: list[str]) -> str:
        padded = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        return "  ".join([label.ljust(label_width), *padded]).rstrip()

    out = [joined("", [heading[0] for heading in HEADINGS]), joined("model", [heading[1] for heading in HEADINGS])]
    out.append("-" * len(joined("", ["x" * width for width in widths])))
    for line, label in zip(lines, labels, strict=True):
        first, *more = textwrap.wrap(label, label_width, subsequent_indent="  ") or [""]
        out += [joined(first, line.cells), *more]
    out.append("")
    for paragraph in [*verdicts(results), caveat(results), KEY, *_notes(lines)]:
        out += textwrap.wrap(paragraph, WIDTH)
    return "\n".join(out) + "\n"


def markdown_table(results: Results) -> str:
    """The same table in Markdown, the verdict under it."""
    headings = ["model", *(" ".join(filter(None, heading)) for heading in HEADINGS)]
    out = ["| " + " | ".join(headings) + " |", "| --- |" + " ---: |" * len(HEADINGS)]
    out += ["| " + " | ".join([_markdown(_marked(line)), *line.cells]) + " |" for line in table_lines(results)]
    paragraphs = [*verdicts(results), caveat(results), KEY, *_notes(table_lines(results))]
    return "\n".join(out) + "\n\n" + "\n\n".join(map(_markdown, paragraphs)) + "\n"


def _marked(line: Line) -> str:
    unmarked = line.row.role == "control" and "control" not in line.label.lower()
    return f"control: {line.label}" if unmarked else line.label


def _notes(lines: list[Line]) -> list[str]:
    return [f"{line.label}: {printable(line.row.note)}" for line in lines if line.row.note]


def _markdown(text: str) -> str:
    escaped = html.escape(text, quote=False)
    return "".join("\\" + character if character in "\\|`*_[]" else character for character in escaped)

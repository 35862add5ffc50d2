"""The table of a run, as plain text for terminals and as Markdown."""

import html
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from moist.reports.labels import MISSING, column, fewer_macs, fixed, median_ms, ordered_rows, printable, row_label
from moist.reports.paper import DATASET, printed_row
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
PAPER_HEADINGS = (
    ("accuracy", "%"),
    ("paper", "%"),
    ("", "loss"),
    ("paper", "loss"),
    ("", "MMAC"),
    ("as the paper", "counts"),
    ("paper", "MFLOPs"),
)
PAPER_KEY = (
    "The paper’s are of one run on the official test batch after training on all 50,000 images, with a teacher that "
    "stops in the middle of its schedule. Its MFLOPs are multiply-adds of one image divided by 64, the router left "
    "out; MMAC is undivided and with the router. Its latencies are of an operation-counting trace, so they are not "
    "repeated. It has no controls."
)


class Line(NamedTuple):
    """One row of a table and its cells, in the order of its headings."""

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


def paper_lines(results: Results) -> list[Line]:
    """The rows beside the paper's Table I, in the order of PAPER_HEADINGS; none for data that it did not measure on."""
    if results.data.name != DATASET:
        return []
    rows = ordered_rows(results)
    printed = [printed_row(row) for row in rows]
    columns = [
        [fixed(100 * row.accuracy, 2) for row in rows],
        [MISSING if each is None else fixed(100 * each.accuracy, 2) for each in printed],
        [fixed(row.loss, 4) for row in rows],
        [MISSING if each is None else fixed(each.loss, 4) for each in printed],
        column([row.macs / 1e6 for row in rows], significant=3),
        column([row.paper_mflops for row in rows], significant=3),
        [MISSING if each is None else fixed(each.mflops, 2) for each in printed],
    ]
    return [Line(row, row_label(row), [cells[index] for cells in columns]) for index, row in enumerate(rows)]


def text_table(results: Results) -> str:
    """The table, its key, notes and the verdict as plain text, at most 100 columns wide."""
    lines, beside = table_lines(results), paper_lines(results)
    out = [*_text(lines, HEADINGS), ""]
    for paragraph in [*verdicts(results), caveat(results), KEY, *_notes(lines)]:
        out += textwrap.wrap(paragraph, WIDTH)
    if beside:
        out += ["", "Beside the paper’s Table I", *_text(beside, PAPER_HEADINGS), ""]
        out += textwrap.wrap(f"{PAPER_KEY} {results.data.split}", WIDTH)
    return "\n".join(out) + "\n"


def _text(lines: Sequence[Line], headings: Sequence[tuple[str, str]]) -> list[str]:
    widths = [
        max(map(len, (*heading, *(line.cells[index] for line in lines)))) for index, heading in enumerate(headings)
    ]
    labels = [_marked(line) for line in lines]
    room = WIDTH - sum(widths) - 2 * len(widths)
    label_width = max(12, min(room, max(map(len, labels), default=0)))

    def joined(label: str, cells: list[str]) -> str:
        padded = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        return "  ".join([label.ljust(label_width), *padded]).rstrip()

    out = [joined("", [heading[0] for heading in headings]), joined("model", [heading[1] for heading in headings])]
    out.append("-" * len(joined("", ["x" * width for width in widths])))
    for line, label in zip(lines, labels, strict=True):
        first, *more = textwrap.wrap(label, label_width, subsequent_indent="  ") or [""]
        out += [joined(first, line.cells), *more]
    return out


def markdown_table(results: Results) -> str:
    """The same in Markdown, the verdict under it."""
    lines, beside = table_lines(results), paper_lines(results)
    out = _markdown_rows(lines, HEADINGS)
    paragraphs = [*verdicts(results), caveat(results), KEY, *_notes(lines)]
    text = "\n".join(out) + "\n\n" + "\n\n".join(map(_markdown, paragraphs)) + "\n"
    if beside:
        rows = "\n".join(_markdown_rows(beside, PAPER_HEADINGS))
        text += f"\n## Beside the paper’s Table I\n\n{rows}\n\n{_markdown(f'{PAPER_KEY} {results.data.split}')}\n"
    return text


def _markdown_rows(lines: Sequence[Line], headings: Sequence[tuple[str, str]]) -> list[str]:
    names = ["model", *(" ".join(filter(None, heading)) for heading in headings)]
    out = ["| " + " | ".join(names) + " |", "| --- |" + " ---: |" * len(headings)]
    return out + ["| " + " | ".join([_markdown(_marked(line)), *line.cells]) + " |" for line in lines]


def _marked(line: Line) -> str:
    unmarked = line.row.role == "control" and "control" not in line.label.lower()
    return f"control: {line.label}" if unmarked else line.label


def _notes(lines: list[Line]) -> list[str]:
    return [f"{line.label}: {printable(line.row.note)}" for line in lines if line.row.note]


def _markdown(text: str) -> str:
    escaped = html.escape(text, quote=False)
    return "".join("\\" + character if character in "\\|`*_[]" else character for character in escaped)

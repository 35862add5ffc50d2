"""What the table, the plots and the report call things: printable names, numbers as text, the order of the rows."""

import math
import unicodedata
from collections.abc import Sequence

from moist.reports.results import Results, Row

ROLE_ORDER = ("teacher", "student", "mixture", "control", "upper bound")
CONTROLS = {
    "same_budget": "the single student with the same training budget",
    "same_cost": "the single student with the same inference cost",
}
MISSING = "–"


def printable(text: str) -> str:
    """One line of text without control characters or lone surrogates.

    Names come from data sets: an escape sequence would reach the terminal, and XML knows no control characters.
    """
    spaced = " ".join(text.split())
    return "".join(
        "\ufffd" if unicodedata.category(character) in ("Cc", "Cs", "Cn") else character for character in spaced
    )


def shortened(text: str, length: int) -> str:
    """Printable text of at most `length` characters; an ellipsis in the middle stands for what was cut."""
    text = printable(text)
    if len(text) <= length:
        return text
    tail = (length - 1) // 3
    return text[: length - 1 - tail] + "…" + text[len(text) - tail :]


def row_label(row: Row) -> str:
    """The row's label; an upper bound always says that it knows the label."""
    label = printable(row.label)
    if row.role == "upper bound" and "knows the label" not in label:
        label += " (knows the label)"
    return label


def ordered_rows(results: Results) -> list[Row]:
    """Teacher, students, mixtures, controls, upper bounds; within a role in the order of the results."""
    return sorted(results.rows, key=lambda row: ROLE_ORDER.index(row.role))


def fixed(value: float | None, decimals: int) -> str:
    """A number with a fixed count of decimals; a dash for None and for what is not finite."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:,.{decimals}f}"


def column_decimals(values: Sequence[float | None], significant: int) -> int:
    """How many decimals (0-6) give the smallest positive value of a column this many significant digits."""
    positive = [value for value in values if value is not None and math.isfinite(value) and value > 0]
    if not positive:
        return 0
    return min(6, max(0, significant - 1 - math.floor(math.log10(min(positive)))))


def column(values: Sequence[float | None], significant: int) -> list[str]:
    """The cells of one column, all with the same decimals, so that they line up."""
    decimals = column_decimals(values, significant)
    return [fixed(value, decimals) for value in values]


def median_ms(row: Row, batch_size: int) -> float | None:
    """Median latency of a batch in milliseconds; None if that batch size was not measured."""
    return next((latency.median_ms for latency in row.latency if latency.batch_size == batch_size), None)


def fewer_macs(row: Row, results: Results) -> float | None:
    """How many times fewer multiply-adds than the first teacher; None without a teacher or a cost."""
    teacher = next((other for other in results.rows if other.role == "teacher"), None)
    return teacher.macs / row.macs if teacher is not None and row.macs > 0 else None


def class_order(classes: int, clusters: Sequence[Sequence[int]]) -> list[int]:
    """Class indices, cluster after cluster; a class of no cluster comes last."""
    grouped = [index for cluster in clusters for index in cluster]
    return grouped + [index for index in range(classes) if index not in set(grouped)]

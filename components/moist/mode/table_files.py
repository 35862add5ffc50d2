"""Reading table files: TSV, CSV and ARFF, plain or gzip, as named columns of text."""

import csv
import gzip
import io
import zlib
from collections.abc import Mapping
from pathlib import Path

from moist.errors import InputError

TABLE_SUFFIXES = (".tsv", ".csv", ".arff")
"""What the name of a table file ends in, before an optional .gz."""

Columns = Mapping[str, tuple[str, ...]]
"""Cells by column name, as text; all columns have one length."""


def read_columns(path: Path) -> Columns:
    """Read a .tsv, .csv or .arff file, or one of these with .gz; TSV and CSV start with a line of column names.

    Raises InputError for a file that is missing, unreadable, ragged, without a header or without rows.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}.")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix.lower() == ".gz" else path.read_bytes()
        text = content.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(
            f"file {path} cannot be read as {'gzip of ' if path.suffix == '.gz' else ''}UTF-8: {error}."
        ) from error
    try:
        if path.name.lower().removesuffix(".gz").endswith(".arff"):
            header, rows = _parse_arff(path, text)
        else:
            delimiter = "\t" if path.name.lower().removesuffix(".gz").endswith(".tsv") else ","
            lines = [line for line in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if line]
            header, rows = _parse_header(path, lines)
    except csv.Error as error:
        raise InputError(f"file {path} is no table: {error}.") from None
    if len(set(header)) < len(header):
        twice = next(name for i, name in enumerate(header) if name in header[:i])
        raise InputError(f"file {path} names column {twice!r} twice.")
    if not rows:
        raise InputError(f"file {path} has column names, but no rows.")
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise InputError(
                f"file {path}, row {number}: it has {len(row)} cells, but there are {len(header)} columns."
            )
    return dict(zip(header, zip(*rows, strict=True), strict=True))


def _parse_header(path: Path, lines: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    if not lines:
        raise InputError(f"file {path} is empty: its first line must name the columns.")
    header = [name.strip() for name in lines[0]]
    if all(_is_number(name) for name in header):
        raise InputError(
            f"file {path} has no column names: its first line holds only numbers; put a line of names above."
        )
    return header, lines[1:]


def _parse_arff(path: Path, text: str) -> tuple[list[str], list[list[str]]]:
    """Names and rows of a dense ARFF file (https://waikato.github.io/weka-wiki/formats_and_processing/arff_stable)."""
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("%")]
    start = next((i for i, line in enumerate(lines) if line.lower() == "@data"), None)
    if start is None:
        raise InputError(f"file {path} has no @data line, so it is no ARFF file.")
    declared = [line.split(None, 1)[1:] for line in lines[:start] if line.lower().startswith("@attribute")]
    if [] in declared:
        raise InputError(f"file {path} has an @attribute line without a name.")
    header = [_arff_name(attribute) for (attribute,) in declared]
    if not header:
        raise InputError(f"file {path} has no @attribute lines, so it is no ARFF file.")
    data = lines[start + 1 :]
    if data and data[0].startswith("{"):
        raise InputError(f"file {path} is a sparse ARFF file: only the dense form is read.")
    quote = "'" if any("'" in line for line in data) else '"'
    return header, [[cell.strip() for cell in row] for row in csv.reader(data, quotechar=quote, skipinitialspace=True)]


def _arff_name(attribute: str) -> str:
    """The name in `name type` or `'a name' type`."""
    if attribute[0] in "'\"":
        return attribute[1:].split(attribute[0], 1)[0]
    return attribute.split()[0]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

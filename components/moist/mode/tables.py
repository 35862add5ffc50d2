"""Tables of numbers with a class each: from a file, from OpenML or bundled; checked, split and standardised."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moist.errors import InputError
from moist.mode.table_files import TABLE_SUFFIXES, Columns, read_columns

OPENML_IDS = {
    "isolet": 300,
    "mfeat-karhunen": 16,
    "mfeat-factors": 12,
    "optdigits": 28,
    "satimage": 182,
    "first-order-theorem-proving": 1475,
    "artificial-characters": 1459,
}
"""The seven tables of the MoDE paper by name, and their OpenML data ids."""

_TARGETS = ("target", "class")
_MISSING = frozenset(("", "?", "na", "nan", "null", "none"))


class Table(NamedTuple):
    """N labelled rows of D numbers."""

    name: str
    features: NDArray[np.float32]
    """float32 (N, D), finite, as the source gives them"""
    labels: NDArray[np.int64]
    """int64 (N,): indices into `classes`"""
    feature_names: tuple[str, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    """what a reader should know, a sentence each; empty when there is nothing"""


class Split(NamedTuple):
    """Row numbers of the three parts, int64, disjoint, together all rows, in random order."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


def load_table(source: str, target: str | None = None, cache: Path | None = None) -> Table:
    """Load "digits" (bundled with scikit-learn), an OpenML table by name (OPENML_IDS) or number, or a file.

    Files: .tsv, .csv, .arff, each also .gz; numbers everywhere but in the target column. `target` names that column;
    by default it is `target`, else `class`, else the last. `cache`: where OpenML downloads are kept, default
    scikit-learn's.

    Raises InputError for anything that cannot be used: no such source, missing columns, cells that are no finite
    numbers, one class only, nothing but constant features.
    """
    if source == "digits":
        return _bundled_digits()
    if source in OPENML_IDS or source.isdecimal():
        return _from_openml(source, target, cache)
    if not source.lower().removesuffix(".gz").endswith(TABLE_SUFFIXES):
        raise InputError(
            f"there is no table {source!r}: give digits, one of {', '.join(OPENML_IDS)}, an OpenML number, or a file "
            f"that ends in {', '.join(TABLE_SUFFIXES)} (or these with .gz)."
        )
    path = Path(source)
    name = path.name.removesuffix(".gz")
    return table_from_columns(name[: name.rindex(".")], read_columns(path), target)


def table_from_columns(name: str, columns: Columns, target: str | None = None) -> Table:
    """Check named columns of text or numbers and make a table of them; `target` as in load_table. Raises InputError."""
    target = _target_column(name, columns, target)
    feature_names = tuple(column for column in columns if column != target)
    if not feature_names:
        raise InputError(f"table {name} has the single column {target!r}: it needs at least one feature besides.")
    labels = [str(value).strip() for value in columns[target]]
    for row, label in enumerate(labels, start=1):
        if label.lower() in _MISSING:
            raise InputError(f"table {name}, row {row}: the target {target!r} is missing; remove the row or label it.")
    features = np.stack([_numbers(name, column, columns[column]) for column in feature_names], axis=1)
    return make_table(name, features, np.array(labels), feature_names)


def make_table(
    name: str, features: NDArray[np.floating], labels: NDArray[np.str_], feature_names: tuple[str, ...] = ()
) -> Table:
    """A table of features, float (N, D), and labels of any text (N,). Raises InputError as load_table does."""
    if len(features) != len(labels):
        raise InputError(f"table {name} has {len(features)} rows of features, but {len(labels)} labels.")
    if len(labels) < 5:
        raise InputError(f"table {name} has {len(labels)} rows: a split into 60, 20 and 20% needs at least 5.")
    classes = tuple(sorted(set(labels.tolist()), key=_class_order))
    if len(classes) < 2:
        raise InputError(f"table {name} has one class only ({classes[0]!r}): there is nothing to tell apart.")
    feature_names = feature_names or tuple(f"f{i + 1}" for i in range(features.shape[1]))
    with np.errstate(over="ignore"):
        features = features.astype(np.float32)
    bad = np.argwhere(~np.isfinite(features))
    if len(bad):
        row, column = bad[0]
        raise InputError(
            f"table {name}, row {row + 1}, column {feature_names[column]!r}: the value is missing or not finite "
            "in single precision; fill it or remove the row."
        )
    constant = (features == features[0]).all(axis=0)
    if constant.all():
        raise InputError(f"table {name}: all {len(constant)} features are constant: nothing tells classes apart.")
    notes: tuple[str, ...] = ()
    if constant.any():
        named = ", ".join(np.array(feature_names)[constant][:5]) + (", ..." if constant.sum() > 5 else "")
        notes = (f"{constant.sum()} of {len(constant)} features of {name} are constant and say nothing: {named}.",)
    index = {label: i for i, label in enumerate(classes)}
    numbers = np.array([index[label] for label in labels.tolist()], dtype=np.int64)
    return Table(name, features, numbers, feature_names, classes, notes)


def split_rows(rows: int, seed: int) -> Split:
    """Deal row numbers 0 to rows - 1 at random into 60% training, 20% validation and 20% test."""
    order = np.random.default_rng([seed, 0]).permutation(rows)
    train, validation = rows * 6 // 10, rows * 8 // 10
    return Split(order[:train], order[train:validation], order[validation:])


def _target_column(name: str, columns: Columns, target: str | None) -> str:
    if target is None:
        return next((column for column in _TARGETS if column in columns), list(columns)[-1])
    if target not in columns:
        shown = list(columns) if len(columns) <= 8 else [*list(columns)[:3], "...", *list(columns)[-3:]]
        raise InputError(f"table {name} has no column {target!r} for the target: its columns are {', '.join(shown)}.")
    return target


def _numbers(name: str, column: str, cells: tuple[str, ...]) -> NDArray[np.float64]:
    """One feature's cells as numbers; raises InputError naming the first that is none."""
    try:
        return np.array(cells, dtype=np.float64)  # NaN and infinity are found by make_table
    except ValueError:
        for row, cell in enumerate(cells, start=1):
            if cell.strip().lower() in _MISSING:
                what = "the cell is empty" if not cell.strip() else f"{cell!r} marks a missing value"
                raise InputError(
                    f"table {name}, row {row}, column {column!r}: {what}; fill it or drop the row."
                ) from None
            try:
                float(cell)
            except ValueError:
                raise InputError(
                    f"table {name}, row {row}, column {column!r}: {cell!r} is no number; only the target may be text."
                ) from None
        raise


def _class_order(label: str) -> tuple[float, str]:
    """Numbers by value, then everything else by name."""
    try:
        return float(label), label
    except ValueError:
        return float("inf"), label


def _bundled_digits() -> Table:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return make_table("digits", digits.data, digits.target.astype(str), tuple(digits.feature_names))


def _from_openml(source: str, target: str | None, cache: Path | None) -> Table:
    from sklearn.datasets import fetch_openml

    number = OPENML_IDS.get(source, source)
    try:
        data = fetch_openml(
            data_id=int(number),
            target_column=target or "default-target",
            data_home=cache,
            as_frame=False,
            parser="liac-arff",
            n_retries=1,
        )
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"OpenML table {source} (id {number}) could not be had: {error}; check the network, or give a file instead."
        ) from error
    if data.target is None or np.ndim(data.target) != 1:
        raise InputError(f"OpenML table {source} has no column, or several, that is its target by default: name one.")
    if not isinstance(data.data, np.ndarray):
        raise InputError(f"OpenML table {source} is a sparse one, which is not supported.")
    if data.categories and set(data.categories) & set(data.feature_names):
        named = next(column for column in data.feature_names if column in data.categories)
        raise InputError(f"OpenML table {source}: column {named!r} is not numeric; only the target may be text.")
    return make_table(source, data.data, np.asarray(data.target).astype(str), tuple(data.feature_names))

"""Tables: every format gives the same numbers, bad ones one clear sentence, and scaling never sees the test rows."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from moist.errors import InputError
from moist.mode.tables import Table, load_table, make_table, split_rows

ROWS = [("1.5", "2", "red"), ("-3", "4e2", "blue"), ("0", "5", "red"), ("7", "1", "green"), ("8", "2", "blue")]
FEATURES = np.array([[1.5, 2], [-3, 400], [0, 5], [7, 1], [8, 2]], dtype=np.float32)


def tsv(rows: list[tuple[str, ...]], header: str = "a\tb\ttarget") -> str:
    return "\n".join([header, *("\t".join(row) for row in rows)]) + "\n"


def csv(rows: list[tuple[str, ...]]) -> str:
    return "a,b,target\r\n" + "".join(",".join(f'"{cell}"' for cell in row) + "\r\n" for row in rows)


def arff(rows: list[tuple[str, ...]]) -> str:
    return (
        "% a comment\n@RELATION colours\n\n@ATTRIBUTE a NUMERIC\n@attribute 'b' real\n"
        "@attribute target {red, green, blue}\n@DATA\n% another\n" + "".join(", ".join(row) + "\n" for row in rows)
    )


@pytest.mark.parametrize(("suffix", "write"), [("tsv", tsv), ("csv", csv), ("arff", arff)])
@pytest.mark.parametrize("compressed", [False, True])
def test_formats_agree(
    tmp_path: Path, suffix: str, write: Callable[[list[tuple[str, ...]]], str], compressed: bool
) -> None:
    path = tmp_path / f"colours.{suffix}{'.gz' if compressed else ''}"
    content = write(ROWS).encode()
    path.write_bytes(gzip.compress(content) if compressed else content)
    table = load_table(str(path))
    assert table.name == "colours"
    np.testing.assert_array_equal(table.features, FEATURES)
    assert table.features.dtype == np.float32
    assert table.labels.dtype == np.int64
    assert table.classes == ("blue", "green", "red")
    assert table.labels.tolist() == [2, 0, 2, 1, 0]
    assert table.feature_names == ("a", "b")
    assert table.notes == ()


def test_target_column_by_name_by_convention_or_last(tmp_path: Path) -> None:
    rows = [("0", "1", "2"), ("1", "0", "4"), ("0", "3", "6"), ("1", "2", "8"), ("1", "2", "9")]

    def names(header: str, target: str | None = None) -> tuple[str, ...]:
        (tmp_path / "t.tsv").write_text(tsv(rows, header))
        return load_table(str(tmp_path / "t.tsv"), target).feature_names

    assert names("x\ty\tz") == ("x", "y")
    assert names("class\ty\tz") == ("y", "z")
    assert names("class\ttarget\tz") == ("class", "z")
    assert names("class\ttarget\tz", "z") == ("class", "target")


def test_classes_that_are_numbers_are_in_order_of_value() -> None:
    table = make_table("t", np.arange(12.0).reshape(6, 2), np.array(["10", "9", "1", "2", "10", "x"]))
    assert table.classes == ("1", "2", "9", "10", "x")
    assert table.labels.tolist() == [3, 2, 0, 1, 3, 4]


BAD = {
    "feature is text": (tsv([*ROWS, ("1", "many", "red")]), r"row 6, column 'b': 'many' is no number"),
    "cell is empty": (tsv([*ROWS, ("", "1", "red")]), r"row 6, column 'a': the cell is empty"),
    "missing mark": (tsv([*ROWS, ("1", "?", "red")]), r"row 6, column 'b': '\?' marks a missing value"),
    "NaN": (tsv([("nan", "1", "red"), *ROWS]), r"row 1, column 'a': the value is missing or not finite"),
    "too large": (tsv([*ROWS, ("1", "1e300", "red")]), r"row 6, column 'b': the value is missing or not finite"),
    "infinite": (tsv([*ROWS, ("1", "inf", "red")]), r"row 6, column 'b': the value is missing or not finite"),
    "target missing": (tsv([*ROWS, ("1", "2", "?")]), r"row 6: the target 'target' is missing"),
    "one class": (tsv([(a, b, "red") for a, b, _ in ROWS]), r"one class only \('red'\)"),
    "all constant": (tsv([("1", "2", c) for _, _, c in ROWS]), r"all 2 features are constant"),
    "ragged": (tsv([*ROWS, ("1", "2")]), r"row 6: it has 2 cells, but there are 3 columns"),
    "few rows": (tsv(ROWS[:4]), r"has 4 rows: a split into 60, 20 and 20% needs at least 5"),
    "no rows": (tsv([]), r"has column names, but no rows"),
    "empty": ("", r"is empty: its first line must name the columns"),
    "no header": (tsv(ROWS[1:], "1\t2\t3"), r"has no column names: its first line holds only numbers"),
    "same name twice": (tsv(ROWS, "a\ta\ttarget"), r"names column 'a' twice"),
    "single column": ("target\n" + "red\nblue\n" * 3, r"it needs at least one feature"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_tables_get_one_clear_sentence(tmp_path: Path, name: str) -> None:
    content, sentence = BAD[name]
    (tmp_path / "bad.tsv").write_text(content)
    with pytest.raises(InputError, match=sentence) as error:
        load_table(str(tmp_path / "bad.tsv"))
    assert "\n" not in str(error.value)
    assert str(error.value).endswith(".")


def test_other_bad_sources(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text(tsv(ROWS))
    with pytest.raises(InputError, match="has no column 'colour' for the target: its columns are a, b, target"):
        load_table(str(tmp_path / "t.tsv"), "colour")
    with pytest.raises(InputError, match="there is no file"):
        load_table(str(tmp_path / "none.csv"))
    with pytest.raises(InputError, match="there is no table 'digit'"):
        load_table("digit")
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,target\n1,2\n" * 50)[:-9])
    with pytest.raises(InputError, match="cannot be read as gzip"):
        load_table(str(tmp_path / "t.csv.gz"))
    damaged = bytearray(gzip.compress(b"a,target\n1,2\n" * 50))
    damaged[12] ^= 0xFF
    (tmp_path / "t.csv.gz").write_bytes(damaged)
    with pytest.raises(InputError, match="cannot be read as gzip"):
        load_table(str(tmp_path / "t.csv.gz"))
    (tmp_path / "long.csv").write_text(f"a,target\n{'1' * 200_000},2\n")
    with pytest.raises(InputError, match=r"long.csv is no table: field larger than"):
        load_table(str(tmp_path / "long.csv"))
    (tmp_path / "t.arff").write_text("@attribute\n@data\n1\n")
    with pytest.raises(InputError, match="has an @attribute line without a name"):
        load_table(str(tmp_path / "t.arff"))
    (tmp_path / "t.arff").write_text("@relation x\n@attribute a numeric\n")
    with pytest.raises(InputError, match="has no @data line"):
        load_table(str(tmp_path / "t.arff"))
    (tmp_path / "s.arff").write_text("@attribute a numeric\n@attribute class {x,y}\n@data\n{0 1, 1 x}\n")
    with pytest.raises(InputError, match="sparse ARFF"):
        load_table(str(tmp_path / "s.arff"))


def test_constant_features_are_noted(digits: Table) -> None:
    assert digits.features.shape == (1797, 64)
    assert len(digits.classes) == 10
    assert digits.notes == (
        "3 of 64 features of digits are constant and say nothing: pixel_0_0, pixel_4_0, pixel_4_7.",
    )


def test_split_deals_every_row_once_and_by_seed() -> None:
    split = split_rows(103, 7)
    assert [len(part) for part in split] == [61, 21, 21]
    assert sorted(np.concatenate(split).tolist()) == list(range(103))
    assert np.array_equal(split.test, split_rows(103, 7).test)
    assert not np.array_equal(split.test, split_rows(103, 8).test)

"""MNIST and Fashion-MNIST files: every layout read alike, every damage named."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from moist.data.idx import read_folder, read_idx
from moist.errors import InputError
from official_formats import grey, idx_bytes, write_idx


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("nested", ["", "MNIST/raw"])
def test_files_are_read_from_every_layout(tmp_path: Path, zipped: bool, nested: str) -> None:
    write_idx(tmp_path / nested, zipped=zipped)
    train, test = read_folder(tmp_path, "mnist")
    for split, (images, labels) in ((train, grey(40, 0)), (test, grey(20, 1))):
        np.testing.assert_array_equal(split.images, images)
        np.testing.assert_array_equal(split.labels, labels)
        assert split.labels.dtype == np.int64


def test_dotted_names_are_read(tmp_path: Path) -> None:
    for path in list(write_idx(tmp_path).iterdir()):
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    assert len(read_folder(tmp_path, "mnist")[0]) == 40


def test_the_data_set_is_found_by_its_name(tmp_path: Path) -> None:
    write_idx(tmp_path / "MNIST/raw", train=30)
    write_idx(tmp_path / "FashionMNIST/raw", train=50)
    assert len(read_folder(tmp_path, "mnist")[0]) == 30
    assert len(read_folder(tmp_path, "fashion-mnist")[0]) == 50
    with pytest.raises(InputError, match="No files of mnist"):
        read_folder(tmp_path / "FashionMNIST", "mnist")


def test_an_ambiguous_folder_is_refused(tmp_path: Path) -> None:
    write_idx(tmp_path / "a")
    write_idx(tmp_path / "b")
    with pytest.raises(InputError, match=r"Several folders .* \(a, b\)"):
        read_folder(tmp_path, "mnist")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No files of mnist"):
        read_folder(tmp_path, "mnist")
    write_idx(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match="no t10k-labels-idx1-ubyte"):
        read_folder(tmp_path, "mnist")


def test_labels_of_another_count_are_refused(tmp_path: Path) -> None:
    write_idx(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.arange(39) % 10))
    with pytest.raises(InputError, match=r"40 images but .* 39 labels"):
        read_folder(tmp_path, "mnist")


def test_a_set_without_images_is_refused(tmp_path: Path) -> None:
    write_idx(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_bytes(np.zeros((0, 6, 6))))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(0)))
    with pytest.raises(InputError, match="train-images-idx3-ubyte has no images"):
        read_folder(tmp_path, "mnist")


GOOD = idx_bytes(grey(5)[0])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (GOOD[:-1], "promises 180 values, it holds 179"),
        (GOOD + b"x", "holds more"),
        (GOOD[:10], "header has 10 of 16 bytes"),
        (b"", "starts with"),
        (b"\x00\x00\x0d\x03" + GOOD[4:], "starts with 00000d03"),
        (b"\x00\x00\x08\x01" + GOOD[4:], "starts with 00000801"),
        (GOOD[:4] + b"\xff" * 12, "claims shape"),
        (gzip.compress(GOOD)[:-12], "cannot be read"),
        (gzip.compress(GOOD[:-1]), "holds 179"),
        (gzip.compress(GOOD)[:12] + b"\xff" * 40, "cannot be read"),
    ],
)
def test_damaged_files_are_refused_by_name(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        read_idx(path, 3)
    assert str(path) in str(caught.value)

"""CIFAR files: both versions read alike, the wording of the held-out images true, hostile pickles refused."""

import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from moist.data.cifar import CLASSES_10, read_folder
from moist.errors import InputError
from official_formats import (
    channels_first,
    colour,
    python2_pickle,
    write_binary_ten,
    write_hundred,
    write_python_ten,
)
from PIL import Image

WRITERS = {"binary": write_binary_ten, "python": write_python_ten}


@pytest.mark.parametrize("version", WRITERS)
def test_both_versions_of_ten_give_the_images(tmp_path: Path, version: str) -> None:
    WRITERS[version](tmp_path / "below" / "cifar-10")
    found = read_folder(tmp_path, "cifar10")
    batches = [colour(20, number) for number in range(1, 6)]
    np.testing.assert_array_equal(found.train.images, np.concatenate([images for images, _ in batches]))
    np.testing.assert_array_equal(found.train.labels, np.concatenate([labels for _, labels in batches]))
    np.testing.assert_array_equal(found.test.images, colour(20, 0)[0])
    assert found.classes == CLASSES_10
    assert "not the official file" in found.note
    assert "missing" not in found.note


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("named", [True, False])
def test_both_versions_of_hundred_give_fine_labels_and_names(tmp_path: Path, binary: bool, named: bool) -> None:
    folder = write_hundred(tmp_path, binary=binary)
    if not named:
        (folder / ("fine_label_names.txt" if binary else "meta")).unlink()
    found = read_folder(tmp_path, "cifar100")
    for split, number in ((found.train, 0), (found.test, 1)):
        images, labels = colour(200, number, classes=100)
        np.testing.assert_array_equal(split.images, images)
        np.testing.assert_array_equal(split.labels, labels)
    assert found.classes[99] == ("thing_99" if named else "class 99")


@pytest.mark.parametrize("version", WRITERS)
def test_missing_training_batches_are_named(tmp_path: Path, version: str) -> None:
    WRITERS[version](tmp_path, batches=(1, 3))
    found = read_folder(tmp_path, "cifar10")
    assert len(found.train) == 40
    assert "from data_batch_1, data_batch_3 only (data_batch_2, data_batch_4, data_batch_5 missing)" in found.note


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_in_either_memory_order_are_read(tmp_path: Path, order: str) -> None:
    write_python_ten(tmp_path, batches=(1,))
    images, labels = colour(20, 1)
    batch = {"data": np.array(channels_first(images), order=order), "labels": labels.tolist()}
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(batch, protocol=2))
    np.testing.assert_array_equal(read_folder(tmp_path, "cifar10").train.images, images)


def test_a_python_two_pickle_is_read(tmp_path: Path) -> None:
    write_python_ten(tmp_path, batches=(1,))
    images, labels = colour(20, 1)
    content = python2_pickle(images, labels)
    np.testing.assert_array_equal(pickle.loads(content, encoding="bytes")[b"data"], channels_first(images))
    (tmp_path / "data_batch_1").write_bytes(content)
    found = read_folder(tmp_path, "cifar10")
    np.testing.assert_array_equal(found.train.images, images)
    np.testing.assert_array_equal(found.train.labels, labels)


class Command:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_hostile_pickle_runs_nothing(tmp_path: Path, protocol: int) -> None:
    folder = write_python_ten(tmp_path / "cifar")
    (folder / "data_batch_1").write_bytes(pickle.dumps({"data": Command(tmp_path / "ran")}, protocol=protocol))
    with pytest.raises(InputError, match=r"data_batch_1 .* hostile .*system"):
        read_folder(tmp_path, "cifar10")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(OrderedDict(data=1)),
        pickle.dumps(eval),
        pickle.dumps(np.array([{}], dtype=object), protocol=2),
        pickle.dumps({"data": np.zeros((2, 3072), np.float32), "labels": [0, 1]}, protocol=2),
        pickle.dumps({"data": np.zeros((2, 3071), np.uint8), "labels": [0, 1]}, protocol=2),
        pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1.0]}, protocol=2),
        pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}, protocol=2),
        pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 10]}, protocol=2),
        pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 2**70]}, protocol=2),
        pickle.dumps({"data": np.zeros((0, 3072), np.uint8), "labels": []}, protocol=2),
        pickle.dumps({"data": b"\0" * 6144, "labels": [0, 1]}, protocol=2),
        pickle.dumps([1, 2]),
        pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]}, protocol=2)[:-900],
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R.",
        b"\x80\x02}cnumpy\nndarray\n.",
        b"not a pickle",
        b"",
    ],
)
def test_other_pickles_are_refused(tmp_path: Path, content: bytes) -> None:
    write_python_ten(tmp_path)
    (tmp_path / "data_batch_2").write_bytes(content)
    with pytest.raises(InputError, match="data_batch_2"):
        read_folder(tmp_path, "cifar10")


@pytest.mark.parametrize("content", [b"", b"\0" * 3072, b"\0" * 6147, b"\x0a" + b"\0" * 3072])
def test_damaged_binary_files_are_refused(tmp_path: Path, content: bytes) -> None:
    write_binary_ten(tmp_path)
    (tmp_path / "data_batch_2.bin").write_bytes(content)
    with pytest.raises(InputError, match=r"data_batch_2\.bin"):
        read_folder(tmp_path, "cifar10")


def test_damaged_class_names_are_refused(tmp_path: Path) -> None:
    for binary, name, content in ((True, "fine_label_names.txt", b"one two"), (False, "meta", pickle.dumps({}))):
        folder = write_hundred(tmp_path / name, binary=binary)
        (folder / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name} names"):
            read_folder(folder, "cifar100")


def test_missing_files_and_ambiguous_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"No files of cifar10 .* expected data_batch"):
        read_folder(tmp_path, "cifar10")
    one = write_binary_ten(tmp_path / "one")
    with pytest.raises(InputError, match="No files of cifar100"):
        read_folder(tmp_path, "cifar100")
    (one / "test_batch.bin").unlink()
    with pytest.raises(InputError, match=r"test_batch\.bin is missing"):
        read_folder(tmp_path, "cifar10")
    write_binary_ten(tmp_path / "two")
    with pytest.raises(InputError, match=r"Several folders .*one, two"):
        read_folder(tmp_path, "cifar10")


@pytest.mark.parametrize("version", WRITERS)
def test_test_images_that_are_training_images_are_refused(tmp_path: Path, version: str) -> None:
    WRITERS[version](tmp_path)
    suffix = ".bin" if version == "binary" else ""
    (tmp_path / f"test_batch{suffix}").write_bytes((tmp_path / f"data_batch_5{suffix}").read_bytes())
    with pytest.raises(InputError, match="same images"):
        read_folder(tmp_path, "cifar10")


def test_the_real_held_out_batch_is_recognised_in_both_versions(tmp_path: Path, real_data: Path) -> None:
    mosaic = real_data / "cifar10" / "data_batch_5.webp"
    if not mosaic.is_file():
        pytest.skip("no CIFAR-10 in the real data")
    tiles = np.asarray(Image.open(mosaic).convert("RGB")).reshape(100, 32, 100, 32, 3).transpose(0, 2, 4, 1, 3)
    pixels = tiles.reshape(10_000, 3072)
    labels = np.load(mosaic.with_name("labels.npy"))[4]
    binary, python = tmp_path / "binary", tmp_path / "python"
    write_binary_ten(binary, batches=(1, 2, 3, 4))
    (binary / "test_batch.bin").write_bytes(np.concatenate([labels[:, None], pixels], axis=1).tobytes())
    write_python_ten(python, batches=(1, 2, 3, 4))
    batch = {"data": pixels, "labels": labels.tolist()}
    (python / "test_batch").write_bytes(pickle.dumps(batch, protocol=2))
    for folder in (binary, python):
        found = read_folder(folder, "cifar10")
        assert found.note.endswith(
            "only (data_batch_5 missing); the held-out images are official data_batch_5, NOT the official test batch"
        )
        assert np.bincount(found.test.labels).sum() == 10_000

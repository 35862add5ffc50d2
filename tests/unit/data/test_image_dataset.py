"""The stored data set: what is refused on building, equal bytes, and every kind of damage noticed."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from moist.data.dataset import Augmentation, ImageDataset, Split, build, load, save
from moist.errors import DamagedArtifactError, InputError
from official_formats import colour, grey
from safetensors.numpy import save_file

CLASSES = tuple("abcdefghij")


def make(train: Split | None = None, validation: Split | None = None, test: Split | None = None) -> ImageDataset:
    return build(
        "toy",
        CLASSES,
        Split(*colour(30, 1)) if train is None else train,
        Split(*colour(10, 2)) if validation is None else validation,
        Split(*colour(20, 3)) if test is None else test,
        augmentation=Augmentation(4, True),
        split_note="a note – with a dash",
        source="a source",
    )


def assert_equal(one: ImageDataset, other: ImageDataset) -> None:
    for name in one.splits:
        np.testing.assert_array_equal(one.splits[name].images, other.splits[name].images)
        np.testing.assert_array_equal(one.splits[name].labels, other.splits[name].labels)
    plain = [field.name for field in dataclasses.fields(one) if field.name not in one.splits]
    assert plain
    assert [getattr(one, name) for name in plain] == [getattr(other, name) for name in plain]


def test_statistics_are_those_of_the_training_images() -> None:
    dataset = make()
    scaled = dataset.train.images / 255
    np.testing.assert_allclose(dataset.mean, scaled.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(dataset.std, scaled.std(axis=(0, 1, 2)), rtol=1e-9)


def test_grey_images_get_a_channel() -> None:
    splits = [Split(*grey(20, seed)) for seed in range(3)]
    assert make(*splits).shape == (6, 6, 1)


def test_save_and_load_give_the_data_back_and_equal_bytes(tmp_path: Path) -> None:
    empty = Split(np.zeros((0, 32, 32, 3), np.uint8), np.zeros(0, np.int64))
    for number, dataset in enumerate((make(), make(validation=empty))):
        one, other = tmp_path / f"{number}a", tmp_path / f"{number}b"
        save(dataset, one)
        loaded = load(one)
        assert len(loaded.validation) == (0, 10)[number == 0]
        assert_equal(dataset, loaded)
        save(loaded, other)
        keys = list(json.loads((one / "dataset.json").read_text()))
        assert keys == sorted(keys)
        names = sorted(path.name for path in one.iterdir())
        assert names == ["dataset.json", "test.safetensors", "train.safetensors", "validation.safetensors"]
        assert [(one / name).read_bytes() for name in names] == [(other / name).read_bytes() for name in names]


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (np.zeros((20, 32), np.uint8), np.arange(20) % 10, "shape"),
        (np.zeros((20, 8, 8, 4), np.uint8), np.arange(20) % 10, "4 channels"),
        (np.zeros((20, 3, 8, 1), np.uint8), np.arange(20) % 10, "3x8 pixels"),
        (np.zeros((20, 8, 513, 1), np.uint8), np.arange(20) % 10, "8x513 pixels"),
        (np.zeros((20, 8, 8, 1), np.float32), np.arange(20) % 10, "float32"),
        (colour(20)[0], np.arange(20) % 11, "label 10; labels from 0 to 9"),
        (colour(20)[0], np.arange(20) % 10 - 1, "label -1"),
        (colour(20)[0], np.arange(20) % 9, r"class 9 \(j\)"),
        (colour(20)[0], np.arange(19) % 10, "20 images but 19 labels"),
        (colour(20)[0], np.arange(20) % 10 * 1.0, "float64"),
        (np.zeros((0, 32, 32, 3), np.uint8), np.zeros(0, np.int64), "no images"),
        (np.full((20, 8, 8, 1), 7, np.uint8), np.arange(20) % 10, "one value"),
    ],
)
def test_unusable_splits_are_refused(images: np.ndarray, labels: np.ndarray, said: str) -> None:
    split = Split(images, labels)
    with pytest.raises(InputError, match=said):
        make(split, split, split)


def test_splits_of_different_shapes_and_classless_tests_are_refused() -> None:
    with pytest.raises(InputError, match="test split: images are"):
        make(test=Split(*grey(20)))
    images, labels = colour(20)
    with pytest.raises(InputError, match="test split: class 9"):
        make(test=Split(images, labels % 9))


def damage_json(folder: Path, **changes: object) -> None:
    path = folder / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def pad(path: Path) -> None:
    path.write_text(path.read_text() + " " * (1 << 20))


def lie(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes((1 << 62).to_bytes(8, "little") + content[8:])


DAMAGES = {
    "no description": lambda folder: (folder / "dataset.json").unlink(),
    "no split": lambda folder: (folder / "validation.safetensors").unlink(),
    "truncated split": lambda folder: cut(folder / "train.safetensors"),
    "empty split file": lambda folder: (folder / "train.safetensors").write_bytes(b""),
    "header length lies": lambda folder: lie(folder / "test.safetensors"),
    "not json": lambda folder: (folder / "dataset.json").write_text("{"),
    "deep json": lambda folder: (folder / "dataset.json").write_text("[" * 100_000),
    "large json": lambda folder: pad(folder / "dataset.json"),
    "unknown key": lambda folder: damage_json(folder, extra=1),
    "another format": lambda folder: damage_json(folder, format="moist-images-2"),
    "NaN mean": lambda folder: damage_json(folder, mean=[float("nan")] * 3),
    "two means": lambda folder: damage_json(folder, mean=[0.5, 0.5]),
    "zero std": lambda folder: damage_json(folder, std=[0.0, 0.5, 0.5]),
    "fewer classes": lambda folder: damage_json(folder, classes=list("abc")),
    "a size left out": lambda folder: damage_json(folder, sizes={"train": 30, "test": 20}),
    "another shape": lambda folder: damage_json(folder, shape=[32, 31, 3]),
    "swapped splits": lambda folder: (folder / "train.safetensors").replace(folder / "test.safetensors"),
    "wide labels": lambda folder: save_file(
        {"images": colour(30)[0], "labels": colour(30)[1].astype(np.int32)}, folder / "train.safetensors"
    ),
    "another tensor": lambda folder: save_file(
        {"images": colour(30)[0], "labels": colour(30)[1], "more": np.zeros(1)}, folder / "train.safetensors"
    ),
    "label out of range": lambda folder: save_file(
        {"images": colour(30)[0], "labels": colour(30)[1] + 1}, folder / "train.safetensors"
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_noticed_on_loading(tmp_path: Path, damage: str) -> None:
    save(make(), tmp_path)
    DAMAGES[damage](tmp_path)
    with pytest.raises(DamagedArtifactError) as caught:
        load(tmp_path)
    assert str(tmp_path) in str(caught.value)

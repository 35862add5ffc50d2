"""Data sets by name: reproducible stratified splits without leakage, honest notes, clear refusals."""

import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from moist.data.dataset import ImageDataset, Split, save
from moist.data.sources import FASHION, NAMES, prepare
from moist.data.splits import stratified_split, stratified_subset
from moist.errors import InputError
from official_formats import write_binary_ten, write_hundred, write_idx, write_python_ten


def get(name: str, source: str | Path | None, cache: Path, **changes: Any) -> ImageDataset:
    settings: dict[str, Any] = {
        "seed": 0,
        "validation_fraction": 0.1,
        "test_fraction": 0.2,
        "train_limit": 0,
        "test_limit": 0,
        "augmentation": "auto",
        "cache": cache,
    }
    return prepare(name, source, **(settings | changes))


def keys(split: Split) -> list[bytes]:
    return [image.tobytes() for image in split.images]


@pytest.mark.parametrize("count", [0, 1, 7, 40, 99, 100])
def test_a_subset_keeps_each_class_share(count: int) -> None:
    labels = np.array([0] * 50 + [1] * 30 + [2] * 20)[np.random.default_rng(0).permutation(100)]
    chosen = stratified_subset(labels, count, seed=3)
    assert len(chosen) == len(set(chosen.tolist())) == count
    assert (np.diff(chosen) > 0).all()
    shares = np.bincount(labels[chosen], minlength=3) if count else np.zeros(3)
    assert (np.abs(shares - count * np.array([0.5, 0.3, 0.2])) < 1).all()
    np.testing.assert_array_equal(chosen, stratified_subset(labels, count, seed=3))
    if 1 < count < 99:
        assert chosen.tolist() != stratified_subset(labels, count, seed=4).tolist()


def test_a_split_is_a_partition() -> None:
    labels = np.arange(101) % 7
    kept, aside = stratified_split(labels, 0.3, seed=0)
    assert len(aside) == 30
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, aside])), np.arange(101))


def test_digits_are_split_by_seed_without_leakage(tmp_path: Path) -> None:
    dataset = get("digits", None, tmp_path)
    sizes = {name: len(split) for name, split in dataset.splits.items()}
    assert sizes == {"train": 1294, "validation": 144, "test": 359}
    assert dataset.shape == (8, 8, 1)
    assert dataset.train.images.max() == 255
    everything = [key for split in dataset.splits.values() for key in keys(split)]
    assert len(set(everything)) == len(everything) == 1797
    for split in dataset.splits.values():
        shares = np.bincount(split.labels) / len(split)
        np.testing.assert_allclose(shares, 0.1, atol=0.012)
    assert "no official test split: 0.2 of the images set aside by seed 0" in dataset.split_note
    assert "1,294 training, 144 validation, 359 test images" in dataset.split_note


def test_the_same_settings_give_the_same_bytes(tmp_path: Path) -> None:
    first, again, other = (
        get("digits", source, tmp_path, seed=seed) for source, seed in ((None, 5), ("bundled", 5), (None, 6))
    )
    for number, dataset in enumerate((first, again)):
        save(dataset, tmp_path / str(number))
    for path in (tmp_path / "0").iterdir():
        assert path.read_bytes() == (tmp_path / "1" / path.name).read_bytes()
    assert set(keys(first.test)) != set(keys(other.test))


def test_the_same_files_elsewhere_give_the_same_bytes(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "here" / "MNIST" / "raw")
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "here")
    for number, source in enumerate((folder, tmp_path / "here", archive)):
        save(get("mnist", source, tmp_path / "cache"), tmp_path / str(number))
    for path in (tmp_path / "0").iterdir():
        assert path.read_bytes() == (tmp_path / "1" / path.name).read_bytes()
        assert path.read_bytes() == (tmp_path / "2" / path.name).read_bytes()


def test_one_choice_does_not_move_another(tmp_path: Path) -> None:
    plain = get("digits", None, tmp_path)
    limited = get("digits", None, tmp_path, train_limit=500, validation_fraction=0.5)
    assert keys(plain.test) == keys(limited.test)
    assert not set(keys(limited.train)) & set(keys(limited.test))
    assert not set(keys(limited.validation)) & set(keys(limited.train))


def test_limits_take_a_stratified_subset_and_say_so(tmp_path: Path) -> None:
    folder = write_idx(tmp_path, train=400, test=200)
    dataset = get("fashion-mnist", folder, tmp_path, train_limit=100, test_limit=50, validation_fraction=0.2)
    assert [len(split) for split in dataset.splits.values()] == [80, 20, 50]
    assert np.bincount(dataset.test.labels).tolist() == [5] * 10
    assert "a subset of 100 of 400 training images, by seed 0" in dataset.split_note
    assert "a subset of 50 of 200 test images, by seed 0" in dataset.split_note
    assert dataset.classes == FASHION
    whole = get("fashion-mnist", folder, tmp_path, train_limit=400, validation_fraction=0)
    assert len(whole.train) == 400
    assert len(whole.validation) == 0
    assert "subset" not in whole.split_note


@pytest.mark.parametrize("form", ["folder", "gztar", "zip", "tar"])
@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar100"])
def test_folders_and_archives_are_read(tmp_path: Path, form: str, name: str) -> None:
    source = tmp_path / "source"
    if name == "mnist":
        write_idx(source / "MNIST" / "raw", zipped=True)
    elif name == "cifar10":
        write_python_ten(source / "cifar-10-batches-py")
    else:
        write_hundred(source / "cifar-100-binary", binary=True)
    if form != "folder":
        source = Path(shutil.make_archive(str(tmp_path / "archive"), form, source))
    dataset = get(name, source, tmp_path / "cache", validation_fraction=0)
    assert dataset.name == name
    assert len(dataset.train) == {"mnist": 40, "cifar10": 100, "cifar100": 200}[name]


@pytest.mark.parametrize(
    ("name", "choice", "padding", "flip"),
    [
        ("digits", "auto", 1, False),
        ("digits", "none", 0, False),
        ("digits", "shift+flip", 1, True),
        ("mnist", "auto", 2, False),
        ("fashion-mnist", "auto", 2, True),
        ("fashion-mnist", "shift", 2, False),
        ("cifar10", "auto", 4, True),
        ("cifar10", "none", 0, False),
    ],
)
def test_augmentation_suits_the_data_set(tmp_path: Path, name: str, choice: str, padding: int, flip: bool) -> None:
    write_idx(tmp_path)
    write_binary_ten(tmp_path)
    source = None if name == "digits" else tmp_path
    augmentation = get(name, source, tmp_path, augmentation=choice).augmentation
    assert (augmentation.padding, augmentation.flip) == (padding, flip)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "svhn"}, "Unknown data set 'svhn'; known are digits, mnist, fashion-mnist, cifar10, cifar100"),
        ({"source": "/some/where"}, "bundled; leave out the source '/some/where'"),
        ({"source": "download"}, "bundled; leave out the source 'download'"),
        ({"name": "mnist"}, "source=download"),
        ({"name": "cifar10", "source": "bundled"}, "source=download"),
        ({"augmentation": "rotate"}, "'rotate'; known are auto, none"),
        ({"seed": -1}, "seed is -1"),
        ({"validation_fraction": 1.0}, "validation_fraction is 1.0"),
        ({"validation_fraction": float("nan")}, "validation_fraction is nan"),
        ({"test_fraction": 0.0}, "test_fraction is 0.0"),
        ({"train_limit": -1}, "train_limit is -1"),
        ({"train_limit": 9}, "limit of 9 training images is below the number of classes, 10"),
        ({"test_limit": 5}, "limit of 5 test images"),
        ({"test_fraction": 0.001}, "test split: class"),
        ({"validation_fraction": 0.999}, "train split: class"),
    ],
)
def test_bad_settings_are_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said.replace("+", r"\+")):
        get(changes.pop("name", "digits"), changes.pop("source", None), tmp_path, **changes)


def test_files_already_downloaded_are_used(tmp_path: Path) -> None:
    write_idx(tmp_path / "MNIST" / "raw")
    write_idx(tmp_path / "FashionMNIST" / "raw", train=60)
    dataset = get("fashion-mnist", "download", tmp_path, validation_fraction=0)
    assert len(dataset.train) == 60
    assert dataset.source == "downloaded by torchvision"


def test_a_failed_download_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    with socket.socket() as unused:  # bound but not listening: connections are refused
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setattr(datasets.MNIST, "mirrors", [f"http://127.0.0.1:{unused.getsockname()[1]}/"])
        with pytest.raises(InputError, match=r"Downloading mnist into .* failed"):
            get("mnist", "download", tmp_path)


def test_preparing_needs_no_torch(tmp_path: Path) -> None:
    # In the slim image torch cannot be imported.
    code = f"""
import sys

class Slim:
    @staticmethod
    def find_spec(name, *_):
        if name.partition(".")[0] in ("torch", "torchvision"):
            raise ImportError(name)

sys.meta_path.insert(0, Slim)
from pathlib import Path
from moist.data.sources import prepare
from moist.data.dataset import save, load
from moist.errors import InputError
settings = dict(seed=0, validation_fraction=0.1, test_fraction=0.2, train_limit=0, test_limit=0, augmentation="auto")
folder = Path({str(tmp_path)!r})
save(prepare("digits", None, cache=folder, **settings), folder)
load(folder)
try:
    prepare("mnist", "download", cache=folder, **settings)
except InputError as error:
    assert "needs torchvision" in str(error)
else:
    raise SystemExit("downloaded without torchvision")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("name", "mean"), [("mnist", 0.1307), ("fashion-mnist", 0.2860)])
def test_the_real_data_has_its_published_mean(tmp_path: Path, real_data: Path, name: str, mean: float) -> None:
    if not (real_data / name).is_dir():
        pytest.skip(f"no {name} in the real data")
    dataset = get(name, real_data, tmp_path, validation_fraction=0)
    assert [len(split) for split in dataset.splits.values()] == [60_000, 0, 10_000]
    assert dataset.mean[0] == pytest.approx(mean, abs=5e-5)
    assert np.bincount(dataset.test.labels).tolist() == (
        [1000] * 10 if name == "fashion-mnist" else [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    )


def test_names_are_the_documented_ones() -> None:
    assert NAMES == ("digits", "mnist", "fashion-mnist", "cifar10", "cifar100")

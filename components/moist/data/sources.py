"""Data sets by name: bundled, downloaded, or from official files, made into one checked and split ImageDataset."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moist.data import cifar, idx
from moist.data.dataset import Augmentation, ImageDataset, Split, build
from moist.data.folders import opened
from moist.data.splits import stratified_split, stratified_subset
from moist.errors import InputError

DIGITS = tuple(str(digit) for digit in range(10))
FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
AUGMENTATIONS = ("auto", "none", "shift", "shift+flip")


@dataclass(frozen=True)
class _Raw:
    """A data set before it is split further; `test` is None where there is no official test split."""

    classes: tuple[str, ...]
    train: Split
    test: Split | None
    note: str


@dataclass(frozen=True)
class Kind:
    """What is known of a data set by its name.

    `padding` and `flip` are how its training images are varied; `torchvision` is its class there and the folder that it
    downloads to.
    """

    padding: int
    flip: bool
    classes: int = 10
    read: Callable[[Path, str], _Raw] | None = None
    torchvision: tuple[str, str] = ("", "")


def _read_idx(folder: Path, name: str) -> _Raw:
    train, test = idx.read_folder(folder, name)
    note = "The files' own train and test images"
    return _Raw(DIGITS if name == "mnist" else FASHION, train, test, note)


def _read_cifar(folder: Path, name: str) -> _Raw:
    found = cifar.read_folder(folder, name)
    return _Raw(found.classes, found.train, found.test, found.note)


KINDS = {
    "digits": Kind(padding=1, flip=False),
    "mnist": Kind(padding=2, flip=False, read=_read_idx, torchvision=("MNIST", "MNIST/raw")),
    "fashion-mnist": Kind(padding=2, flip=True, read=_read_idx, torchvision=("FashionMNIST", "FashionMNIST/raw")),
    "cifar10": Kind(padding=4, flip=True, read=_read_cifar, torchvision=("CIFAR10", "cifar-10-batches-py")),
    "cifar100": Kind(padding=4, flip=True, classes=100, read=_read_cifar, torchvision=("CIFAR100", "cifar-100-python")),
}
NAMES = tuple(KINDS)


def prepare(
    name: str,
    source: str | Path | None,
    *,
    seed: int,
    validation_fraction: float,
    test_fraction: float,
    train_limit: int,
    test_limit: int,
    augmentation: str,
    cache: Path,
) -> ImageDataset:
    """Read a data set and split it, the same way for the same settings.

    Args:
        name: one of NAMES.
        source: None or "bundled" (digits only), "download" (torchvision), or a folder or archive with official files.
        seed: 0 or more; every choice of samples depends on it alone.
        validation_fraction: share of the training images set aside, 0 (none) to below 1; taken after train_limit.
        test_fraction: share of all images that becomes the test split where there is no official one, above 0, below 1.
        train_limit: images to take of the training split, validation included; 0 takes all.
        test_limit: images to take of the test split; 0 takes all.
        augmentation: one of AUGMENTATIONS; "auto" is what suits the data set.
        cache: folder for downloads and unpacked archives; made when needed.

    Raises:
        InputError: an unknown name, a setting out of bounds, files that are missing, damaged or hostile.
        DiskFullError: no room to unpack an archive.
    """
    kind = KINDS.get(name)
    if kind is None:
        raise InputError(f"Unknown data set {name!r}; known are {', '.join(NAMES)}.")
    _check_settings(seed, validation_fraction, test_fraction, train_limit, test_limit)
    chosen = _augmentation(kind, augmentation)
    raw, origin = _read(name, kind, source, cache)
    notes = [raw.note]
    train, test = raw.train, raw.test
    # Each choice has a stream of its own (4 * seed + its number), so that one setting does not move another's choice.
    if test is None:
        kept, aside = stratified_split(train.labels, test_fraction, 4 * seed)
        train, test = train[kept], train[aside]
        notes.append(f"no official test split: {test_fraction:g} of the images set aside by seed {seed}")
    train = _limited(train, train_limit, 4 * seed + 1, "training", seed, len(raw.classes), notes)
    test = _limited(test, test_limit, 4 * seed + 2, "test", seed, len(raw.classes), notes)
    kept, aside = stratified_split(train.labels, validation_fraction, 4 * seed + 3)
    train, validation = train[kept], train[aside]
    if validation_fraction:
        notes.append(f"{validation_fraction:g} of the training images are for validation, by seed {seed}")
    notes.append(f"{len(train):,} training, {len(validation):,} validation, {len(test):,} test images")
    return build(
        name,
        raw.classes,
        train,
        validation,
        test,
        augmentation=chosen,
        split_note="; ".join(notes) + ".",
        source=origin,
    )


def _check_settings(seed: int, validation: float, test: float, train_limit: int, test_limit: int) -> None:
    if seed < 0:
        raise InputError(f"seed is {seed}; it must be 0 or more.")
    if not 0 <= validation < 1:
        raise InputError(f"validation_fraction is {validation}; it must be from 0 to below 1.")
    if not 0 < test < 1:
        raise InputError(f"test_fraction is {test}; it must be above 0 and below 1.")
    for name, limit in (("train_limit", train_limit), ("test_limit", test_limit)):
        if limit < 0:
            raise InputError(f"{name} is {limit}; it must be 0 (all) or more.")


def _augmentation(kind: Kind, augmentation: str) -> Augmentation:
    if augmentation not in AUGMENTATIONS:
        raise InputError(f"Unknown augmentation {augmentation!r}; known are {', '.join(AUGMENTATIONS)}.")
    if augmentation == "none":
        return Augmentation(padding=0, flip=False)
    flip = kind.flip if augmentation == "auto" else augmentation == "shift+flip"
    return Augmentation(kind.padding, flip)


def _limited(split: Split, limit: int, stream: int, what: str, seed: int, classes: int, notes: list[str]) -> Split:
    if limit == 0 or limit >= len(split):
        return split
    if limit < classes:
        raise InputError(f"The limit of {limit} {what} images is below the number of classes, {classes}; raise it.")
    notes.append(f"a subset of {limit:,} of {len(split):,} {what} images, by seed {seed}")
    return split[stratified_subset(split.labels, limit, stream)]


def check_source(name: str, source: str | Path) -> None:
    """Raises InputError where a known data set cannot come from this source."""
    bundled = KINDS[name].read is None
    if bundled and source != "bundled":
        raise InputError(f"Data set {name} is bundled; leave out the source {str(source)!r}.")
    if not bundled and source == "bundled":
        raise InputError(
            f"Data set {name} is not bundled; give its official files as a folder, an archive or an s3:// URI, "
            "or source=download."
        )


def _read(name: str, kind: Kind, source: str | Path | None, cache: Path) -> tuple[_Raw, str]:
    # The origin says what was read but not where it lay: the same files give the same bytes on every machine.
    source = "bundled" if source is None else source
    check_source(name, source)
    if kind.read is None:
        return _digits(), "bundled with scikit-learn"
    if source == "download":
        return kind.read(_download(name, kind, cache), name), "downloaded by torchvision"
    with opened(Path(source), cache) as folder:
        return kind.read(folder, name), "official files given by the user"


def _digits() -> _Raw:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    # Pixels count the set bits of a 4x4 block, 0 to 16.
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    return _Raw(DIGITS, Split(images, bunch.target.astype(np.int64)), None, "scikit-learn's 8x8 digits")


def _download(name: str, kind: Kind, cache: Path) -> Path:
    try:
        from torchvision import datasets
    except ImportError as error:
        raise InputError(
            f"Downloading {name} needs torchvision, which is not installed here; give a folder, an archive or an "
            "s3:// URI instead."
        ) from error
    class_name, folder = kind.torchvision
    try:
        getattr(datasets, class_name)(root=str(cache), download=True)
    except Exception as error:  # torchvision raises whatever its mirrors and files give it
        raise InputError(
            f"Downloading {name} into {cache} failed: {error}. Check the network, or give a folder, an archive or an "
            "s3:// URI."
        ) from error
    return cache / folder

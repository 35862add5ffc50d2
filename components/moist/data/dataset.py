"""An image data set in memory and in its folder: three splits as safetensors and one JSON description."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from moist.errors import DamagedArtifactError, InputError

SMALLEST_SIDE, LARGEST_SIDE = 4, 256
DESCRIPTION = "dataset.json"
LARGEST_DESCRIPTION_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class Split:
    """Images uint8 (N, H, W, C), 0-255, RGB or grey, and labels int64 (N,), 0 to classes - 1."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, indices: npt.NDArray[np.int64]) -> "Split":
        return Split(self.images[indices], self.labels[indices])


@dataclass(frozen=True)
class Augmentation:
    """How a training image may change: a random crop after `padding` zero pixels on each side, a horizontal flip."""

    padding: int
    flip: bool


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Three disjoint splits; `mean` and `std` are per channel, of the training images divided by 255."""

    name: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation
    split_note: str
    source: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels

    @property
    def splits(self) -> dict[str, Split]:
        return {"train": self.train, "validation": self.validation, "test": self.test}


def build(
    name: str,
    classes: tuple[str, ...],
    train: Split,
    validation: Split,
    test: Split,
    *,
    augmentation: Augmentation,
    split_note: str,
    source: str,
) -> ImageDataset:
    """Check the splits, add the channel axis to grey images (N, H, W), and measure mean and std.

    Raises InputError as `check` does, and where a channel has the same value in every pixel.
    """
    train, validation, test = (_with_channels(split) for split in (train, validation, test))
    check(name, classes, train, validation, test)
    mean, std = channel_statistics(train.images)
    if min(std) == 0:
        raise InputError(f"Data set {name}: a channel has one value in all training images, nothing can be learned.")
    return ImageDataset(name, classes, train, validation, test, mean, std, augmentation, split_note, source)


def check(name: str, classes: tuple[str, ...], train: Split, validation: Split, test: Split) -> None:
    """Raise InputError unless the splits are a data set that can be trained and tested on.

    Images must be uint8 (N, H, W) or (N, H, W, C) with 1 or 3 channels and sides of 4 to 256 pixels, alike in all
    splits; labels must be integers from 0 to classes - 1; only validation may be empty, and every class needs an image
    in train and in test.
    """
    if len(classes) < 2:
        raise InputError(f"Data set {name} has {len(classes)} classes; at least 2 are needed.")
    for split_name, split in (("train", train), ("validation", validation), ("test", test)):
        where = f"Data set {name}, {split_name} split"
        _check_images(where, split.images)
        if split.images.shape[1:] != train.images.shape[1:]:
            raise InputError(f"{where}: images are {split.images.shape[1:]}, but {train.images.shape[1:]} in train.")
        _check_labels(where, split, classes, every_class=split_name != "validation")


def _check_images(where: str, images: npt.NDArray[np.uint8]) -> None:
    if images.dtype != np.uint8:
        raise InputError(f"{where}: images are {images.dtype}; they must be uint8, 0-255.")
    if images.ndim not in (3, 4):
        raise InputError(f"{where}: images have shape {images.shape}; (N, H, W) or (N, H, W, C) is needed.")
    if images.ndim == 4 and images.shape[3] not in (1, 3):
        raise InputError(f"{where}: images have {images.shape[3]} channels; 1 (grey) or 3 (RGB) are allowed.")
    height, width = images.shape[1:3]
    if not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in (height, width)):
        raise InputError(
            f"{where}: images are {height}x{width} pixels; "
            f"sides from {SMALLEST_SIDE} to {LARGEST_SIDE} pixels are allowed."
        )


def _check_labels(where: str, split: Split, classes: tuple[str, ...], *, every_class: bool) -> None:
    labels = split.labels
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"{where}: labels are {labels.dtype} {labels.shape}; integers of shape (N,) are needed.")
    if len(labels) != len(split.images):
        raise InputError(f"{where}: {len(split.images)} images but {len(labels)} labels; the counts must be equal.")
    if len(labels) == 0:
        if every_class:
            raise InputError(f"{where} has no images; give a larger set, a larger fraction or a larger limit.")
        return
    wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(wrong):
        raise InputError(
            f"{where}: image {wrong[0]} has label {labels[wrong[0]]}; labels from 0 to {len(classes) - 1} are allowed."
        )
    missing = np.flatnonzero(np.bincount(labels, minlength=len(classes)) == 0)
    if every_class and len(missing):
        raise InputError(
            f"{where}: class {missing[0]} ({classes[missing[0]]}) has no images; every class needs at least one."
        )


def channel_statistics(images: npt.NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and (population) standard deviation per channel of images / 255, from uint8 (N, H, W, C); exact sums."""
    total = np.zeros(images.shape[3], np.int64)
    squares = np.zeros(images.shape[3], np.int64)
    for start in range(0, len(images), 1024):  # in parts, so that the wide integers stay small
        part = images[start : start + 1024].reshape(-1, images.shape[3]).astype(np.int64)
        total += part.sum(axis=0)
        squares += (part * part).sum(axis=0)
    count = images.size // images.shape[3]
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean * mean, 0))
    return tuple((mean / 255).tolist()), tuple((std / 255).tolist())


def _with_channels(split: Split) -> Split:
    images = split.images[..., np.newaxis] if split.images.ndim == 3 else split.images
    return Split(np.ascontiguousarray(images), np.ascontiguousarray(split.labels))


class _Augmentation(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    padding: int = Field(ge=0, le=LARGEST_SIDE)
    flip: bool


class _Description(BaseModel):
    """What dataset.json holds; the sizes and the shape repeat what the tensors say, so that a swapped file shows."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    format: Literal["moist-images-1"] = "moist-images-1"
    name: str
    classes: tuple[str, ...]
    sizes: dict[Literal["train", "validation", "test"], int]
    shape: tuple[int, int, int]
    mean: tuple[Annotated[float, Field(ge=0, le=1)], ...]
    std: tuple[Annotated[float, Field(gt=0, le=1)], ...]
    augmentation: _Augmentation
    split_note: str
    source: str


def save(dataset: ImageDataset, folder: Path) -> None:
    """Write train, validation and test .safetensors and dataset.json into `folder`; equal data gives equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, split in dataset.splits.items():
        tensors = {"images": split.images, "labels": split.labels.astype(np.int64)}
        save_file({key: np.ascontiguousarray(value) for key, value in tensors.items()}, folder / f"{name}.safetensors")
    description = _Description(
        name=dataset.name,
        classes=dataset.classes,
        sizes={"train": len(dataset.train), "validation": len(dataset.validation), "test": len(dataset.test)},
        shape=dataset.shape,
        mean=dataset.mean,
        std=dataset.std,
        augmentation=_Augmentation(padding=dataset.augmentation.padding, flip=dataset.augmentation.flip),
        split_note=dataset.split_note,
        source=dataset.source,
    )
    text = json.dumps(description.model_dump(), sort_keys=True, indent=1, ensure_ascii=False)
    (folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8")


def load(folder: Path) -> ImageDataset:
    """Read what `save` wrote. Raises DamagedArtifactError where a file is missing, damaged or of another data set."""
    description = _read_description(folder / DESCRIPTION)
    splits = {}
    for name, size in description.sizes.items():
        path = folder / f"{name}.safetensors"
        split = splits[name] = _read_split(path)
        if split.images.shape != (size, *description.shape):
            raise DamagedArtifactError(
                f"{path} holds images {split.images.shape}, but {DESCRIPTION} says {(size, *description.shape)}; "
                "prepare the data set again."
            )
    channels = description.shape[2]
    if len(description.mean) != channels or len(description.std) != channels:
        raise DamagedArtifactError(f"{folder / DESCRIPTION}: mean and std must have one value for each channel.")
    try:
        check(description.name, description.classes, splits["train"], splits["validation"], splits["test"])
    except InputError as error:
        raise DamagedArtifactError(f"{folder} is not a whole data set: {error}") from error
    return ImageDataset(
        name=description.name,
        classes=description.classes,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        mean=description.mean,
        std=description.std,
        augmentation=Augmentation(description.augmentation.padding, description.augmentation.flip),
        split_note=description.split_note,
        source=description.source,
    )


def _read_description(path: Path) -> _Description:
    if not path.is_file():
        raise DamagedArtifactError(f"{path} is missing; this folder is not a prepared data set.")
    size = path.stat().st_size
    if size > LARGEST_DESCRIPTION_BYTES:
        raise DamagedArtifactError(f"{path} has {size} bytes; at most {LARGEST_DESCRIPTION_BYTES} are allowed.")
    try:
        description = _Description.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise DamagedArtifactError(f"{path} is not a data set's description: {place}: {first['msg']}.") from error
    if len(description.sizes) != 3:
        raise DamagedArtifactError(f"{path}: sizes must name train, validation and test.")
    return description


def _read_split(path: Path) -> Split:
    if not path.is_file():
        raise DamagedArtifactError(f"{path} is missing; prepare the data set again.")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise DamagedArtifactError(f"{path} is not a whole safetensors file: {error}.") from error
    found = {key: f"{value.dtype} with {value.ndim} axes" for key, value in tensors.items()}
    wanted = {"images": "uint8 with 4 axes", "labels": "int64 with 1 axes"}
    if found != wanted:
        raise DamagedArtifactError(f"{path} holds {found}; a split of a data set holds {wanted}.")
    return Split(tensors["images"], tensors["labels"])

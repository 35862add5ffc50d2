"""MNIST and Fashion-MNIST: the idx files, gzipped or not, as published and as torchvision keeps them."""

import gzip
import math
import re
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt

from moist.data.dataset import LARGEST_SIDE, Split
from moist.data.folders import folders_with
from moist.errors import InputError

FILES = "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte (.gz or not)"
MOST_IMAGES = 10_000_000


def read_folder(root: Path, name: str) -> tuple[Split, Split]:
    """Read the four idx files at or below `root`: (train, test), images uint8 (N, H, W).

    Where several folders hold such files, the one on a path with a folder called like the data set is taken (`MNIST`,
    `fashion-mnist`), never one called like the other data set.

    Raises InputError where a file is missing, truncated or garbled, or where the choice is ambiguous.
    """
    folder = _choose(root, folders_with(root, r"train-images[-.]idx3-ubyte(\.gz)?"), name)
    splits = []
    for part in ("train", "t10k"):
        images_file, labels_file = _find(folder, f"{part}-images", 3), _find(folder, f"{part}-labels", 1)
        images, labels = read_idx(images_file, 3), read_idx(labels_file, 1)
        if len(images) != len(labels):
            raise InputError(f"{images_file} has {len(images)} images but {labels_file} has {len(labels)} labels.")
        if not len(images):
            raise InputError(f"{images_file} has no images.")
        splits.append(Split(images, labels.astype(np.int64)))
    return splits[0], splits[1]


def _choose(root: Path, folders: list[Path], name: str) -> Path:
    def called(folder: Path, wanted: str) -> bool:
        parts = (root.name, *folder.relative_to(root).parts)
        return wanted in (re.sub("[^a-z0-9]", "", part.lower()) for part in parts)

    own, other = ("mnist", "fashionmnist") if name == "mnist" else ("fashionmnist", "mnist")
    candidates = [folder for folder in folders if not called(folder, other) or called(folder, own)]
    named = [folder for folder in candidates if called(folder, own)]
    candidates = named if len(candidates) > 1 and named else candidates
    if not candidates:
        raise InputError(f"No files of {name} at or below {root}; expected {FILES}.")
    if len(candidates) > 1:
        listed = ", ".join(str(folder.relative_to(root)) for folder in candidates[:5])
        raise InputError(f"Several folders below {root} could be {name} ({listed}); give the one you mean.")
    return candidates[0]


def _find(folder: Path, stem: str, dimensions: int) -> Path:
    for separator in "-.":
        for suffix in ("", ".gz"):
            path = folder / f"{stem}{separator}idx{dimensions}-ubyte{suffix}"
            if path.is_file():
                return path
    raise InputError(f"{folder} has no {stem}-idx{dimensions}-ubyte; all of {FILES} are needed.")


def read_idx(path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """Read one idx file of unsigned bytes: uint8, (N,) or (N, H, W) by `dimensions`.

    The format: two zero bytes, 0x08 for unsigned bytes, the number of dimensions, each size as a big-endian uint32,
    then the values. Raises InputError where the file differs from that in any byte count.
    """
    try:
        with path.open("rb") as raw:
            is_gzip = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if is_gzip:
                # GzipFile reads as a binary file does, but is not declared as one.
                return _parse(path, cast(BinaryIO, gzip.GzipFile(fileobj=raw)), dimensions)
            return _parse(path, raw, dimensions)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read as an idx file: {error}.") from error


def _parse(path: Path, file: BinaryIO, dimensions: int) -> npt.NDArray[np.uint8]:
    expected = bytes((0, 0, 8, dimensions))
    magic = file.read(4)
    if magic != expected:
        raise InputError(f"{path} starts with {magic.hex()}; an idx file of this kind starts with {expected.hex()}.")
    header = file.read(4 * dimensions)
    if len(header) != 4 * dimensions:
        raise InputError(f"{path} is truncated: its header has {4 + len(header)} of {4 + 4 * dimensions} bytes.")
    shape = tuple(int(size) for size in np.frombuffer(header, ">u4"))
    # Bounded before anything is read, so that a header that lies cannot ask for all the memory.
    if shape[0] > MOST_IMAGES or any(side > LARGEST_SIDE for side in shape[1:]) or math.prod(shape) > 4 << 30:
        raise InputError(f"{path} claims shape {shape}; at most {MOST_IMAGES} images of {LARGEST_SIDE} pixels a side.")
    size = math.prod(shape)
    values = file.read(size + 1)
    if len(values) != size:
        found = "more" if len(values) > size else str(len(values))
        raise InputError(f"{path} is truncated or garbled: its header promises {size} values, it holds {found}.")
    return np.frombuffer(values, np.uint8).reshape(shape)

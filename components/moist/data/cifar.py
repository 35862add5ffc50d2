"""CIFAR-10 and CIFAR-100: the official binary and python versions, read without trusting their pickles."""

import hashlib
import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from moist.data.dataset import Split
from moist.data.folders import folders_with
from moist.errors import InputError

PIXELS = 3 * 32 * 32
LARGEST_FILE_BYTES = 1 << 30
CLASSES_10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# SHA-1 of the official binary files, as published with Apache MXNet's CIFAR10 data set.
OFFICIAL_SHA1 = {
    "aadd24acce27caa71bf4b10992e9e7b2d74c2540": "data_batch_1",
    "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795": "data_batch_2",
    "1dd00a74ab1d17a6e7d73e185b69dbf31242f295": "data_batch_3",
    "aab85764eb3584312d3c7f65fd2fd016e36a258e": "data_batch_4",
    "26e2849e66a845b7f1e4614ae70f4889ae604628": "data_batch_5",
    "67eb016db431130d61cd03c7ad570b013799c88c": "test_batch",
}


@dataclass(frozen=True)
class Cifar:
    """What was found: two splits of uint8 (N, 32, 32, 3), the class names, and in words what the files are."""

    train: Split
    test: Split
    classes: tuple[str, ...]
    note: str


def read_folder(root: Path, name: str) -> Cifar:
    """Read CIFAR-10 or CIFAR-100 (`cifar10`, `cifar100`, fine labels) from official files at or below `root`.

    The binary version is preferred where both are there. CIFAR-10 may lack some data_batch files, but not all.

    Raises InputError where files are missing, truncated, garbled or hostile, or where several folders could be meant.
    """
    ten = name == "cifar10"
    binary = (r"data_batch_[1-5]\.bin",) if ten else (r"train\.bin", r"test\.bin")
    python = (r"data_batch_[1-5]",) if ten else ("train", "test")
    folders, suffix = folders_with(root, *binary), ".bin"
    if not folders:
        folders, suffix = folders_with(root, *python), ""
    if not folders:
        files = "data_batch_1..5 and test_batch" if ten else "train and test"
        raise InputError(f"No files of {name} at or below {root}; expected {files}, as .bin or as the python version.")
    if len(folders) > 1:
        listed = ", ".join(str(folder.relative_to(root)) for folder in folders[:5])
        raise InputError(f"Several folders below {root} could be {name} ({listed}); give the one you mean.")
    return _read_ten(folders[0], suffix) if ten else _read_hundred(folders[0], suffix)


def _read_ten(folder: Path, suffix: str) -> Cifar:
    read: Callable[[Path], _Rows] = _binary_ten if suffix else _python_ten
    numbers = [number for number in range(1, 6) if (folder / f"data_batch_{number}{suffix}").is_file()]
    train = [read(folder / f"data_batch_{number}{suffix}") for number in numbers]
    test = read(folder / f"test_batch{suffix}")
    digests = [rows.sha1() for rows in (*train, test)]
    if len(set(digests)) < len(digests):
        raise InputError(f"Two of the batch files in {folder} hold the same images; train and test must not overlap.")
    labels = [f"data_batch_{number}" for number in numbers]
    missing = [f"data_batch_{number}" for number in range(1, 6) if number not in numbers]
    note = f"Training images from {', '.join(labels)}" + (f" only ({', '.join(missing)} missing)" if missing else "")
    held_out = OFFICIAL_SHA1.get(digests[-1])
    if held_out == "test_batch":
        note += "; tested on the official test batch (SHA-1 checked)"
    elif held_out:
        note += f"; the held-out images are official {held_out}, NOT the official test batch"
    else:
        note += f"; the held-out images come from test_batch{suffix}, which is not the official file"
    return Cifar(_join(train), test.split(), CLASSES_10, note)


def _read_hundred(folder: Path, suffix: str) -> Cifar:
    read: Callable[[Path], _Rows] = _binary_hundred if suffix else _python_hundred
    train, test = read(folder / f"train{suffix}"), read(folder / f"test{suffix}")
    if train.sha1() == test.sha1():
        raise InputError(f"The train and test files in {folder} hold the same images; they must not overlap.")
    return Cifar(train.split(), test.split(), _names_hundred(folder, suffix), "The files' own train and test images")


def _names_hundred(folder: Path, suffix: str) -> tuple[str, ...]:
    path = folder / ("fine_label_names.txt" if suffix else "meta")
    if not path.is_file():
        return tuple(f"class {number}" for number in range(100))
    if suffix:
        names = _read_bytes(path).decode("utf-8", errors="replace").split()
    else:
        stored = _unpickle(path).get("fine_label_names")
        names = [_text(name) for name in stored] if isinstance(stored, list) else []
    if len(set(names)) != 100:
        raise InputError(f"{path} names {len(set(names))} classes; CIFAR-100 has 100.")
    return tuple(names)


@dataclass(frozen=True)
class _Rows:
    """Labels and pixels of one file: int64 (N,) and uint8 (N, 3072), channels first."""

    labels: npt.NDArray[np.int64]
    pixels: npt.NDArray[np.uint8]

    def sha1(self) -> str:
        """The digest of the rows as the binary version of CIFAR-10 has them, so that both versions compare."""
        rows = np.concatenate([self.labels[:, np.newaxis].astype(np.uint8), self.pixels], axis=1)
        return hashlib.sha1(rows.tobytes(), usedforsecurity=False).hexdigest()

    def split(self) -> Split:
        return Split(np.ascontiguousarray(self.pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), self.labels)


def _join(batches: list[_Rows]) -> Split:
    pixels = np.concatenate([rows.pixels for rows in batches])
    return _Rows(np.concatenate([rows.labels for rows in batches]), pixels).split()


def _read_bytes(path: Path) -> bytes:
    if not path.is_file():
        raise InputError(f"{path} is missing; all of the data set's official files but some data_batch are needed.")
    size = path.stat().st_size
    if size > LARGEST_FILE_BYTES:
        raise InputError(f"{path} has {size} bytes; no CIFAR file is larger than {LARGEST_FILE_BYTES}.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}.") from error


def _binary(path: Path, label_bytes: int, classes: int) -> _Rows:
    content = _read_bytes(path)
    width = label_bytes + PIXELS
    if not content or len(content) % width:
        raise InputError(f"{path} has {len(content)} bytes; whole rows of {width} bytes are expected: truncated?")
    rows = np.frombuffer(content, np.uint8).reshape(-1, width)
    return _checked(path, rows[:, label_bytes - 1].tolist(), rows[:, label_bytes:], classes)


def _binary_ten(path: Path) -> _Rows:
    return _binary(path, 1, 10)


def _binary_hundred(path: Path) -> _Rows:
    return _binary(path, 2, 100)  # the coarse label, then the fine one


def _python_ten(path: Path) -> _Rows:
    return _python(path, "labels", 10)


def _python_hundred(path: Path) -> _Rows:
    return _python(path, "fine_labels", 100)


def _python(path: Path, key: str, classes: int) -> _Rows:
    batch = _unpickle(path)
    data, labels = batch.get("data"), batch.get(key)
    if not isinstance(data, _Array) or data.values is None or data.values.shape[1:] != (PIXELS,):
        raise InputError(f"{path}: 'data' must be a uint8 array of {PIXELS} columns; this is not a CIFAR file.")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise InputError(f"{path}: '{key}' must be a list of integers; this is not a CIFAR file.")
    if len(labels) != len(data.values):
        raise InputError(f"{path} has {len(data.values)} images but {len(labels)} labels.")
    return _checked(path, labels, data.values, classes)


def _checked(path: Path, labels: list[int], pixels: npt.NDArray[np.uint8], classes: int) -> _Rows:
    if len(labels) == 0 or min(labels) < 0 or max(labels) >= classes:
        raise InputError(f"{path}: it needs at least one image, and labels from 0 to {classes - 1}.")
    return _Rows(np.array(labels, np.int64), pixels)


class _Dtype:
    """Stands in for numpy.dtype in a pickle: unsigned bytes, and nothing else."""

    def __init__(self, code: str | bytes, *_: object) -> None:
        if _text(code) != "u1":
            raise pickle.UnpicklingError(f"an array of {code!r}")

    def __setstate__(self, state: object) -> None:
        pass  # byte order and the like say nothing about single bytes


class _Array:
    """Stands in for numpy.ndarray in a pickle: numpy's own loader trusts what the file says about memory."""

    values: npt.NDArray[np.uint8] | None = None

    def __setstate__(self, state: tuple[int, tuple[int, ...], _Dtype, bool, bytes | str]) -> None:
        _, shape, dtype, fortran, content = state
        if not isinstance(dtype, _Dtype) or len(shape) != 2:
            raise pickle.UnpicklingError("an array that is not a table of bytes")
        raw = _encode(content) if isinstance(content, str) else content
        self.values = np.frombuffer(raw, np.uint8).reshape(shape, order="F" if fortran else "C")


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _encode(text: str, *_: object) -> bytes:
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,  # how Python 3 writes bytes in the old protocols
}


class _Unpickler(pickle.Unpickler):
    """Builds dicts, lists, strings, numbers and byte tables; any other name in the file is refused, never imported."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return _ALLOWED[module, name]


def _unpickle(path: Path) -> dict[str, Any]:
    content = _read_bytes(path)
    try:
        loaded = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a garbled pickle can raise anything
        raise InputError(
            f"{path} is not a CIFAR file of the python version: it is truncated, garbled or hostile "
            f"({type(error).__name__}: {error})."
        ) from error
    if not isinstance(loaded, dict):
        raise InputError(f"{path} holds a {type(loaded).__name__}; a CIFAR file of the python version holds a dict.")
    return {_text(key): value for key, value in loaded.items()}


def _text(value: object) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)

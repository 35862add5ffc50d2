"""Writes small data sets in the official file formats, for the tests of their readers."""

import gzip
import pickle
import struct
from pathlib import Path

import numpy as np


def grey(count: int, seed: int = 0, side: int = 6, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Distinct random images uint8 (count, side, side) and labels 0, 1, .. classes - 1, 0, .."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, side, side), np.uint8), np.arange(count) % classes


def colour(count: int, seed: int = 0, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Distinct random images uint8 (count, 32, 32, 3) and labels in turn."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 32, 32, 3), np.uint8), np.arange(count) % classes


def idx_bytes(values: np.ndarray) -> bytes:
    header = bytes((0, 0, 8, values.ndim)) + b"".join(struct.pack(">I", size) for size in values.shape)
    return header + values.astype(np.uint8).tobytes()


def write_idx(folder: Path, *, zipped: bool = False, train: int = 40, test: int = 20, seed: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part, count, offset in (("train", train, 0), ("t10k", test, 1)):
        images, labels = grey(count, 2 * seed + offset)
        for name, values in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
            if zipped:
                (folder / f"{name}.gz").write_bytes(gzip.compress(idx_bytes(values)))
            else:
                (folder / name).write_bytes(idx_bytes(values))
    return folder


def channels_first(images: np.ndarray) -> np.ndarray:
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1)


def write_binary_ten(folder: Path, batches: tuple[int, ...] = (1, 2, 3, 4, 5), count: int = 20) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in (*batches, 0):
        images, labels = colour(count, number)
        rows = np.concatenate([labels[:, None].astype(np.uint8), channels_first(images)], axis=1)
        (folder / (f"data_batch_{number}.bin" if number else "test_batch.bin")).write_bytes(rows.tobytes())
    (folder / "batches.meta.txt").write_text("airplane\nautomobile\n")
    return folder


def write_python_ten(folder: Path, batches: tuple[int, ...] = (1, 2, 3, 4, 5), count: int = 20) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in (*batches, 0):
        images, labels = colour(count, number)
        batch = {"data": channels_first(images), "labels": labels.tolist(), "batch_label": "a batch"}
        path = folder / (f"data_batch_{number}" if number else "test_batch")
        path.write_bytes(pickle.dumps(batch, protocol=2))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": ["airplane"]}, protocol=2))
    return folder


def write_hundred(folder: Path, *, binary: bool, count: int = 200) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"thing_{number}" for number in range(100)]
    for number, part in enumerate(("train", "test")):
        images, fine = colour(count, number, classes=100)
        coarse = fine % 20
        if binary:
            labels = np.stack([coarse, fine], axis=1).astype(np.uint8)
            rows = np.concatenate([labels, channels_first(images)], axis=1)
            (folder / f"{part}.bin").write_bytes(rows.tobytes())
        else:
            batch = {"data": channels_first(images), "fine_labels": fine.tolist(), "coarse_labels": coarse.tolist()}
            (folder / part).write_bytes(pickle.dumps(batch, protocol=2))
    if binary:
        (folder / "fine_label_names.txt").write_text("\n".join(names) + "\n")
    else:
        (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": names}, protocol=2))
    return folder


def python2_pickle(images: np.ndarray, labels: np.ndarray) -> bytes:
    """A batch as Python 2 and numpy 1 wrote it, which is how the official files are: byte strings, old module names."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes((len(value),)) + value

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    data = channels_first(images).tobytes()
    dtype = b"cnumpy\ndtype\n(" + text(b"u1") + number(0) + number(1) + b"tR"
    dtype += b"(" + number(3) + text(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(" + number(0) + b"t" + text(b"b") + b"tR"
    array += b"(" + number(1) + b"(" + number(len(images)) + number(3072) + b"t" + dtype + b"\x89"
    array += b"T" + struct.pack("<i", len(data)) + data + b"tb"
    listed = b"](" + b"".join(number(int(label)) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(b"labels") + listed + b"u."

"""Files made to harm: a safetensors header that lies, JSON bombs, numbers that are none; each is one sentence."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from moist.data import clusters, logits
from moist.errors import DamagedArtifactError

CLASSES = ("a", "b", "c")


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    labels = np.arange(6) % 3
    logits.save(tmp_path, np.zeros((2, 6, 3), np.float32), labels, CLASSES, 0)
    logits.load(tmp_path)
    return tmp_path


def tensors(folder: Path, **changes: object) -> None:
    """Rewrite the header of the tensors and keep their bytes."""
    path = folder / "logits.safetensors"
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    header["logits"] |= changes
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size :])


def described(folder: Path, text: str) -> None:
    (folder / "logits.json").write_text(text)


HOSTILE: dict[str, Callable[[Path], None]] = {
    "offsets beyond the file": lambda f: tensors(f, data_offsets=[0, 2**40]),
    "offsets that overlap": lambda f: tensors(f, data_offsets=[8, 80]),
    "a shape larger than the bytes": lambda f: tensors(f, shape=[2**31, 6, 3]),
    "a shape whose size overflows": lambda f: tensors(f, shape=[2**33, 2**33, 3]),
    "a negative shape": lambda f: tensors(f, shape=[-2, 6, 3]),
    "another type": lambda f: tensors(f, dtype="F64"),
    "a type that is none": lambda f: tensors(f, dtype="OBJECT"),
    "a header of a terabyte": lambda f: (
        (f / "logits.safetensors").write_bytes(struct.pack("<Q", 2**40) + b"{}") and None
    ),
    "no header": lambda f: (f / "logits.safetensors").write_bytes(b"") and None,
    "deep JSON": lambda f: described(f, "[" * 200_000),
    "JSON of another kind": lambda f: described(f, "[1, 2]"),
    "no JSON": lambda f: described(f, "classes"),
    "bytes that are no text": lambda f: (f / "logits.json").write_bytes(b"\xff\xfe") and None,
    "a seed that is infinite": lambda f: described(f, '{"classes": ["a", "b", "c"], "view_seed": 1e999}'),
    "a seed that is negative": lambda f: described(f, '{"classes": ["a", "b", "c"], "view_seed": -1}'),
    "a seed of many digits": lambda f: described(f, '{"classes": ["a", "b", "c"], "view_seed": ' + "9" * 100_000 + "}"),
    "classes that are one text": lambda f: described(f, '{"classes": 7, "view_seed": 0}'),
    "too few classes": lambda f: described(f, '{"classes": ["a"], "view_seed": 0}'),
    "a huge description": lambda f: described(f, json.dumps({"classes": ["x" * 1_000_000] * 3, "view_seed": 0})),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_logits_are_refused(name: str, stored: Path) -> None:
    HOSTILE[name](stored)
    with pytest.raises(DamagedArtifactError) as met:
        logits.load(stored)
    assert len(str(met.value)) < 1000


def test_logits_that_are_not_numbers_are_refused(stored: Path) -> None:
    values = np.zeros((2, 6, 3), np.float32)
    values[1, 2, 1] = np.nan
    logits.save(stored, values, np.arange(6) % 3, CLASSES, 0)
    with pytest.raises(DamagedArtifactError, match="not finite"):
        logits.load(stored)


def partition(clusters: str) -> str:
    rest = '"classes": [], "mean_logits": [], "similarity": [], "criterion": "", "scores": {}'
    return f'{{{rest}, "clusters": {clusters}}}'


@pytest.mark.parametrize(
    "text",
    [
        *("[" * 200_000, '{"classes": 1}', "[]", partition("[[0, 1], [1, 2]]"), partition("[[0, 1, 2], []]")),
        *(partition("[[0, 1, -2]]"), partition("[[1e999]]"), partition(f"[[{'9' * 100_000}]]")),
    ],
    ids=range(8),
)
def test_hostile_clusters_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "clusters.json").write_text(text)
    with pytest.raises(DamagedArtifactError) as met:
        clusters.load(tmp_path, 3)
    assert len(str(met.value)) < 1000

"""A data set whose official files lie in an object store."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from moist.data.dataset import load
from moist.runtime.contract import execute
from moist.runtime.local_store import store
from moist.runtime.store import Store
from moist.runtime.task import parse_task
from moist.stages.prepare_data.program import prepare_data
from moist.stages.prepare_data.settings import STAGE


def idx(values: np.ndarray) -> bytes:
    header = struct.pack(">BBBB", 0, 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    return gzip.compress(header + values.astype(np.uint8).tobytes())


def test_official_files_are_fetched_from_an_s3_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    folder = tmp_path / "files"
    folder.mkdir()
    for part, count in (("train", 40), ("t10k", 20)):
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(random.integers(0, 256, (count, 28, 28))))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(np.arange(count) % 10))
    outputs = ["--dataset", str(tmp_path / "dataset"), "--metrics", str(tmp_path / "metrics")]
    with store(tmp_path / "store") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        remote = Store.of(environment)
        remote.ensure_bucket("data")
        remote.upload(folder, "s3://data/sets/mnist")
        execute(
            parse_task(STAGE, ["--name", "mnist", "--source", "s3://data/sets/mnist", *outputs]), STAGE, prepare_data
        )
    found = load(tmp_path / "dataset")
    assert found.shape == (28, 28, 1)
    assert len(found.train) + len(found.validation) == 40
    assert len(found.test) == 20

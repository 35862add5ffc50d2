"""A container's CPU limit is heeded; without one, or where OMP_NUM_THREADS says how many, nothing changes."""

import os
from collections.abc import Iterator

import joblib
import pytest
import torch
from moist.runtime import cores


@pytest.fixture(autouse=True)
def three_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("allowed", "threads"), [(8, 3), (6, 3), (2, 2), (1, 1)])
def test_there_are_no_more_threads_than_usable_cores(
    allowed: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joblib, "cpu_count", lambda: allowed)
    cores.keep_to_the_limit()
    assert torch.get_num_threads() == threads


def test_what_omp_num_threads_says_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joblib, "cpu_count", lambda: 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    cores.keep_to_the_limit()
    assert torch.get_num_threads() == 3

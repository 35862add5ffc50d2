"""Small tables that the tests of MoDE share."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from moist.mode.tables import Table, load_table, make_table


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """These tensors are so small that a second thread only waits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def digits() -> Table:
    """scikit-learn's digits, float32."""
    return load_table("digits")


@pytest.fixture(scope="session")
def small_digits(digits: Table) -> Table:
    """200 digits in float64, in which two ways to compute the same agree to many places."""
    return digits._replace(features=digits.features[:200].astype(np.float64), labels=digits.labels[:200])


@pytest.fixture
def blobs() -> Table:
    """90 points around three centres, easy to tell apart."""
    random = np.random.default_rng(0)
    labels = np.arange(90) % 3
    features = random.normal(size=(90, 4)) + 6 * np.eye(4)[labels]
    return make_table("blobs", features, labels.astype(str))

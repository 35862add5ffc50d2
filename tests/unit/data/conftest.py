"""Where the real data lies, for the tests that use it."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    beside = Path(__file__).resolve().parents[4] / "shared" / "data"
    folder = Path(os.environ.get("MOIST_TEST_DATA", beside))
    if not folder.is_dir():
        pytest.skip("no real data: set MOIST_TEST_DATA to its folder")
    return folder

"""Memory that training frees stays with the process."""

import subprocess
import sys

import pytest

MANY = """
import resource, sys, torch
from moist.training.memory import keep_freed
if sys.argv[1] == "kept":
    keep_freed()
torch.set_num_threads(1)
for _ in range(50):
    torch.ones(2**25, dtype=torch.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(2**25, dtype=torch.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
"""The page faults of ten tensors of 32 MB one after the other, each freed before the next; some came before."""


@pytest.mark.skipif(sys.platform != "linux", reason="the page faults of glibc's allocator")
def test_large_tensors_take_the_place_of_those_that_were_freed() -> None:
    def faults(mode: str) -> int:
        command = [sys.executable, "-c", MANY, mode]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert faults("kept") < 100 < faults("given back")

"""A program for the tests of the fork server: says what it finds in its process, then does as it is told."""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

STATE: list[str] = []
"""Of its own in each process."""


def main() -> None:
    """Arguments: the file to write to, and what to do then."""
    out, ending = Path(sys.argv[1]), sys.argv[2]
    STATE.append(ending)
    facts = {
        "name": __name__,
        "environment": dict(os.environ),
        "folder": os.getcwd(),  # noqa: PTH109 - as a program sees it
        "state": STATE,
        "random": random.random(),
        "numpy": float(np.random.rand()),
        "torch": torch.get_num_threads(),
        "imported": "json.tool" in sys.modules,
        "interrupts": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "held back": len(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "pid": os.getpid(),
    }
    out.with_suffix(".part").write_text(json.dumps(facts))
    out.with_suffix(".part").replace(out)
    os.environ["LEFT_BEHIND"] = "1"
    os.chdir("/")
    if ending == "sleep":
        time.sleep(60)
    sys.exit(int(ending))


if __name__ == "__main__":
    main()

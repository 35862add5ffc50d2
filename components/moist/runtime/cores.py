"""How many processor cores a task may use, and telling the numerical libraries so."""

import os
import sys


def usable() -> int:
    """The cores that this process may use: those of its affinity, and in a container what the CPU limit allows."""
    from joblib import cpu_count

    return int(cpu_count())


def keep_to_the_limit() -> None:
    """Let the loaded libraries use no more threads than there are usable cores, unless OMP_NUM_THREADS says how many.

    A container's CPU limit is a quota of time, which OpenMP does not see: it would start a thread for each core of the
    node, and they would be throttled together.
    """
    if not os.environ.get("OMP_NUM_THREADS") and (limit := usable()) < (os.cpu_count() or 1):
        torch = sys.modules.get("torch")
        set_threads(min(limit, torch.get_num_threads()) if torch else limit)


def set_threads(count: int) -> None:
    """Of the libraries that are loaded; they read OMP_NUM_THREADS only then."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(count)
    if threadpoolctl := sys.modules.get("threadpoolctl"):
        threadpoolctl.threadpool_limits(count)

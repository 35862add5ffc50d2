"""What the benchmarks share: paired timing, and a JSON record with commit, versions, device, n and spread."""

import json
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from moist.runtime.provenance import machine, versions

RESULTS = Path(__file__).parent / "results"


def seconds(work: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def paired(slow: Callable[[], object], fast: Callable[[], object], repeats: int) -> dict[str, Any]:
    """Time both in turn, `repeats` times after one warm-up, and summarise the ratio slow / fast of each turn."""
    slow(), fast()
    times = [(seconds(slow), seconds(fast)) for _ in range(repeats)]
    ratios = [a / b for a, b in times]
    return {
        "n": repeats,
        "ratio_median": statistics.median(ratios),
        "ratio_mean": statistics.mean(ratios),
        "ratio_std": statistics.stdev(ratios) if repeats > 1 else None,
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "slow_seconds_median": statistics.median(a for a, _ in times),
        "fast_seconds_median": statistics.median(b for _, b in times),
    }


def sentence(result: Mapping[str, Any]) -> str:
    """The ratio, how often and how widely it was measured."""
    return (
        f"{result['ratio_median']:.1f}x (median of {result['n']}, "
        f"{result['ratio_min']:.1f} to {result['ratio_max']:.1f}; "
        f"{result['slow_seconds_median'] * 1e3:.1f} ms against {result['fast_seconds_median'] * 1e3:.1f} ms)"
    )


def commit() -> str:
    """The commit that is checked out."""
    ask = ["git", "-C", str(RESULTS.parent), "rev-parse", "HEAD"]
    return subprocess.run(ask, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def write(name: str, results: Mapping[str, Any], settings: Mapping[str, Any]) -> Path:
    """Write benchmarks/results/NAME.json."""
    record = {
        "commit": commit(),
        "versions": versions(),
        "device": machine(),
        "threads": torch.get_num_threads(),
        "settings": dict(settings),
        "results": dict(results),
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record, indent=2) + "\n")
    return path

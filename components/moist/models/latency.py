"""Latency: warm wall time of a batch, measured for several models in turn so that drift hits all alike."""

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Model = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Timing:
    """Wall time of one batch in milliseconds; 5% of the repetitions took longer than `p95_ms`."""

    batch_size: int
    median_ms: float
    p95_ms: float


def measure(
    models: Mapping[str, Model], batches: Mapping[int, Sequence[Tensor]], seconds: float
) -> dict[str, list[Timing]]:
    """Median and 95th percentile of every model at every batch size, as {model: [one Timing a batch size]}.

    `batches` maps a batch size to batches, each float (batch size, channels, height, width), on the models' device:
    several, since a mixture's work depends on the images. After a warm-up, round after round times each model once on
    the next batch, until `seconds` are spent on the batch size, but at least 10 rounds. The order is drawn anew each
    round, so that no model always finds the caches as the same other one left them. Models must be in eval mode; no
    gradient is kept.
    """
    timings: dict[str, list[Timing]] = {key: [] for key in models}
    for batch_size, given in batches.items():
        with torch.inference_mode():
            milliseconds = _rounds(models, given, seconds)
        for key, values in milliseconds.items():
            p95 = statistics.quantiles(values, n=20, method="inclusive")[-1]
            timings[key].append(Timing(batch_size, statistics.median(values), p95))
    return timings


def _rounds(models: Mapping[str, Model], batches: Sequence[Tensor], seconds: float) -> dict[str, list[float]]:
    warm_up_rounds, fewest_rounds = 3, 10
    for number in range(warm_up_rounds):
        images = batches[number % len(batches)]
        for model in models.values():
            model(images)
    milliseconds: dict[str, list[float]] = {key: [] for key in models}
    order, turns = random.Random(0), list(models.items())
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < fewest_rounds or time.perf_counter() < end:
        images = batches[rounds % len(batches)]
        order.shuffle(turns)
        for key, model in turns:
            _wait(images)
            start = time.perf_counter()
            model(images)
            _wait(images)
            milliseconds[key].append((time.perf_counter() - start) * 1e3)
        rounds += 1
    return milliseconds


def _wait(images: Tensor) -> None:
    if images.is_cuda:
        torch.cuda.synchronize(images.device)

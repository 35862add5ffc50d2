"""The MoIST paper's printed numbers, to stand beside ours. CIFAR-10's official test batch, one run each."""

from typing import NamedTuple

from moist.reports.results import Row

DATASET = "cifar10"
"""What the paper measured on; beside other data its numbers are no target."""

BATCH = 64
"""What its "MFLOPs per image" are divided by: they are multiply-adds of one image over the batch size."""


class PrintedRow(NamedTuple):
    """One line of Table I."""

    name: str
    accuracy: float
    """0-1"""
    loss: float
    latency_ms: float
    """Of one operation-counting trace divided by 64, some cold: no latency in our sense."""
    mflops: float
    """The paper's unit, to two digits; for mixtures the router is missing."""


TABLE_1 = {  # by the key of our row
    "teacher": PrintedRow("ResNet-18 Teacher", 0.8380, 0.4910, 6.511, 8.70),
    "student": PrintedRow("Distilled Student", 0.7935, 0.6332, 6.591, 0.10),
    "oracle": PrintedRow("Conceptual 100% Router", 0.8949, 0.3052, 0.534, 0.10),
    "mixture": PrintedRow("Prototype MoIST with CNN Router", 0.8408, 0.5098, 0.635, 0.10),
    "mixture_transformer": PrintedRow("MoIST + Transformer Router", 0.8401, 0.5002, 1.188, 0.10),
    "mixture_linear": PrintedRow("MoIST + Linear 3NN Router", 0.8352, 0.5071, 0.945, 0.10),
}

ROUTERS = {"cnn": "mixture", "transformer": "mixture_transformer", "linear": "mixture_linear"}
"""The row of Table I of each router."""


BEST_K = 3
"""Section V.D: of the numbers of students in Fig 3a, the most accurate and the fastest. Its points are only drawn."""

BEST_WIDTH = 1024
"""Section V.D: the best balance in Fig 3b, 2^10 units."""

BEST_WIDTH_GAIN = 0.014
"""Section V.D: by how much the mixture of that width is more accurate than the teacher, 0-1."""

BEST_WIDTH_FEWER = 58
"""Section V.D: times fewer "MFLOPs" than the teacher at that width, router left out."""


def printed_row(row: Row) -> PrintedRow | None:
    """The line of Table I that a row of ours stands beside; None where the paper has none, as for controls."""
    return printed_line(row.key, row.routing.router if row.routing else None)


def printed_line(key: str, router: str | None) -> PrintedRow | None:
    """Likewise, from a row's key and its router: a run's first mixture need not have the CNN router."""
    found = TABLE_1.get(key)
    if found is None or not key.startswith("mixture"):
        return found
    return TABLE_1[ROUTERS[router]] if router in ROUTERS else None

"""Made-up results of a sweep, one a seed, with accuracies (0-1) that can be planted."""

from collections.abc import Mapping
from typing import Any

from example_results import example_results
from moist.reports.results import Results, Row

WIDTHS = (64, 1024, 4096)
KS = (2, 4)
SIZES = (64, 256)
PLANTED = {
    "teacher": 0.90,
    "mixture": 0.80,
    "same_budget": 0.82,
    "same_cost": 0.83,
    "by_k_0": 0.78,
    "by_k_1": 0.79,
    "by_width_0": 0.70,
    "by_width_1": 0.84,
    "by_width_2": 0.842,
    "by_router_0": 0.75,
    "by_size_0": 0.601,
    "by_size_1": 0.60,
    "students_0": 0.65,
    "students_1": 0.75,
    "students_2": 0.76,
}
GROUPS = {2: [[0, 1, 8, 9], [2, 3, 4, 5, 6, 7]], 4: [[0, 8], [1, 9], [2, 3, 4], [5, 6, 7]]}


def example_sweep(planted: Mapping[str, float] = PLANTED, seeds: int = 3, **changes: Any) -> list[Results]:
    """One Results a seed; every model wobbles by 0.1 points or more around what is planted, another way each seed."""
    return [_seed(seed, {**PLANTED, **planted}, changes) for seed in range(seeds)]


def _seed(seed: int, planted: Mapping[str, float], changes: Mapping[str, Any]) -> Results:
    plain = example_results()
    rows = {row.key: row for row in plain.rows}
    middle, student = rows["mixture"], rows["student"]

    def like(row: Row, key: str, **changed: Any) -> Row:
        order = sum(map(ord, key))
        # By less or more for each model: differences that are the same with every seed would say nothing.
        wobble = 0.001 * ((seed + order) % 3 - 1) * (1 if key == "mixture" else 1.05 + order % 7 / 10)
        accuracy = planted.get(key, row.accuracy) + wobble
        return row.model_copy(update={"key": key, "accuracy": accuracy, **changed})

    def routed(key: str, label: str, router: str = "cnn", clusters: Any = None, **changed: Any) -> Row:
        groups = clusters or [[0, 8], [1, 9], [2, 3, 4, 5, 6, 7]]
        routing = middle.routing.model_copy(update={"router": router, "clusters": groups}) if middle.routing else None
        return like(middle, key, label=label, routing=routing, **{"width": 256, **changed})

    found = [
        like(rows["teacher"], "teacher"),
        like(student, "student", width=256),
        routed("mixture", "MoIST, cnn router, k=3"),
        *(routed(f"by_k_{i}", f"MoIST, cnn router, k={k}", clusters=GROUPS[k]) for i, k in enumerate(KS)),
        *(
            routed(f"by_width_{i}", f"MoIST, cnn router, k=3, width {w}", width=w, macs=6.226e6 + 2e4 * w)
            for i, w in enumerate(WIDTHS)
        ),
        routed("by_router_0", "MoIST, transformer router, k=3", "transformer"),
        *(
            routed(f"by_size_{i}", f"MoIST, linear router of {s}, k=3", "linear", router_size=s, router_macs=3072.0 * s)
            for i, s in enumerate(SIZES)
        ),
        *(like(student, f"students_{i}", label=f"Distilled student, width {w}", width=w) for i, w in enumerate(WIDTHS)),
        like(rows["same_budget"], "same_budget", width=256),
        like(rows["same_cost"], "same_cost", width=256),
        like(rows["oracle"], "oracle"),
    ]
    return plain.model_copy(update={"rows": found, "seed": seed, **changes})

"""A made-up run with numbers of the size that CIFAR-10 gives, for the tests of table, plots and report."""

from typing import Any

import numpy as np
from moist.reports.results import Clustering, Curve, Data, Latency, Reliability, Results, Routing, Row

CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def example_results(
    classes: list[str] | None = None,
    k: int = 3,
    mixture: float = 0.8122,
    same_budget: float = 0.8150,
    same_cost: float = 0.8280,
    **changes: Any,
) -> Results:
    """A whole run of ten thousand test images; the accuracies (0-1) of the mixture and its controls can be set."""
    names = CIFAR if classes is None else classes
    n, test = len(names), 10_000
    random = np.random.default_rng(7)
    clusters = [[0, 8], [1, 9], [2, 3, 4, 5, 6, 7]] if n == 10 and k == 3 else _split(n, k)
    home = {c: index for index, cluster in enumerate(clusters) for c in cluster}

    def confusion(accuracy: float) -> list[list[int]]:
        matrix = np.zeros((n, n))
        for true in range(n):
            weight = np.array([3.0 if home[true] == home[other] else 0.6 for other in range(n)]) * random.uniform(
                0.2, 2, n
            )
            weight[true] = 0
            matrix[true] = (1 - accuracy) * weight / weight.sum()
            matrix[true, true] = accuracy
        return np.rint(matrix * test / n).astype(int).tolist()

    def reliability(accuracy: float, bins: int = 15) -> Reliability:
        edges = (np.arange(bins) + 0.5) / bins
        count = np.rint(test * accuracy * edges**3 / (edges**3).sum()).astype(int)
        count[0] = 0
        hit = np.clip(edges - 0.06 * np.sin(np.pi * edges) * (2 - accuracy), 0, 1)
        return Reliability(confidence=edges.tolist(), accuracy=hit.tolist(), count=count.tolist(), ece=0.041)

    def routing(router: str, r: float, accuracy: float) -> Routing:
        share = np.full((n, k), (1 - r) / max(1, k - 1)) * random.uniform(0.3, 1.7, (n, k))
        for c in range(n):
            share[c, home[c]] = 0
            share[c, home[c]] = 1 - share[c].sum()
        routed = np.zeros((k, k), int)
        for c in range(n):
            routed[home[c]] += np.rint(share[c] * test / n).astype(int)
        b = None if r == 1 else 0.238
        a = accuracy if b is None else (accuracy - (1 - r) * b) / r
        return Routing(
            router=router,
            r=r,
            a=a,
            b=b,
            clusters=clusters,
            share=share.tolist(),
            confusion=routed.tolist(),
            reliability=reliability(r),
        )

    def row(key: str, label: str, role: str, accuracy: float, mmac: float, ms: float, **more: Any) -> Row:
        settings: dict[str, Any] = {
            "loss": 1.9 * (1 - accuracy) + 0.09,
            "router_macs": 0.0,
            "paper_mflops": mmac / 64,
            "parameters": 1_070_794 if mmac < 500 else 11_173_962,
            "epochs": 24.0,
            "training_macs": mmac * 1e6 * 40_000 * 24,
        } | more
        latency = [
            Latency(batch_size=1, median_ms=ms, p95_ms=ms * 1.21),
            Latency(batch_size=64, median_ms=ms * 31, p95_ms=ms * 33.5),
        ]
        return Row.model_validate(
            {
                "key": key,
                "label": label,
                "role": role,
                "accuracy": accuracy,
                "macs": mmac * 1e6,
                "latency": latency,
                "confusion": confusion(accuracy),
                "reliability": reliability(accuracy),
                "cascade": [
                    {
                        "share": share,
                        "accuracy": accuracy + share * (0.904 - accuracy),
                        "macs": (mmac + share * 557) * 1e6,
                    }
                    for share in (0.0, 0.1, 0.5, 1.0)
                    if role in ("mixture", "control", "student")
                ],
                "second_look": [
                    {"share": share, "accuracy": accuracy + 0.01 * share, "macs": (1 + share) * mmac * 1e6}
                    for share in (0.0, 0.5, 1.0)
                    if role in ("control", "student")
                ],
            }
            | settings
        )

    routed = {"router_macs": 6.226e6, "paper_mflops": 6.654 / 64, "parameters": 3 * 1_070_794 + 544_387}
    rows = [
        row("teacher", "teacher, ResNet-18", "teacher", 0.9040, 556.66, 21.3),
        row("student", "distilled student", "student", 0.7870, 6.654, 0.61, epochs=12.0),
        row(
            "mixture",
            "MoIST, CNN router",
            "mixture",
            mixture,
            12.88,
            1.02,
            routing=routing("cnn", 0.907, mixture),
            **routed,
        ),
        row(
            "oracle",
            "MoIST, 100 % router",
            "upper bound",
            0.8480,
            6.654,
            0.66,
            routing=routing("oracle", 1.0, 0.8480),
            paper_mflops=6.654 / 64,
            note="routed by the true label",
        ),
        row("same_budget", "single student, same training budget", "control", same_budget, 6.654, 0.61),
        row("same_cost", "single student, same inference cost", "control", same_cost, 12.96, 0.93),
    ]
    similarity = np.array(
        [[1.0 if i == j else (0.55 if home[i] == home[j] else -0.35) for j in range(n)] for i in range(n)]
    )
    noise = random.normal(0, 0.12, (n, n))
    similarity = np.clip(similarity + (noise + noise.T) * (1 - np.eye(n)) / 2, -1, 1)
    result = Results(
        data=Data(
            name="cifar10", classes=names, shape=(32, 32, 3), train=36_000, validation=4_000, test=test,
            split="Training images are CIFAR-10's batches 1-4; the held-out images are its batch 5, "
            "not the official test set.",
        ),
        rows=rows,
        clustering=Clustering(
            mean_logits=(similarity * 8).tolist(), similarity=similarity.tolist(), clusters=clusters,
            criterion="highest silhouette score of k-means on the centred class-mean logits",
            scores={str(i): 0.42 - 0.05 * abs(i - k) + 0.01 * (i % 2) for i in range(2, min(n, 7))} or {"2": 0.3},
        ),
        curves=[_curve(stage, epochs, top) for stage, epochs, top in (
            ("train_teacher", 20, 0.904), ("distill_student", 12, 0.787), ("pretrain_router", 12, 0.907),
            ("train_jointly", 12, 0.812), ("distill_student (same_budget)", 24, 0.815),
        )],
        seed=0,
        device="cpu (AMD EPYC 7B13)",
        versions={"moist": "0.1.0", "python": "3.11.9", "torch": "2.14.1+cpu", "torchvision": "0.29.1"},
        threads=2,
        lineage=[
            {"name": name, "stage": stage, "uri": f"s3://mlpipeline/v2/artifacts/moist/2f6c1c0e/{stage}/{name}",
             "digest": "sha256:" + f"{index + 10:x}" * 64, "code version": "0.1.0+0fb10d2",
             "seconds": f"{12.5 * (index + 1):.1f}", "parameters": '{"epochs": 12, "learning_rate": 0.001, "seed": 0}'}
            for index, (name, stage) in enumerate((
                ("dataset", "prepare_data"), ("teacher", "train_teacher"), ("student", "distill_student"),
                ("clusters", "cluster_logits"), ("mixture", "train_jointly"),
            ))
        ],
    )  # fmt: skip
    return result.model_copy(update=changes)


def _split(n: int, k: int) -> list[list[int]]:
    return [part.tolist() for part in np.array_split(np.arange(n), k)]


def _curve(stage: str, epochs: int, top: float) -> Curve:
    x = np.arange(1, epochs + 1) / epochs
    return Curve(
        stage=stage,
        series={
            "loss": (2.2 * np.exp(-2.5 * x) + 0.2).tolist(),
            "validation_loss": (2.1 * np.exp(-2.2 * x) + 0.42).tolist(),
            "accuracy": (min(1, top + 0.05) * (1 - 0.7 * np.exp(-4 * x))).tolist(),
            "validation_accuracy": (top * (1 - 0.6 * np.exp(-4.5 * x))).tolist(),
        },
    )

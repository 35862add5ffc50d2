"""python -m moist.stages.train_mixture.program --table IN --model dense-2 --mixtures OUT --metrics OUT --curves OUT"""

import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from moist.mode.mixture_storage import save_mixtures
from moist.mode.narrow_vision import gradient_norms, gradient_shares
from moist.mode.results import Architecture, NarrowVision, VariantResults
from moist.mode.table_mixtures import BatchedMixtures, TableModel
from moist.mode.table_storage import load_table
from moist.mode.table_training import Prepared, TableTraining, Trained, train_batched
from moist.reports.pages import curves_page
from moist.reports.results import Curve
from moist.runtime.artifacts import write_json
from moist.runtime.contract import Metadata, main
from moist.stages.train_mixture.settings import STAGE, Settings

VISION_EVERY = 5
"""Epochs between measurements of narrow vision, which cost as much as an epoch of training each."""


def train_mixture(settings: Settings, *, table: Path, mixtures: Path, metrics: Path, curves: Path) -> Metadata:
    """Train all seeds and alphas on one table together; test accuracies are those of the kept epoch."""
    torch.set_num_threads(1)  # the products are so small that a second thread mostly waits
    data = load_table(table)
    model = TableModel(gate=settings.gate, experts=settings.experts, top_k=settings.top_k, hidden=settings.hidden)
    training = TableTraining(**{name: getattr(settings, name) for name in TableTraining.model_fields})
    alphas = torch.tensor(settings.strengths)
    norms: dict[int, Tensor] = {}
    began = time.monotonic()

    def after_epoch(epoch: int, batched: BatchedMixtures, prepared: Prepared) -> None:
        if settings.narrow_vision == "measure" and settings.experts > 1 and (epoch - 1) % VISION_EVERY == 0:
            norms[epoch] = gradient_norms(batched, prepared.train, prepared.train_labels, alphas)
        if epoch % 10 == 0 or epoch == settings.epochs:
            sys.stderr.write(f"{STAGE.name} {settings.model} on {data.name}: epoch {epoch}/{settings.epochs}\n")

    trained = train_batched(data, model, training, settings.strengths, settings.seeds, after_epoch)
    results = VariantResults(
        architecture=Architecture.model_validate(model.model_dump()),
        training=training.model_dump(),
        alphas=settings.strengths,
        seeds=settings.seeds,
        test=trained.test_accuracy.tolist(),
        validation=trained.validation_accuracy.tolist(),
        kept_epoch=trained.kept_epoch.tolist(),
        narrow_vision=_narrow_vision(norms, len(settings.strengths)),
        seconds=round(time.monotonic() - began, 3),
    )
    save_mixtures(trained.model, results, mixtures)
    facts: dict[str, float] = {"runs": settings.runs, "seconds": results.seconds}
    for v, alpha in enumerate(settings.strengths):
        facts[f"test_accuracy_alpha_{alpha:g}"] = float(trained.test_accuracy[:, v].mean())
    write_json(metrics / "metrics.json", facts)
    curves.write_text(curves_page(_curve(settings, trained)), "utf-8")
    return {"mixtures": {"table": data.name, "model": results.architecture.label, **facts}, "metrics": facts}


def _narrow_vision(norms: dict[int, Tensor], alphas: int) -> list[NarrowVision]:
    if not norms:
        return []
    over_epochs = torch.stack(list(norms.values()))  # (epochs, S, V, subsets, experts)
    whole = gradient_shares(over_epochs.mean(dim=(0, 1)))
    own = gradient_shares(over_epochs.mean(dim=1)).diagonal(dim1=-2, dim2=-1).nanmean(dim=-1)  # (epochs, V)
    return [
        NarrowVision(
            share=[[_number(value) for value in row] for row in whole[v].tolist()],
            own_share=[_number(value) for value in own[:, v].tolist()],
            epochs=list(norms),
        )
        for v in range(alphas)
    ]


def _number(value: float) -> float | None:
    return None if value != value else value


def _curve(settings: Settings, trained: Trained) -> Curve:
    """Mean over seeds: validation accuracy of every alpha, one value an epoch."""
    means = trained.validation.mean(dim=1)  # (epochs, V)
    names = [f"alpha_{alpha:g}_accuracy" for alpha in settings.strengths]
    return Curve(
        stage=f"{STAGE.name} {settings.model}, validation, mean of {settings.runs} seeds",
        series={name: means[:, v].tolist() for v, name in enumerate(names)},
    )


if __name__ == "__main__":
    main(STAGE, train_mixture)

"""python -m moist.stages.train_mixture.program --table IN --model dense-2 --mixtures OUT --metrics OUT --curves OUT"""

import sys
from pathlib import Path

import torch

from moist.mode.mixture_storage import save_mixtures
from moist.mode.table_experiment import train_variant
from moist.mode.table_mixtures import TableModel
from moist.mode.table_storage import load_table
from moist.mode.table_training import TableTraining, Trained
from moist.reports.pages import curves_page
from moist.reports.results import Curve
from moist.runtime.artifacts import write_json
from moist.runtime.contract import Metadata, main
from moist.stages.train_mixture.settings import STAGE, Settings


def train_mixture(settings: Settings, *, table: Path, mixtures: Path, metrics: Path, curves: Path) -> Metadata:
    """Train all seeds and alphas on one table together."""
    torch.set_num_threads(1)  # the products are so small that a second thread mostly waits
    data = load_table(table)
    model = TableModel(gate=settings.gate, experts=settings.experts, top_k=settings.top_k, hidden=settings.hidden)
    training = TableTraining(**{name: getattr(settings, name) for name in TableTraining.model_fields})

    def after_epoch(epoch: int) -> None:
        if epoch % 10 == 0 or epoch == settings.epochs:
            sys.stderr.write(f"{STAGE.name} {settings.model} on {data.name}: epoch {epoch}/{settings.epochs}\n")

    trained, results = train_variant(
        data,
        model,
        training,
        settings.strengths,
        settings.seeds,
        narrow_vision=settings.narrow_vision == "measure",
        after_epoch=after_epoch,
    )
    save_mixtures(trained.model, results, mixtures)
    facts: dict[str, float] = {"runs": settings.runs, "seconds": results.seconds}
    for v, alpha in enumerate(settings.strengths):
        facts[f"test_accuracy_alpha_{alpha:g}"] = float(trained.test_accuracy[:, v].mean())
    write_json(metrics / "metrics.json", facts)
    curves.write_text(curves_page(_curve(settings, trained)), "utf-8")
    return {"mixtures": {"table": data.name, "model": results.architecture.label, **facts}, "metrics": facts}


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

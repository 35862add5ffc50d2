"""What every training stage does around its loop: progress, checkpoints, metrics and curves."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from moist.models.routers import Router
from moist.reports.pages import curves_page
from moist.reports.results import Curve
from moist.runtime.artifacts import write_json
from moist.runtime.checkpoints import StoredCheckpoints
from moist.runtime.common_settings import TrainingSettings
from moist.runtime.contract import CHECKPOINTS, RUNNING
from moist.runtime.progress import TerminalProgress
from moist.runtime.stage import Stage
from moist.training import distributed, evaluation
from moist.training.images import Images
from moist.training.loop import History, Objective, Recipe, fit
from moist.training.precision import Precision
from moist.training.progress import Silent


def recipe_of(settings: TrainingSettings, **changes: Any) -> Recipe:
    """The loop's recipe from a stage's settings."""
    names = ("epochs", "batch_size", "learning_rate", "weight_decay", "warmup_epochs", "seed", "precision")
    return Recipe(**{**{name: getattr(settings, name) for name in names}, **changes})


def train(
    stage: Stage,
    settings: TrainingSettings,
    module: nn.Module,
    images: Images,
    objective: Objective,
    recipe: Recipe,
    held_out: Images,
    metrics: Path,
    curves: Path,
    held_out_labels: Tensor | None = None,
) -> tuple[History, dict[str, Any]]:
    """Fit, then write the stage's metrics (a folder) and curves (a page); returns the history and the last values.

    Validation accuracy is measured after every epoch where there are held-out images, against `held_out_labels`
    (default: the split's labels).
    """
    labels = held_out.labels if held_out_labels is None else held_out_labels

    def validate() -> dict[str, float]:
        outputs = evaluation.predict(module, held_out, settings.precision)
        return {"validation_accuracy": evaluation.accuracy(outputs, labels)}

    history = fit(
        module,
        images,
        objective,
        recipe,
        progress=TerminalProgress(stage.name) if distributed.rank() == 0 else Silent(),
        checkpoints=checkpoints_of(settings.checkpoint_seconds),
        validate=validate if len(held_out) else None,
    )
    facts = {"epochs": recipe.epochs, **{name: values[-1] for name, values in history.series.items()}}
    write_json(metrics / "metrics.json", {**facts, "series": history.series})
    curves.write_text(curves_page(Curve(stage=stage.name, series=history.series)), "utf-8")
    return history, facts


def checkpoints_of(seconds: float) -> StoredCheckpoints | None:
    """This task's checkpoints, to be removed when it is done; None where no place for them is configured."""
    running = RUNNING.get()
    if running is None or distributed.rank() != 0 or not os.environ.get(CHECKPOINTS):
        return None
    found = StoredCheckpoints(running.identity, seconds, run=running.run)
    running.after_success.append(found.clear)
    return found


def calibrate(
    router: Router, route: Callable[[Tensor], Tensor], held_out: Images, truth: Tensor, precision: Precision
) -> dict[str, float]:
    """Scale a router's temperature on held-out images so that its confidence is right; returns what to report.

    `route` gives its logits for images: the router itself, or a mixture's `route` where it takes a trunk's features.
    Without held-out images the temperature stays 1: the training images would make it look too sure. Of one student
    there is nothing to report: it is always the right one.
    """
    if not len(held_out):
        return {}
    router.temperature.fill_(1.0)
    logits = evaluation.predict(route, held_out, precision)
    if logits.shape[1] == 1:
        return {}
    temperature = evaluation.fit_temperature(logits, truth)
    router.temperature.fill_(temperature)
    scaled = evaluation.reliability((logits / temperature).softmax(1), truth)
    return {
        "router_validation_accuracy": evaluation.accuracy(logits, truth),
        "router_temperature": temperature,
        "router_validation_ece": scaled["ece"],
    }

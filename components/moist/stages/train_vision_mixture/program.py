"""python -m moist.stages.train_vision_mixture.program --dataset IN --results OUT --mixture OUT ..."""

from pathlib import Path

import numpy as np

from moist.data.dataset import load as load_dataset
from moist.mode.image_storage import ImageModel, save_image_mixture
from moist.mode.results import best_alpha, write_results
from moist.mode.vision import VisionTraining
from moist.mode.vision_experiment import table_5
from moist.reports.pages import curves_page
from moist.reports.results import Curve
from moist.runtime.artifacts import write_json
from moist.runtime.contract import Metadata, main
from moist.runtime.training import checkpoints_of
from moist.stages.train_vision_mixture.settings import STAGE, Settings
from moist.training.precision import choose_device

CIFAR = ("cifar10", "cifar100")
"""The data sets for which the paper takes ResNet-18."""


def train_vision_mixture(
    settings: Settings, *, dataset: Path, results: Path, mixture: Path, metrics: Path, curves: Path
) -> Metadata:
    """Train and probe everything that Table 5 has on one data set; keep one mixture."""
    data = load_dataset(dataset)
    named = ("experts", "embedding", "shared_trunk", "space", "epochs", "batch_size", "learning_rate", "weight_decay")
    network = settings.network
    training = VisionTraining(
        network=("resnet18" if data.name in CIFAR else "cnn") if network == "auto" else network,
        channels=settings.maps,
        precision=settings.precision,
        **{name: getattr(settings, name) for name in named},
    )
    checkpoints = checkpoints_of(settings.checkpoint_seconds)
    found, model = table_5(data, training, settings.strengths, settings.seeds, choose_device(), checkpoints=checkpoints)
    alpha = best_alpha(found.alphas, found.validation, found.alphas)
    write_results(found, results)
    facts = {"runs": settings.runs, "alpha": alpha, "single_accuracy": float(np.mean(found.single))}
    for strength, values in zip(found.alphas, np.mean(found.test, axis=0).tolist(), strict=True):
        facts[f"test_accuracy_alpha_{strength:g}"] = values
    description = ImageModel(
        training=training,
        shape=data.shape,
        classes=data.classes,
        mean=data.mean,
        std=data.std,
        alpha=alpha,
        seed=settings.seed,
    )
    save_image_mixture(model, description, mixture)
    write_json(metrics / "metrics.json", {**facts, "seconds": found.seconds})
    title = f"{STAGE.name} on {data.name}, training images, seed {settings.seed}"
    curves.write_text(curves_page(Curve(stage=title, series=found.curves)), "utf-8")
    return {"results": {"images": data.name, **facts}, "mixture": {"alpha": alpha}, "metrics": facts}


if __name__ == "__main__":
    main(STAGE, train_vision_mixture)

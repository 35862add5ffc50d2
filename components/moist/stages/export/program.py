"""python -m moist.stages.export.program --dataset IN --mixture IN --model OUT --metrics OUT"""

import json
from dataclasses import asdict
from pathlib import Path

import torch

from moist.data.dataset import ImageDataset
from moist.data.dataset import load as load_dataset
from moist.errors import InputError
from moist.models.mixture import Mixture
from moist.models.storage import check_fits, load_model
from moist.runtime import provenance
from moist.runtime.artifacts import read_manifest, write_json
from moist.runtime.contract import Metadata, main
from moist.serving.agreement import check_runtime, reference
from moist.serving.runtimes import installed_runtimes
from moist.serving.sparse_onnx import sparse_model
from moist.stages.export.settings import STAGE, Settings

FILE = "mixture.onnx"


def export(settings: Settings, *, dataset: Path, mixture: Path, model: Path, metrics: Path) -> Metadata:
    """Write the mixture as ONNX and compare every runtime that is installed with PyTorch on the held-out images.

    Always on the CPU: that is where the runtimes run.
    """
    data, network = load_dataset(dataset), load_model(mixture, expect="mixture")
    check_fits(mixture, data.shape, len(data.classes))
    if not isinstance(network, Mixture):
        raise InputError(f"{mixture} holds no mixture.")
    described = _description(data, network, {"dataset": dataset, "mixture": mixture})
    written = sparse_model(network, data.shape, data.mean, data.std, described)
    model.mkdir()
    (model / FILE).write_bytes(written.SerializeToString(deterministic=True))
    expected = reference(network, data, data.test.images, settings.batch_size)
    facts = {
        name: asdict(
            check_runtime(
                name,
                load(model / FILE, torch.get_num_threads()),
                expected,
                data,
                settings.batch_size,
                settings.tolerance,
                settings.accuracy_tolerance,
            )
        )
        for name, load in installed_runtimes().items()
    }
    write_json(metrics / "metrics.json", {"test_images": len(data.test), "runtimes": facts})
    shown = {
        f"{name.lower().replace(' ', '_')}_{key}": value
        for name, found in facts.items()
        for key, value in found.items()
    }
    size = (model / FILE).stat().st_size
    return {"model": {"file": FILE, "bytes": size, "students": len(network.students)}, "metrics": shown}


def _description(data: ImageDataset, network: Mixture, folders: dict[str, Path]) -> dict[str, str]:
    """What the model says of itself: text by name, structured values as JSON."""
    manifests = {name: read_manifest(folder, name) for name, folder in folders.items()}
    origin = {
        "code_version": provenance.code_version(),
        "versions": provenance.versions(),
        "inputs": {name: manifest.digest for name, manifest in manifests.items()},
        "settings": manifests["mixture"].settings,
    }
    return {
        "classes": json.dumps(data.classes),
        "clusters": json.dumps(network.clusters),
        "dataset": data.name,
        "provenance": json.dumps(origin, sort_keys=True),
    }


if __name__ == "__main__":
    main(STAGE, export)

"""python benchmarks/keep_teacher.py DATASET TEACHER LOGITS NAME: measure a teacher once, and keep its logits.

DATASET, TEACHER and LOGITS are folders that prepare_data and train_teacher wrote (`pipeline.py fetch` brings them from
a run). Its figures on the held-out images and its training go into benchmarks/results/NAME.json; its logits are copied
to benchmarks/teachers/NAME, so that benchmarks/best.py needs no teacher that takes hours to train.
"""

import argparse
import shutil
from pathlib import Path

import torch
from best import KEPT
from moist.data.dataset import load as load_dataset
from moist.runtime.artifacts import MANIFEST, read_manifest, verify, write_json
from moist.stages.evaluate.measure import load_candidates, measure_rows
from moist.training import evaluation
from moist.training.images import Images
from record import write
from torch import nn

KEPT_LOGITS = Path(__file__).parent / "teachers"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("logits", type=Path)
    parser.add_argument("name")
    options = parser.parse_args()
    made = verify(options.teacher, "teacher", kind="teacher")
    if verify(options.logits, "logits", kind="logits").inputs != made.inputs:
        raise SystemExit(f"{options.logits} and {options.teacher} were not made of the same data set.")
    data, device = load_dataset(options.dataset), torch.device("cpu")
    learned_from = made.inputs["dataset"]
    if isinstance(learned_from, list) or read_manifest(options.dataset, "dataset").digest != learned_from.digest:
        raise SystemExit(f"{options.teacher} was not trained on {options.dataset}.")
    (candidate,) = load_candidates({"teacher": options.teacher}, device)
    (row,) = measure_rows([candidate], data, device, "auto", 500, 0.0)
    found = {key: value for key, value in row.model_dump().items() if key in KEPT and key != "cascade"}
    found["accuracy_with_mirrored"] = with_mirrored(candidate.model, Images(data, data.test, device))
    training = {"series": candidate.steps[0].series, "code_version": made.code_version, "seconds": made.seconds}
    settings = {**made.settings, "data": data.split_note, "train": len(data.train), "test": len(data.test)}
    mirrored = f"{100 * found['accuracy_with_mirrored']:.2f}% with the mirrored ones"
    print(f"{100 * row.accuracy:.2f}% of {len(data.test):,} held-out images ({mirrored}), loss {row.loss:.4f}")
    print(write(options.name, {**found, **training}, settings))
    kept = KEPT_LOGITS / options.name
    shutil.copytree(options.logits, kept, dirs_exist_ok=True)
    manifest = read_manifest(kept, "logits")
    here = learned_from.model_copy(update={"uri": "dataset"})  # not where it lay on this machine
    sealed = manifest.model_copy(update={"inputs": {**manifest.inputs, "dataset": here}}).sealed()
    write_json(kept / MANIFEST, sealed.model_dump())


def with_mirrored(model: nn.Module, images: Images) -> float:
    """Accuracy of the mean of the answers to an image and to its mirror image, as airbench counts."""
    logits = evaluation.predict(model, images) + evaluation.predict(lambda shown: model(shown.flip(3)), images)
    return evaluation.accuracy(logits, images.labels)


if __name__ == "__main__":
    main()

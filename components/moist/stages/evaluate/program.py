"""python -m moist.stages.evaluate.program --dataset IN --teacher IN --student IN --mixture IN ... --report out.html"""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch

from moist.data import clusters as class_clusters
from moist.data.dataset import ImageDataset
from moist.data.dataset import load as load_dataset
from moist.models.storage import check_fits
from moist.reports.html import html_report
from moist.reports.results import Clustering, Curve, Data, Results
from moist.reports.table import markdown_table
from moist.runtime import provenance
from moist.runtime.artifacts import InputRecord, Manifest, read_manifest, write_json
from moist.runtime.contract import RUNNING, Metadata, main
from moist.runtime.terminal import say
from moist.stages.evaluate.measure import Candidate, load_candidates, measure_rows
from moist.stages.evaluate.settings import STAGE, Settings
from moist.training.precision import choose_device, number_format

T = TypeVar("T")


def evaluate(
    settings: Settings,
    *,
    dataset: Path,
    clusters: Path,
    metrics: Path,
    classification: Path,
    table: Path,
    report: Path,
    **models: Path | list[Path] | None,
) -> Metadata:
    """Measure every model that was passed on the same images, in one process, and write what people read."""
    data, device = load_dataset(dataset), choose_device()
    found = class_clusters.load(clusters, len(data.classes))
    folders = _by_key(models)
    for folder in folders.values():
        check_fits(folder, data.shape, len(data.classes))
    inputs = {"dataset": dataset, "clusters": clusters, **folders}
    manifests = {name: read_manifest(folder, name) for name, folder in inputs.items()}
    warning = _warning(manifests)
    if warning:
        say(f"{STAGE.name}: {warning}")
    candidates = load_candidates(folders, device)
    rows = measure_rows(candidates, data, device, settings.precision, settings.batch_size, settings.latency_seconds)
    by_key = {row.key: row for row in rows}
    machine = provenance.machine()
    results = Results(
        data=_data(data),
        warning=warning,
        rows=rows,
        clustering=Clustering.model_validate(found.__dict__),
        curves=_curves([candidate for candidate in candidates if not by_key[candidate.key].swept]),
        seed=settings.seed,
        device=machine if device.type == "cpu" else torch.cuda.get_device_name(device),
        versions=provenance.versions(),
        threads=torch.get_num_threads(),
        number_format=number_format(device, settings.precision),
        lineage=_lineage(inputs, manifests),
    )
    metrics.mkdir()
    (metrics / "results.json").write_text(results.model_dump_json(indent=1) + "\n", "utf-8")
    matrix = {
        "annotationSpecs": [{"displayName": name} for name in data.classes],
        "rows": [{"row": [float(cell) for cell in cells]} for cells in by_key["mixture"].confusion],
    }
    write_json(classification / "confusion.json", matrix)
    table.write_text(markdown_table(results), "utf-8")
    report.write_text(html_report(results), "utf-8")
    shown = {f"{row.key}_accuracy": row.accuracy for row in rows} | {f"{row.key}_mmac": row.macs / 1e6 for row in rows}
    return {"metrics": shown, "classification": {"confusionMatrix": matrix}}


def _by_key(inputs: Mapping[str, T | list[T] | None]) -> dict[str, T]:
    """What each input brought by the model's key: the input's name, with a number where it takes many."""
    found: dict[str, T] = {}
    for name, given in inputs.items():
        if isinstance(given, list):
            found |= {f"{name}_{number}": one for number, one in enumerate(given)}
        elif given is not None:
            found[name] = given
    return found


def _warning(manifests: Mapping[str, Manifest]) -> str:
    """Which models learned from another data set than they are measured on, as their manifests have it; "" if none."""
    here = manifests["dataset"].digest
    sources = {name: manifest.inputs.get("dataset") for name, manifest in manifests.items()}
    others = [name for name, source in sources.items() if isinstance(source, InputRecord) and source.digest != here]
    if not others:
        return ""
    return f"Not the data set that {', '.join(others)} learned from, which may have had these test images."


def _data(data: ImageDataset) -> Data:
    return Data(
        name=data.name,
        classes=list(data.classes),
        shape=data.shape,
        train=len(data.train),
        validation=len(data.validation),
        test=len(data.test),
        split=data.split_note,
    )


def _curves(candidates: list[Candidate]) -> list[Curve]:
    """Each model's last step is its own; of earlier ones only a router's is not a row of its own."""
    curves = []
    for candidate in candidates:
        own = candidate.steps[-1:]
        routers = [entry for entry in candidate.steps[:-1] if entry.stage == "pretrain_router"]
        for entry in [*routers, *own]:
            curves.append(Curve(stage=f"{candidate.key}: {entry.stage}", series=entry.series))
    return curves


def _lineage(folders: Mapping[str, Path], manifests: Mapping[str, Manifest]) -> list[dict[str, str]]:
    """What went in: where it came from if the stage runs as a task, and what its manifest says."""
    running = RUNNING.get()
    records = _by_key(running.inputs) if running else {}
    lines = []
    for name, manifest in manifests.items():
        lines.append(
            {
                "name": name,
                "stage": manifest.stage,
                "uri": records[name].uri if name in records else str(folders[name]),
                "digest": manifest.digest,
                "code version": manifest.code_version,
                "seconds": f"{manifest.seconds:.1f}",
                "parameters": ", ".join(f"{key}={value}" for key, value in sorted(manifest.settings.items())),
            }
        )
    return lines


if __name__ == "__main__":
    main(STAGE, evaluate)

"""python -m moist.stages.compare.program --tables IN ... [--images IN ...] --metrics OUT --text OUT --report OUT"""

from pathlib import Path

from moist.mode.comparison import Comparison, compare_results
from moist.mode.results import ImageResults, TableResults, read_results, write_results
from moist.mode.translation_results import TranslationResults
from moist.reports.mode_report import Run, mode_report
from moist.reports.mode_tables import mode_text
from moist.runtime import provenance
from moist.runtime.artifacts import read_manifest
from moist.runtime.contract import Metadata, main
from moist.stages.compare.settings import STAGE, Settings


def compare(
    settings: Settings,
    *,
    tables: list[Path],
    images: list[Path],
    translations: list[Path],
    metrics: Path,
    text: Path,
    report: Path,
) -> Metadata:
    """Compare the results on all tables, images and texts with the paper's and with each other."""
    results = [read_results(TableResults, folder) for folder in tables]
    seen = [read_results(ImageResults, folder) for folder in images]
    translated = [read_results(TranslationResults, folder) for folder in translations]
    comparison = compare_results(results, settings.choose_from, seen, translated)
    write_results(comparison, metrics)
    manifests = [read_manifest(folder, "tables") for folder in tables]
    manifests += [read_manifest(folder, "images") for folder in images]
    manifests += [read_manifest(folder, "translations") for folder in translations]
    run = Run(
        device=provenance.machine(),
        versions=manifests[0].versions,
        inputs=[(manifest.task, manifest.digest, f"{manifest.seconds:.1f}") for manifest in manifests],
    )
    text.write_text(mode_text(comparison, results, settings.show), "utf-8")
    report.write_text(mode_report(comparison, results, settings.show, run), "utf-8")
    return {"metrics": _shown(comparison)}


def _shown(comparison: Comparison) -> dict[str, float]:
    """What the Kubeflow UI lists."""
    shown = {}
    for line in comparison.lines:
        if line.single is not None:
            shown[f"{line.table} single"] = line.single.mean
        for choice in line.choices:
            shown[f"{line.table} {choice.architecture.label} MoE"] = choice.moe.mean
            shown[f"{line.table} {choice.architecture.label} MoDE"] = choice.mode.mean
    for seen in comparison.images:
        for name, summary in (("single", seen.single), ("MoE", seen.moe), ("MoDE", seen.mode)):
            shown[f"{seen.images} images {name}"] = summary.mean
    for text in comparison.translations:
        for name, bleu in (("single", text.single), ("MoE", text.moe), ("MoDE", text.mode)):
            if bleu is not None:
                shown[f"{text.corpus} BLEU {name}"] = bleu.mean
    return shown


if __name__ == "__main__":
    main(STAGE, compare)

"""python -m moist.stages.compare.program --tables IN IN ... --metrics OUT --text OUT.md --report OUT.html"""

from pathlib import Path

from moist.mode.comparison import Comparison, compare_tables
from moist.mode.results import TableResults, read_results, write_results
from moist.reports.mode_report import Run, mode_report
from moist.reports.mode_tables import mode_text
from moist.runtime import provenance
from moist.runtime.artifacts import read_manifest
from moist.runtime.contract import Metadata, main
from moist.stages.compare.settings import STAGE, Settings


def compare(settings: Settings, *, tables: list[Path], metrics: Path, text: Path, report: Path) -> Metadata:
    """Compare all tables' results with the paper's and with each other."""
    results = [read_results(TableResults, folder) for folder in tables]
    comparison = compare_tables(results, settings.choose_from)
    write_results(comparison, metrics)
    manifests = [read_manifest(folder, "tables") for folder in tables]
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
    return shown


if __name__ == "__main__":
    main(STAGE, compare)

"""python -m moist.stages.compare_sweep.program --results IN IN ... --metrics OUT --text OUT.md --report OUT.html"""

from pathlib import Path

from moist.mode.results import read_results
from moist.reports.results import Results
from moist.reports.sweep import SweepComparison, compare_results
from moist.reports.sweep_report import sweep_report
from moist.reports.sweep_tables import sweep_text
from moist.runtime.artifacts import read_manifest
from moist.runtime.contract import Metadata, main
from moist.stages.compare_sweep.settings import STAGE, Settings


def compare_sweep(settings: Settings, *, results: list[Path], metrics: Path, text: Path, report: Path) -> Metadata:
    """Compare all points of the sweep with each other, with the controls and with the paper."""
    comparison = compare_results([read_results(Results, folder) for folder in results], settings.margin)
    metrics.mkdir()
    (metrics / "results.json").write_text(comparison.model_dump_json(indent=1) + "\n", "utf-8")
    manifests = [read_manifest(folder, "results") for folder in results]
    lineage = [(manifest.task, manifest.digest, f"{manifest.seconds:.1f}") for manifest in manifests]
    text.write_text(sweep_text(comparison), "utf-8")
    report.write_text(sweep_report(comparison, lineage), "utf-8")
    return {"metrics": _shown(comparison)}


def _shown(comparison: SweepComparison) -> dict[str, float]:
    """What the Kubeflow UI lists."""
    return {f"{point.label} accuracy": point.accuracy.mean for point in comparison.points}


if __name__ == "__main__":
    main(STAGE, compare_sweep)

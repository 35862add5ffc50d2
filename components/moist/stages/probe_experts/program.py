"""python -m moist.stages.probe_experts.program --table IN --mixtures IN IN ... --results OUT"""

from pathlib import Path

import torch

from moist.errors import DamagedArtifactError
from moist.mode.mixture_storage import load_mixtures
from moist.mode.results import write_results
from moist.mode.table_experiment import probe_variant, table_results
from moist.mode.table_storage import load_table
from moist.runtime.contract import Metadata, main
from moist.stages.probe_experts.settings import STAGE, Settings


def probe_experts(settings: Settings, *, table: Path, mixtures: list[Path], results: Path) -> Metadata:
    """Probe all mixtures of a table; the accuracy found must be the one that training reported."""
    torch.set_num_threads(1)
    data = load_table(table)
    variants = []
    for folder in mixtures:
        batched, trained = load_mixtures(folder, data)
        try:
            variants.append(probe_variant(batched, trained, data))
        except DamagedArtifactError as error:
            raise DamagedArtifactError(f"{folder}: {error}") from None
    write_results(table_results(data, variants), results)
    shown = {"table": data.name, "variants": len(variants)}
    for variant in variants:
        for alpha, probes in zip(variant.alphas, variant.probes, strict=True):
            accuracy = sum(each.accuracy for each in probes) / len(probes)
            shown[f"{variant.architecture.label}, alpha {alpha:g}"] = round(accuracy, 6)
    return {"results": shown}


if __name__ == "__main__":
    main(STAGE, probe_experts)

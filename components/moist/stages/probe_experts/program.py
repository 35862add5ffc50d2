"""python -m moist.stages.probe_experts.program --table IN --mixtures IN IN ... --results OUT"""

from pathlib import Path

import torch

from moist.errors import DamagedArtifactError
from moist.mode.mixture_storage import load_mixtures
from moist.mode.probing import Probe
from moist.mode.probing import probe_experts as probe
from moist.mode.results import TableResults, VariantResults, write_results
from moist.mode.table_mixtures import BatchedMixtures, with_one
from moist.mode.table_storage import load_table
from moist.mode.table_training import prepare
from moist.mode.tables import Table
from moist.runtime.contract import Metadata, main
from moist.stages.probe_experts.settings import STAGE, Settings

TOLERANCE = 1e-6


def probe_experts(settings: Settings, *, table: Path, mixtures: list[Path], results: Path) -> Metadata:
    """Probe all mixtures of a table; the accuracy found must be the one that training reported."""
    torch.set_num_threads(1)
    data = load_table(table)
    variants = []
    for folder in mixtures:
        batched, trained = load_mixtures(folder, data)
        variants.append(trained.model_copy(update={"probes": _probes(batched, trained, data, folder)}))
    found = TableResults(
        table=data.name,
        rows=len(data.labels),
        features=data.features.shape[1],
        classes=list(data.classes),
        notes=list(data.notes),
        variants=variants,
    )
    write_results(found, results)
    shown = {"table": data.name, "variants": len(variants)}
    for variant in variants:
        for alpha, probes in zip(variant.alphas, variant.probes, strict=True):
            accuracy = sum(each.accuracy for each in probes) / len(probes)
            shown[f"{variant.architecture.label}, alpha {alpha:g}"] = round(accuracy, 6)
    return {"results": shown}


@torch.no_grad()
def _probes(batched: BatchedMixtures, trained: VariantResults, data: Table, folder: Path) -> list[list[Probe]]:
    """(V, S): a probe for every alpha and seed."""
    prepared = prepare(data, trained.training["scaling"], trained.seeds)
    output = batched(with_one(prepared.test))
    logits, weights, alone = (part.numpy() for part in (output.logits, output.weights, output.expert_logits))
    labels = prepared.test_labels.numpy()
    seeds = range(len(trained.seeds))
    found = [
        [probe(logits[s, v], weights[s, v], alone[s, v], labels[s]) for s in seeds] for v in range(len(trained.alphas))
    ]
    for s in seeds:
        for v, alpha in enumerate(trained.alphas):
            if abs(found[v][s].accuracy - trained.test[s][v]) > TOLERANCE:
                raise DamagedArtifactError(
                    f"{folder}: the mixture of seed {trained.seeds[s]} and alpha {alpha:g} reaches "
                    f"{found[v][s].accuracy:.4f} on {data.name}, but training reported {trained.test[s][v]:.4f}: "
                    "it was trained on another table or split; rerun train_mixture."
                )
    return found


if __name__ == "__main__":
    main(STAGE, probe_experts)

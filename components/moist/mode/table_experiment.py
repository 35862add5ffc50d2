"""One mixture on one table, as every experiment of the MoDE paper on tables needs it: trained, then probed."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from moist.errors import DamagedArtifactError
from moist.mode.narrow_vision import gradient_norms, gradient_shares
from moist.mode.probing import Probe, Repairs, count_repairs, probe_experts
from moist.mode.results import Architecture, NarrowVision, TableResults, VariantResults
from moist.mode.table_mixtures import BatchedMixtures, TableModel, with_one
from moist.mode.table_training import Prepared, TableTraining, Trained, prepare, train_batched
from moist.mode.tables import Table

VISION_EVERY = 5
"""Epochs between measurements of narrow vision, which cost as much as an epoch of training each."""

TOLERANCE = 1e-6
"""How far the accuracy that probing finds may lie from that of training."""


def train_variant(
    table: Table,
    model: TableModel,
    training: TableTraining,
    alphas: Sequence[float],
    seeds: Sequence[int],
    *,
    narrow_vision: bool = False,
    after_epoch: Callable[[int], None] | None = None,
) -> tuple[Trained, VariantResults]:
    """Train all seeds and alphas together; test accuracies are those of the kept epoch. Raises as train_batched does.

    With `narrow_vision`, a mixture of several experts is also looked at as in Fig 1 in every fifth epoch.
    `after_epoch` is told each epoch's number, from 1.
    """
    strengths = torch.tensor(alphas)
    norms: dict[int, Tensor] = {}
    began = time.monotonic()

    def look(epoch: int, batched: BatchedMixtures, prepared: Prepared) -> None:
        if narrow_vision and model.experts > 1 and (epoch - 1) % VISION_EVERY == 0:
            norms[epoch] = gradient_norms(batched, prepared.train, prepared.train_labels, strengths)
        if after_epoch is not None:
            after_epoch(epoch)

    trained = train_batched(table, model, training, alphas, seeds, look)
    return trained, VariantResults(
        architecture=Architecture.model_validate(model.model_dump()),
        training=training.model_dump(),
        alphas=list(alphas),
        seeds=list(seeds),
        test=trained.test_accuracy.tolist(),
        validation=trained.validation_accuracy.tolist(),
        kept_epoch=trained.kept_epoch.tolist(),
        narrow_vision=_narrow_vision(norms, len(alphas)),
        seconds=round(time.monotonic() - began, 3),
    )


@torch.no_grad()
def probe_variant(mixtures: BatchedMixtures, results: VariantResults, table: Table) -> VariantResults:
    """Add a probe for every alpha and seed, on its test rows, and what is repaired of the errors at alpha 0.

    All experts answer, under any gate.

    Raises DamagedArtifactError where an accuracy is not the one that training reported.
    """
    prepared = prepare(table, results.training["scaling"], results.seeds)
    output = mixtures(with_one(prepared.test))
    logits, weights, alone = (part.numpy() for part in (output.logits, output.weights, output.expert_logits))
    labels = prepared.test_labels.numpy()

    def probe(v: int, s: int) -> Probe:
        found = probe_experts(logits[s, v], weights[s, v], alone[s, v], labels[s])
        if abs(found.accuracy - results.test[s][v]) > TOLERANCE:
            raise DamagedArtifactError(
                f"the mixture of seed {results.seeds[s]} and alpha {results.alphas[v]:g} reaches {found.accuracy:.4f} "
                f"on {table.name}, but training reported {results.test[s][v]:.4f}: it was trained on another table or "
                "split; rerun train_mixture."
            )
        return found

    def repaired(v: int, s: int) -> Repairs:
        return count_repairs(logits[s, plain], weights[s, plain], alone[s, plain], logits[s, v], labels[s])

    alphas, seeds = range(len(results.alphas)), range(len(results.seeds))
    found: dict[str, Any] = {"probes": [[probe(v, s) for s in seeds] for v in alphas]}
    if 0.0 in results.alphas:
        plain = results.alphas.index(0.0)
        found["repairs"] = [[repaired(v, s) for s in seeds] for v in alphas]
    return results.model_copy(update=found)


def table_results(table: Table, variants: Sequence[VariantResults]) -> TableResults:
    """What was measured on a table, beside what it is."""
    return TableResults(
        table=table.name,
        rows=len(table.labels),
        features=table.features.shape[1],
        classes=list(table.classes),
        notes=list(table.notes),
        variants=list(variants),
    )


def _narrow_vision(norms: dict[int, Tensor], alphas: int) -> list[NarrowVision]:
    if not norms:
        return []
    over_epochs = torch.stack(list(norms.values()))  # (epochs, S, V, subsets, experts)
    whole = gradient_shares(over_epochs.mean(dim=(0, 1)))
    own = gradient_shares(over_epochs.mean(dim=1)).diagonal(dim1=-2, dim2=-1).nanmean(dim=-1)  # (epochs, V)
    return [
        NarrowVision(
            share=[[_number(value) for value in row] for row in whole[v].tolist()],
            own_share=[_number(value) for value in own[:, v].tolist()],
            epochs=list(norms),
        )
        for v in range(alphas)
    ]


def _number(value: float) -> float | None:
    return None if value != value else value

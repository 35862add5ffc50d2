"""The MoDE paper's table experiments as functions: Tables 3, 6 and 7, Figs 1, 3 and 4."""

from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from moist.errors import InputError
from moist.mode.narrow_vision import gradient_norms, gradient_shares
from moist.mode.probing import Probe, probe_experts
from moist.mode.statistics import Paired, Summary
from moist.mode.table_mixtures import DENSE, SINGLE, SPARSE, BatchedMixtures, TableModel, with_one
from moist.mode.table_training import Prepared, TableTraining, Trained, train_batched
from moist.mode.tables import Table

PAPER_ALPHAS = (0.01, 0.1)
"""The distillation strengths that the paper uses on tables, without saying which where."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Comparison(_Frozen):
    """A plain mixture beside the same mixture with mutual distillation, on one table."""

    model: TableModel
    moe: Summary = Field(description="test accuracy with alpha 0")
    mode: Summary = Field(description="test accuracy with the chosen alpha")
    alpha: float = Field(description="of those offered, the best by mean validation accuracy")
    difference: Paired = Field(description="mode - moe, paired by seed")


class Table3Row(_Frozen):
    """One data set of Table 3: its five columns and the differences."""

    table: str
    rows: int
    features: int
    classes: int
    notes: list[str]
    single: Summary
    dense: Comparison
    sparse: Comparison


class Table3(_Frozen):
    """Table 3: single, MoE and MoDE on tables, dense and sparse."""

    training: TableTraining
    seeds: list[int]
    rows: list[Table3Row]
    dense_difference: Paired = Field(
        description="each seed's difference averaged over the data sets, then paired by seed"
    )
    sparse_difference: Paired


class Table7(_Frozen):
    """Table 7: MoE and MoDE with more experts, dense; one list of comparisons a data set."""

    training: TableTraining
    seeds: list[int]
    rows: dict[str, list[Comparison]]


class AlphaPoint(_Frozen):
    """One point of Fig 4."""

    alpha: float
    test: Summary
    validation: Summary
    difference: Paired = Field(description="test accuracy minus that of alpha 0, paired by seed")


class Figure4(_Frozen):
    """Fig 4: accuracy against distillation strength."""

    table: str
    model: TableModel
    training: TableTraining
    points: list[AlphaPoint]


class ProbedAlpha(_Frozen):
    """One column of Table 6 and one panel of Fig 3, for every seed."""

    alpha: float
    probes: list[Probe] = Field(description="one a seed, on its test rows")


class Table6(_Frozen):
    """Table 6 and Fig 3: expert probing at several distillation strengths."""

    table: str
    classes: list[str]
    model: TableModel
    training: TableTraining
    seeds: list[int]
    columns: list[ProbedAlpha]


class VisionShare(_Frozen):
    """Fig 1 for one alpha: share[a][e] is expert e's part of the gradient of the subset that expert a dominates."""

    alpha: float
    share: list[list[float | None]] = Field(
        description="over all training: mean norms over epochs and seeds, rows normalised; None without gradient"
    )
    own_share: list[float | None] = Field(description="mean over subsets of share[a][a], an epoch each: 1 is narrowest")


class Figure1(_Frozen):
    """Fig 1: narrow vision, and what distillation does to it."""

    table: str
    model: TableModel
    training: TableTraining
    seeds: list[int]
    alphas: list[VisionShare]


def compare(
    table: Table,
    model: TableModel,
    training: TableTraining,
    seeds: Sequence[int],
    alphas: Sequence[float] = PAPER_ALPHAS,
) -> Comparison:
    """Train MoE (alpha 0) and MoDE (each of `alphas`) on one table; the alpha is chosen on validation accuracy."""
    trained = train_batched(table, model, training, [0.0, *_positive(alphas)], seeds)
    best = 1 + int(trained.validation_accuracy[:, 1:].mean(dim=0).argmax())
    moe, mode = trained.test_accuracy[:, 0].tolist(), trained.test_accuracy[:, best].tolist()
    return Comparison(
        model=model,
        moe=Summary.of(moe),
        mode=Summary.of(mode),
        alpha=[0.0, *alphas][best],
        difference=Paired.of(mode, moe),
    )


def table_3_row(
    table: Table,
    training: TableTraining,
    seeds: Sequence[int],
    alphas: Sequence[float] = PAPER_ALPHAS,
    dense: TableModel = DENSE,
    sparse: TableModel = SPARSE,
) -> Table3Row:
    """The five columns of Table 3 on one data set. Raises as train_batched does."""
    single = SINGLE.model_copy(update={"hidden": dense.hidden})
    return Table3Row(
        table=table.name,
        rows=len(table.labels),
        features=table.features.shape[1],
        classes=len(table.classes),
        notes=list(table.notes),
        single=Summary.of(train_batched(table, single, training, [0.0], seeds).test_accuracy[:, 0].tolist()),
        dense=compare(table, dense, training, seeds, alphas),
        sparse=compare(table, sparse, training, seeds, alphas),
    )


def table_3(
    tables: Sequence[Table], training: TableTraining, seeds: Sequence[int], alphas: Sequence[float] = PAPER_ALPHAS
) -> Table3:
    """Table 3 on any data sets. Raises InputError when there is none."""
    return collect_table_3([table_3_row(table, training, seeds, alphas) for table in tables], training, seeds)


def collect_table_3(rows: Sequence[Table3Row], training: TableTraining, seeds: Sequence[int]) -> Table3:
    """Put rows that were made apart together. Raises InputError for no rows or rows of different seeds."""
    if not rows or any(len(row.single.values) != len(seeds) for row in rows):
        raise InputError(f"Table 3 needs at least one row, and each with {len(seeds)} runs.")
    return Table3(
        training=training,
        seeds=list(seeds),
        rows=list(rows),
        dense_difference=_over_tables([row.dense for row in rows]),
        sparse_difference=_over_tables([row.sparse for row in rows]),
    )


def table_7(
    tables: Sequence[Table],
    training: TableTraining,
    seeds: Sequence[int],
    experts: Sequence[int] = (2, 4, 8),
    alphas: Sequence[float] = PAPER_ALPHAS,
) -> Table7:
    """Table 7: dense mixtures of 2, 4 and 8 experts."""
    models = [DENSE.model_copy(update={"experts": count}) for count in experts]
    rows = {table.name: [compare(table, model, training, seeds, alphas) for model in models] for table in tables}
    return Table7(training=training, seeds=list(seeds), rows=rows)


def figure_4(
    table: Table,
    training: TableTraining,
    seeds: Sequence[int],
    alphas: Sequence[float] = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0),
    model: TableModel = DENSE,
) -> Figure4:
    """Fig 4: accuracy at alpha 0 and every alpha given, all trained as one model."""
    strengths = [0.0, *_positive(alphas)]
    trained = train_batched(table, model, training, strengths, seeds)
    test, validation = trained.test_accuracy, trained.validation_accuracy
    points = [
        AlphaPoint(
            alpha=alpha,
            test=Summary.of(test[:, v].tolist()),
            validation=Summary.of(validation[:, v].tolist()),
            difference=Paired.of(test[:, v].tolist(), test[:, 0].tolist()),
        )
        for v, alpha in enumerate(strengths)
    ]
    return Figure4(table=table.name, model=model, training=training, points=points)


def table_6(
    table: Table,
    training: TableTraining,
    seeds: Sequence[int],
    alphas: Sequence[float] = (0.0, 0.01, 100.0),
    model: TableModel = DENSE,
) -> Table6:
    """Table 6 and Fig 3: probe the experts of every seed at every alpha on its test rows."""
    trained = train_batched(table, model, training, alphas, seeds)
    columns = [ProbedAlpha(alpha=alpha, probes=probe_members(trained, v)) for v, alpha in enumerate(alphas)]
    return Table6(
        table=table.name,
        classes=list(table.classes),
        model=model,
        training=training,
        seeds=list(seeds),
        columns=columns,
    )


@torch.no_grad()
def probe_members(trained: Trained, variant: int) -> list[Probe]:
    """Probe every seed's mixture of one alpha (by position) on its test rows; all experts answer, under any gate."""
    output = trained.model(with_one(trained.data.test))
    return [
        probe_experts(
            output.logits[s, variant].numpy(),
            output.weights[s, variant].numpy(),
            output.expert_logits[s, variant].numpy(),
            trained.data.test_labels[s].numpy(),
        )
        for s in range(output.logits.shape[0])
    ]


def figure_1(
    table: Table,
    training: TableTraining,
    seeds: Sequence[int],
    alphas: Sequence[float] = (0.0, 0.01),
    model: TableModel = DENSE,
) -> Figure1:
    """Fig 1: after every epoch, how much the subset that each expert dominates pulls at each expert."""
    strengths = torch.tensor(alphas)
    norms: list[Tensor] = []

    def measure(epoch: int, mixtures: BatchedMixtures, data: Prepared) -> None:
        norms.append(gradient_norms(mixtures, data.train, data.train_labels, strengths))

    train_batched(table, model, training, alphas, seeds, after_epoch=measure)
    over_epochs = torch.stack(norms)  # (epochs, S, V, subsets, experts)
    whole = gradient_shares(over_epochs.mean(dim=(0, 1)))
    own = gradient_shares(over_epochs.mean(dim=1)).diagonal(dim1=-2, dim2=-1).nanmean(dim=-1)  # (epochs, V)
    shares = [
        VisionShare(
            alpha=alpha,
            share=[[_number(x) for x in row] for row in whole[v].tolist()],
            own_share=[_number(x) for x in own[:, v].tolist()],
        )
        for v, alpha in enumerate(alphas)
    ]
    return Figure1(table=table.name, model=model, training=training, seeds=list(seeds), alphas=shares)


def _positive(alphas: Sequence[float]) -> Sequence[float]:
    if not alphas or not all(alpha > 0 for alpha in alphas):
        raise InputError(
            f"alphas for MoDE are {list(alphas)}: give at least one, each above 0; 0 is the plain mixture."
        )
    return alphas


def _over_tables(comparisons: Sequence[Comparison]) -> Paired:
    """Average every seed's accuracies over the data sets, then pair."""
    mode = torch.tensor([comparison.mode.values for comparison in comparisons]).mean(dim=0)
    moe = torch.tensor([comparison.moe.values for comparison in comparisons]).mean(dim=0)
    return Paired.of(mode.tolist(), moe.tolist())


def _number(x: float) -> float | None:
    return None if x != x else x

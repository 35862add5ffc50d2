"""Training table mixtures: all seeds and alphas as one batched model, or one by one, which gives the same."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from moist.errors import DivergedError, InputError
from moist.frozen import Frozen
from moist.mode.distillation import Space, distillation_per_input, distilled_loss, in_space
from moist.mode.gates import load_balance_loss
from moist.mode.mixture import MixtureOfExperts
from moist.mode.table_mixtures import BatchedMixtures, BatchedOutput, TableModel, build_mixture, with_one
from moist.mode.tables import Table, split_rows


class TableTraining(Frozen):
    """How a table mixture is trained; the paper leaves all of this open."""

    epochs: int = Field(default=60, ge=1, description="passes over the training rows")
    batch_size: int = Field(default=64, ge=1, description="rows a step")
    optimizer: Literal["adam", "sgd"] = Field(default="adam", description="AdamW, or SGD with momentum 0.9")
    learning_rate: float = Field(default=5e-3, gt=0, description="constant")
    weight_decay: float = Field(default=0.0, ge=0, description="decoupled for adam")
    scaling: Literal["none", "standard"] = Field(
        default="standard", description="of features, fitted on the training rows"
    )
    space: Space = Field(
        default="logits", description="where experts are compared; outputs and logits are the same here"
    )
    balance: float = Field(default=0.0, ge=0, description="weight of the load-balance loss")
    keep: Literal["best", "last"] = Field(
        default="best", description="the epoch of best validation accuracy, or the last"
    )


class Prepared(NamedTuple):
    """One table as S seeds see it: their own splits, scaled by their own training rows."""

    train: Tensor
    """float (S, N, D)"""
    train_labels: Tensor
    """int64 (S, N)"""
    validation: Tensor
    validation_labels: Tensor
    test: Tensor
    test_labels: Tensor


class Trained(NamedTuple):
    """S x V trained mixtures and how they came about."""

    model: BatchedMixtures
    """in evaluation mode, holding what `keep` asked for"""
    data: Prepared
    losses: Tensor
    """float (steps, S, V): L = L_task + alpha * L_KD of every step"""
    validation: Tensor
    """float (epochs, S, V): accuracy, 0-1"""
    kept_epoch: Tensor
    """int64 (S, V): 1 to epochs"""
    test_accuracy: Tensor
    """float (S, V), 0-1"""

    @property
    def validation_accuracy(self) -> Tensor:
        """float (S, V), 0-1: at the kept epoch."""
        return self.validation.gather(0, self.kept_epoch.unsqueeze(0) - 1).squeeze(0)


def prepare(table: Table, scaling: Literal["none", "standard"], seeds: Sequence[int]) -> Prepared:
    """Split and scale the table for every seed; "none" leaves the features as they are."""
    from sklearn.preprocessing import StandardScaler

    standard = scaling == "standard"
    parts: list[list[Tensor]] = []
    for seed in seeds:
        split = split_rows(len(table.labels), seed)
        scaler = StandardScaler(with_mean=standard, with_std=standard).fit(table.features[split.train])
        row: list[Tensor] = []
        for rows in split:
            row += [torch.from_numpy(scaler.transform(table.features[rows])), torch.from_numpy(table.labels[rows])]
        parts.append(row)
    return Prepared(*(torch.stack(tensors) for tensors in zip(*parts, strict=True)))


def train_batched(
    table: Table,
    model: TableModel,
    settings: TableTraining,
    alphas: Sequence[float],
    seeds: Sequence[int],
    after_epoch: Callable[[int, BatchedMixtures, Prepared], None] | None = None,
) -> Trained:
    """Train a mixture for every seed (split, initialisation, order, noise) and alpha, all in one batched model.

    All alphas of a seed share split, initialisation, order and noise, so that differences are paired; alpha 0 is the
    plain mixture. `after_epoch` is called with the epoch (from 1), the model and the data.

    Raises InputError for no or negative alphas or no seeds, DivergedError when a loss is not finite.
    """
    check_runs(alphas, seeds)
    data = prepare(table, settings.scaling, seeds)
    D, C = table.features.shape[1], len(table.classes)
    fresh = [build_mixture(model, D, C, seed).to(data.train.dtype) for seed in seeds]
    mixtures = BatchedMixtures(model, [[mixture] * len(alphas) for mixture in fresh], settings.space)
    optimizer = make_optimizer(settings, mixtures)
    train = with_one(data.train).flatten(0, 1)
    first_row = torch.arange(len(seeds)).unsqueeze(1) * data.train.shape[1]
    strength = torch.tensor(alphas, dtype=data.train.dtype) if any(alphas) else None
    ones = torch.ones(len(seeds), len(alphas), dtype=data.train.dtype)
    rounds = [epoch_rounds(seed, data.train.shape[1], model.experts, data.train.dtype) for seed in seeds]
    losses: list[Tensor] = []
    validation: list[Tensor] = []
    best = torch.full((len(seeds), len(alphas)), -1.0, dtype=torch.double)
    kept_epoch = torch.zeros_like(best, dtype=torch.long)
    kept = {name: parameter.detach().clone() for name, parameter in mixtures.named_parameters()}
    for epoch in range(1, settings.epochs + 1):
        mixtures.train()
        order, noise = (torch.stack(drawn) for drawn in zip(*(next(r) for r in rounds), strict=True))
        x = train.index_select(0, (order + first_row).flatten()).view(data.train.shape[0], -1, D + 1)
        y = data.train_labels.gather(1, order)
        for start in range(0, x.shape[1], settings.batch_size):
            rows = slice(start, start + settings.batch_size)
            output = mixtures(x[:, rows], noise[:, rows])
            loss = batched_loss(output, y[:, rows], strength, settings.balance)
            optimizer.zero_grad()
            loss.backward(ones)  # type: ignore[no-untyped-call]  # the gradient of the sum over members
            optimizer.step()
            losses.append(loss.detach())
        _check_finite(torch.stack(losses[-1:]), epoch, alphas, seeds)
        mixtures.eval()
        accuracy = batched_accuracy(mixtures, data.validation, data.validation_labels)
        validation.append(accuracy)
        better = accuracy > best if settings.keep == "best" else torch.ones_like(accuracy, dtype=torch.bool)
        best = torch.where(better, accuracy, best)
        kept_epoch[better] = epoch
        mixtures.keep_where(better, kept)
        if after_epoch is not None:
            after_epoch(epoch, mixtures, data)
    mixtures.load_state_dict(kept)
    test = batched_accuracy(mixtures, data.test, data.test_labels)
    return Trained(mixtures, data, torch.stack(losses), torch.stack(validation), kept_epoch, test)


def train_one(
    table: Table, model: TableModel, settings: TableTraining, alpha: float, seed: int
) -> tuple[MixtureOfExperts, Tensor, Tensor]:
    """The same training of one seed and alpha with the ordinary layer; keeps the last epoch.

    Gives the mixture, its losses, float (steps,), and its validation accuracies, float64 (epochs,), 0-1. It is what
    train_batched is tested and timed against.
    """
    data = prepare(table, settings.scaling, [seed])
    x, y = data.train[0], data.train_labels[0]
    mixture = build_mixture(model, x.shape[1], len(table.classes), seed).to(x.dtype)
    optimizer = make_optimizer(settings, mixture)
    for parameter in mixture.parameters():
        parameter.grad = torch.zeros_like(
            parameter
        )  # an expert without inputs has gradient 0, and its momentum goes on
    size = settings.batch_size
    rounds = epoch_rounds(seed, len(x), model.experts, x.dtype)
    losses: list[Tensor] = []
    validation: list[Tensor] = []
    for _ in range(settings.epochs):
        mixture.train()
        order, noise = next(rounds)
        for rows, drawn in zip(torch.split(order, size), torch.split(noise, size), strict=True):
            output = mixture(x[rows], drawn)
            loss = F.cross_entropy(output.output, y[rows])
            if settings.space == "embeddings":
                hidden = torch.stack([expert.embed(x[rows]) for expert in mixture.experts], dim=1)  # type: ignore[operator]
                chosen = output.routing.experts
                compared = hidden.gather(1, chosen.unsqueeze(-1).expand(*chosen.shape, hidden.shape[-1]))
            else:
                compared = in_space(output.expert_outputs, settings.space)
            loss = distilled_loss(loss, compared, alpha)
            if settings.balance:
                loss = loss + settings.balance * load_balance_loss(output.routing)
            optimizer.zero_grad(set_to_none=False)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.detach())
        mixture.eval()
        with torch.no_grad():
            answers = mixture(data.validation[0]).output.argmax(dim=1)
        validation.append((answers == data.validation_labels[0]).double().mean())
    return mixture, torch.stack(losses), torch.stack(validation)


def batched_loss(output: BatchedOutput, labels: Tensor, alphas: Tensor | None, balance: float = 0.0) -> Tensor:
    """L = L_task + alpha * L_KD (equation 8) of every member, float (S, V).

    `labels`: int64 (S, B). `alphas`: (V,); None where all are 0, which spares the distillation loss.
    """
    loss = batched_task_loss(output, labels)
    if output.compared.shape[3] > 1 and alphas is not None:
        loss = loss + alphas[:, None] * distillation_per_input(output.compared)
    loss = loss.mean(dim=2)
    if balance:
        E = output.weights.shape[-1]
        active = output.weights != 0
        share = active.to(loss.dtype).mean(dim=2) / active.sum(dim=-1, keepdim=True).to(loss.dtype).mean(dim=2)
        loss = loss + balance * E * (share * output.probabilities.mean(dim=2)).sum(dim=-1)
    return loss


def batched_task_loss(output: BatchedOutput, labels: Tensor) -> Tensor:
    """Cross-entropy of every input, float (S, V, B)."""
    S, V, B, C = output.logits.shape
    repeated = labels.unsqueeze(1).expand(S, V, B).reshape(-1)
    return F.cross_entropy(output.logits.reshape(-1, C), repeated, reduction="none").view(S, V, B)


@torch.no_grad()
def batched_accuracy(mixtures: BatchedMixtures, x: Tensor, labels: Tensor) -> Tensor:
    """Share of inputs (S, n, D) that every member classifies rightly, float64 (S, V)."""
    output: BatchedOutput = mixtures(with_one(x))
    return (output.logits.argmax(dim=-1) == labels.unsqueeze(1)).double().mean(dim=2)


def epoch_rounds(seed: int, rows: int, experts: int, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    """Endlessly, for each epoch: the order of the training rows (rows,) and the gate's noise (rows, experts)."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield torch.randperm(rows, generator=generator), torch.randn(rows, experts, generator=generator, dtype=dtype)


def make_optimizer(settings: TableTraining, module: nn.Module) -> torch.optim.Optimizer:
    """The optimizer that the settings name; elementwise, so that it treats stacked members each on its own."""
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            module.parameters(), settings.learning_rate, momentum=0.9, weight_decay=settings.weight_decay, fused=True
        )
    return torch.optim.AdamW(
        module.parameters(), settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )


def check_runs(alphas: Sequence[float], seeds: Sequence[int]) -> None:
    """Raises InputError unless there are alphas, all finite and 0 or more, and different seeds, all 0 or more."""
    if not alphas or any(not (np.isfinite(alpha) and alpha >= 0) for alpha in alphas):
        raise InputError(f"alphas are {list(alphas)}: give at least one number, each 0 or more.")
    if not seeds or any(seed < 0 for seed in seeds) or len(set(seeds)) < len(seeds):
        raise InputError(f"seeds are {list(seeds)}: give at least one, all different, each 0 or more.")


def _check_finite(losses: Tensor, epoch: int, alphas: Sequence[float], seeds: Sequence[int]) -> None:
    bad = (~torch.isfinite(losses)).nonzero()
    if len(bad):
        _, s, v = bad[0].tolist()
        raise DivergedError(
            f"the loss of seed {seeds[s]} with alpha {alphas[v]} is not finite in epoch {epoch}: "
            "lower the learning rate or alpha, or standardise the features."
        )

"""Training a translator: L = L_task + alpha * L_KD, one learning rate cycle, checkpoints, validation every epoch."""

import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from moist.errors import DivergedError
from moist.frozen import Frozen
from moist.mode.distillation import distilled_loss
from moist.mode.gates import load_balance_loss
from moist.mode.mixture import MixtureOutput
from moist.mode.translation_corpus import END, PAD, Batch, Pairs, batch_of, epoch_batches
from moist.mode.translation_model import Translator, TranslatorSpec, scored_pieces
from moist.training.loop import CHECK_EVERY, Checkpoints, History, restore, state_of
from moist.training.precision import Precision, autocast
from moist.training.progress import Progress, Silent

BETAS = (0.9, 0.98)
"""AdamW's, as in Vaswani et al. 2017, section 5.3."""


class TranslationTraining(Frozen):
    """How a translator learns; the paper says alpha 1, and leaves the rest to fairseq."""

    alpha: float = Field(default=1.0, ge=0)
    epochs: int = Field(default=8, ge=1)
    batch_tokens: int = Field(default=1024, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    warmup: float = Field(default=0.1, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    balance: float = Field(default=0.0, ge=0)
    seed: int = Field(default=0, ge=0)


def task_loss(model: Translator, states: Tensor, target: Tensor, label_smoothing: float) -> Tensor:
    """Mean cross-entropy in nats of each next piece; `states` float (B, T - 1, width), target int64 (B, T).

    Filling is left out before the logits are made, and a piece that no training sentence has is left out of the mean.
    """
    following = target[:, 1:]
    there = following != PAD
    logits = model.logits(states[there]).float()
    place = torch.searchsorted(model.scored, following[there]).clamp(max=len(model.scored) - 1)
    known = model.scored[place] == following[there]
    return F.cross_entropy(logits, place.masked_fill(~known, -100), label_smoothing=label_smoothing)


def whole_loss(task: Tensor, outputs: list[MixtureOutput], alpha: float, balance: float = 0.0) -> Tensor:
    """L = L_task + alpha * L_KD (equation 8), summed over the mixtures, each a mean over tokens (no filling)."""
    loss = task
    for output in outputs:
        dense = output.expert_outputs.shape[1] == output.weights.shape[1]
        loss = distilled_loss(loss, output.expert_outputs, alpha, None if dense else output.routing.active)
        if balance:
            loss = loss + balance * load_balance_loss(output.routing)
    return loss


def build_translator(spec: TranslatorSpec, vocabulary: int, pairs: Pairs, seed: int) -> Translator:
    """A fresh network for the training pairs; `seed` decides its weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Translator(spec, vocabulary, scored_pieces(pairs.target, END))


def train_translator(
    model: Translator,
    pairs: Pairs,
    training: TranslationTraining,
    *,
    precision: Precision = "auto",
    progress: Progress | None = None,
    checkpoints: Checkpoints | None = None,
    validate: Callable[[], dict[str, float]] | None = None,
) -> History:
    """Train in place and leave the model in evaluation mode; `images` of the progress are target tokens.

    Batches depend on the seed, the epoch and nothing else, so that a run that goes on from a checkpoint ends with the
    weights of an undisturbed one on the same device and thread count. Raises DivergedError.
    """
    progress, device = progress or Silent(), model.scored.device
    batches = [epoch_batches(pairs, training.batch_tokens, training.seed, e) for e in range(1, training.epochs + 1)]
    starts = [sum(map(len, batches[:epoch])) for epoch in range(training.epochs + 1)]
    optimizer = torch.optim.AdamW(
        model.parameters(), training.learning_rate, BETAS, weight_decay=training.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _one_cycle(starts[-1], training.warmup))
    torch.manual_seed(training.seed + 1)
    history, first_epoch, first_step, sums = History(), 1, 0, torch.zeros(2, dtype=torch.float64)
    identity = _identity(pairs, training)
    state = checkpoints.load() if checkpoints else None
    if state is not None and state["identity"] == identity:
        history = restore(state, model, optimizer, device)
        schedule.load_state_dict(state["schedule"])
        first_epoch, first_step, sums = state["epoch"], state["step"], state["sums"]

    def save(epoch: int, step: int) -> None:
        finished = epoch > training.epochs
        if checkpoints and checkpoints.due(finished):
            more = {"identity": identity, "schedule": schedule.state_dict(), "finished": finished}
            checkpoints.save({**state_of(model, optimizer, history, epoch, step, sums, device), **more})

    for epoch in range(first_epoch, training.epochs + 1):
        model.train()
        todo = batches[epoch - 1]
        tokens = [sum(len(pairs.target[i]) + 1 for i in chosen.tolist()) for chosen in todo]
        progress.epoch_begins(epoch, training.epochs, sum(tokens))
        began, pending, reported = time.perf_counter(), [], sum(tokens[:first_step])
        for step in range(first_step, len(todo)):
            batch = batch_of(pairs, todo[step], device)
            optimizer.zero_grad(set_to_none=True)
            task, loss = _losses(model, batch, training, precision)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            pending.append(torch.stack([task.detach(), loss.detach()]).double() * tokens[step])
            if (step + 1) % CHECK_EVERY == 0 or step + 1 == len(todo):
                sums = sums + torch.stack(pending).sum(dim=0).cpu()
                if not bool(sums.isfinite().all()):
                    raise DivergedError(
                        f"The loss became {float(sums[1])} before step {step + 1} of epoch {epoch} (learning rate "
                        f"{training.learning_rate:g}); lower the learning rate, or set precision=fp32."
                    )
                so_far, pending = sum(tokens[: step + 1]), []
                progress.advanced(so_far - reported, float(sums[1]) / so_far)
                reported = so_far
                if step + 1 < len(todo):
                    save(epoch, step + 1)
        seconds = max(time.perf_counter() - began, 1e-9)
        values = {"task_loss": float(sums[0]) / sum(tokens), "loss": float(sums[1]) / sum(tokens)}
        if validate is not None:
            model.eval()
            values |= validate()
        history.add(values)
        history.images_per_second.append(sum(tokens[first_step:]) / seconds)
        first_step, sums = 0, torch.zeros(2, dtype=torch.float64)
        progress.epoch_ended({**values, "tokens_per_second": history.images_per_second[-1]})
        save(epoch + 1, 0)
    model.eval()
    return history


def _losses(
    model: Translator, batch: Batch, training: TranslationTraining, precision: Precision
) -> tuple[Tensor, Tensor]:
    with autocast(batch.source.device, precision):
        states, outputs = model(batch.source, batch.target[:, :-1])
        task = task_loss(model, states, batch.target, training.label_smoothing)
        return task, whole_loss(task, outputs, training.alpha, training.balance)


@torch.no_grad()
def validation_loss(model: Translator, pairs: Pairs, tokens: int = 4096) -> float:
    """Cross-entropy in nats a piece, without smoothing, over all pairs."""
    total, count = 0.0, 0
    for chosen in epoch_batches(pairs, tokens, 0, 0):
        batch = batch_of(pairs, chosen, model.scored.device)
        states, _ = model(batch.source, batch.target[:, :-1])
        here = int((batch.target[:, 1:] != PAD).sum())
        total += float(task_loss(model, states, batch.target, 0.0)) * here
        count += here
    return total / count


def _one_cycle(steps: int, warmup: float) -> Callable[[int], float]:
    """The learning rate's factor at a step: linear up over the share `warmup` of all steps, then linear down to 0."""
    peak = max(1, round(warmup * steps))

    def factor(step: int) -> float:
        return (step + 1) / peak if step < peak else max(0.0, (steps - step) / max(1, steps - peak))

    return factor


def _identity(pairs: Pairs, training: TranslationTraining) -> str:
    """What a checkpoint's state depends on besides the network."""
    facts: list[Any] = [pairs.source, pairs.target, training.model_dump()]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

"""The loop that trains on images: augmented batches, an objective, an optimizer with warm-up and cosine, restarts."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from moist.data.batches import epoch_order
from moist.errors import DivergedError
from moist.training import distributed
from moist.training.images import Images
from moist.training.memory import keep_freed
from moist.training.muon import KernelMuon
from moist.training.precision import autocast
from moist.training.progress import Progress, Silent

CHECK_EVERY = 32
"""Steps between looks at the loss: each look waits for the device."""


@dataclass(frozen=True)
class Batch:
    """One step's data: augmented, normalised images float (B, C, H, W), labels and indices int64 (B,), and the view."""

    images: Tensor
    labels: Tensor
    indices: Tensor
    view: int


@dataclass(frozen=True)
class Outcome:
    """What an objective gives back: the loss to minimise (scalar), and how many of the batch were right (scalar)."""

    loss: Tensor
    correct: Tensor


Objective = Callable[[Batch], Outcome]
Optimizer = torch.optim.Optimizer | KernelMuon


@dataclass(frozen=True)
class Recipe:
    """How to optimise. The schedule is cosine to zero after a linear warm-up."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.0
    optimizer: Literal["adamw", "sgd", "muon"] = "adamw"
    warmup_epochs: float = 0.0
    seed: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    views: int | None = None
    """Number of stored augmented views to cycle through, 0 for plain images only; None draws a new view every epoch."""

    def view(self, epoch: int) -> int:
        """The augmented view of an epoch, both counted from 1; view 0 is the plain image."""
        if self.views is None:
            return epoch
        return 0 if self.views == 0 else (epoch - 1) % self.views + 1


class Checkpoints(Protocol):
    """Where a loop's state survives a killed process."""

    def load(self) -> dict[str, Any] | None:
        """The last state saved, or None."""

    def due(self, finished: bool = False) -> bool:
        """Whether it is time to save again; once training is finished it is, if there is an earlier state."""

    def save(self, state: dict[str, Any]) -> None:
        """Keep this state instead of the last one, atomically."""


@dataclass
class History:
    """One value an epoch of everything that the loop measured."""

    series: dict[str, list[float]] = field(default_factory=dict)
    images_per_second: list[float] = field(default_factory=list)

    def add(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.series.setdefault(name, []).append(value)


def fit(
    module: nn.Module,
    images: Images,
    objective: Objective,
    recipe: Recipe,
    *,
    progress: Progress | None = None,
    checkpoints: Checkpoints | None = None,
    validate: Callable[[], dict[str, float]] | None = None,
) -> History:
    """Train a module in place and leave it in evaluation mode.

    Images, their order and their augmentation depend on the recipe's seed, the epoch and nothing else, so that a
    restart from a checkpoint ends with the same weights as an uninterrupted run on the same device and thread count.

    Within `torch.distributed` each process works on its slice of every batch, batch norms see the whole batch, and
    gradients are summed: the result is a single process's, but for the order in which floating-point numbers are added
    and for dropout, which each process draws for itself. Only the first process saves checkpoints.

    Raises:
        DivergedError: for a loss that is not finite, naming the step and the last good state.
    """
    progress = progress or Silent()
    count = len(images)
    steps = math.ceil(count / recipe.batch_size)
    if steps > 1 and count % recipe.batch_size == 1:
        steps -= 1  # A batch of one image has no spread to normalise by: it joins the batch before it.
    if images.device.type == "cpu":
        keep_freed()
    distributed.share_weights(module)
    optimizer = _optimizer(module, recipe)
    history, first_epoch, first_step, sums = History(), 1, 0, torch.zeros(2, dtype=torch.float64)
    torch.manual_seed(recipe.seed + distributed.rank())
    state = distributed.shared(checkpoints.load() if checkpoints else None)
    if state is not None:
        history = restore(state, module, optimizer, images.device)
        first_epoch, first_step, sums = state["epoch"], state["step"], state["sums"]

    def save(epoch: int, step: int) -> None:
        finished = epoch > recipe.epochs
        if checkpoints and checkpoints.due(finished):
            now = state_of(module, optimizer, history, epoch, step, sums, images.device)
            checkpoints.save({**now, "finished": finished})

    for epoch in range(first_epoch, recipe.epochs + 1):
        module.train()
        progress.epoch_begins(epoch, recipe.epochs, count)
        order = epoch_order(count, recipe.seed, epoch).to(images.device)
        view = recipe.view(epoch)
        began, seen, pending = time.perf_counter(), first_step * recipe.batch_size, []
        for step in range(first_step, steps):
            whole = order[step * recipe.batch_size : (step + 1) * recipe.batch_size if step + 1 < steps else count]
            indices, share = distributed.slice_of(whole)
            batch = Batch(images.view(indices, view), images.labels[indices], indices, view)
            rate = _learning_rate(recipe, (epoch - 1) * steps + step, recipe.epochs * steps, steps)
            for group in optimizer.param_groups:
                group["lr"] = rate * group.get("scale", 1.0)
            optimizer.zero_grad(set_to_none=True)
            with distributed.whole_batch_norm(module):
                with autocast(images.device, recipe.precision):
                    outcome = objective(batch)
                (outcome.loss * share).backward()  # type: ignore[no-untyped-call]
            distributed.sum_gradients(module)
            optimizer.step()
            answered = share * len(whole)
            right = outcome.correct.double() * (answered / len(indices))
            pending.append(torch.stack([outcome.loss.detach().double() * answered, right]))
            if (step + 1) % CHECK_EVERY == 0 or step + 1 == steps:
                sums = sums + _checked(distributed.total(torch.stack(pending)).cpu(), epoch, step, recipe)
                so_far = (step + 1) * recipe.batch_size if step + 1 < steps else count
                progress.advanced(so_far - seen, float(sums[0]) / so_far, float(sums[1]) / so_far)
                seen, pending = so_far, []
                if step + 1 < steps:
                    save(epoch, step + 1)
        values = {"loss": float(sums[0]) / count, "accuracy": float(sums[1]) / count}
        seconds = max(time.perf_counter() - began, 1e-9)
        if validate is not None:
            module.eval()
            values |= validate()
        history.add(values)
        history.images_per_second.append((count - first_step * recipe.batch_size) / seconds)
        first_step, sums = 0, torch.zeros(2, dtype=torch.float64)
        progress.epoch_ended({**values, "images_per_second": history.images_per_second[-1]})
        save(epoch + 1, 0)
    module.eval()
    return history


def _optimizer(module: nn.Module, recipe: Recipe) -> Optimizer:
    """Weight decay on matrices and kernels only: biases and norms are not shrunk. With Muon, on matrices only."""
    decayed = [p for p in module.parameters() if p.requires_grad and p.ndim > 1]
    kept = [p for p in module.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": kept, "weight_decay": 0.0}]
    if recipe.optimizer == "muon":
        kernels = [p for p in decayed if p.ndim == 4]
        groups[0]["params"] = [p for p in decayed if p.ndim != 4]
        return KernelMuon(kernels, groups, recipe.learning_rate)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)


def _learning_rate(recipe: Recipe, step: int, steps: int, steps_per_epoch: int) -> float:
    warmup = round(recipe.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _checked(values: Tensor, epoch: int, last_step: int, recipe: Recipe) -> Tensor:
    """The sum of losses and correct answers over some steps (steps, 2), each loss finite."""
    finite = values[:, 0].isfinite()
    if not bool(finite.all()):
        bad = int((~finite).nonzero()[0])
        step = last_step - len(values) + 2 + bad
        good = f"the end of epoch {epoch - 1}" if epoch > 1 else "the initial weights"
        raise DivergedError(
            f"The loss became {float(values[bad, 0])} at step {step} of epoch {epoch} (learning rate "
            f"{recipe.learning_rate:g}, batch size {recipe.batch_size}); the last good state was {good}. "
            "Lower the learning rate, or set precision=fp32."
        )
    return values.sum(dim=0)


def state_of(
    module: nn.Module,
    optimizer: Optimizer,
    history: History,
    epoch: int,
    step: int,
    sums: Tensor,
    device: torch.device,
) -> dict[str, Any]:
    """What a checkpoint holds: all that `restore` needs, and where to go on."""
    return {
        "module": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "rng": torch.get_rng_state(),
        "gpu_rng": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "series": history.series,
        "images_per_second": history.images_per_second,
        "epoch": epoch,
        "step": step,
        "sums": sums,
    }


def restore(state: dict[str, Any], module: nn.Module, optimizer: Optimizer, device: torch.device) -> History:
    """Undo `state_of`, but for epoch, step and sums. A state that is of a CPU leaves a GPU's random state alone."""
    module.load_state_dict(state["module"])
    optimizer.load_state_dict(state["optimizer"])
    if distributed.rank() == 0:
        torch.set_rng_state(state["rng"])
        if device.type == "cuda" and state["gpu_rng"] is not None:
            torch.cuda.set_rng_state(state["gpu_rng"], device)
    else:  # The state is the first process's: the others draw their dropout anew, not what they drew at the start.
        torch.manual_seed(torch.initial_seed() + 1_000_003 * (state["epoch"] + 1) + state["step"])
    return History(series=state["series"], images_per_second=state["images_per_second"])

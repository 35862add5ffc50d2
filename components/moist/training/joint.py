"""The objectives of joint training: differentiable routing, the paper's hard routing, and routing by the label."""

from typing import Protocol

import torch

from moist.mode.distillation import Space, distilled_loss, in_space
from moist.models.mixture import Mixture
from moist.training.loop import Batch, Objective, Outcome
from moist.training.losses import distillation, soft_mixture_loss
from moist.training.targets import Targets


class JointSettings(Protocol):
    """What the objectives read of train_jointly's settings."""

    @property
    def temperature(self) -> float: ...
    @property
    def teacher_weight(self) -> float: ...
    @property
    def others_weight(self) -> float: ...
    @property
    def router_weight(self) -> float: ...
    @property
    def mutual_weight(self) -> float: ...
    @property
    def mutual_space(self) -> Space: ...


def soft_objective(mixture: Mixture, targets: Targets, settings: JointSettings) -> Objective:
    """Every student sees every image; a gradient reaches router and students. Counts what top-1 routing gets right."""

    def objective(batch: Batch) -> Outcome:
        router_logits, student_logits = mixture.dense(batch.images)
        loss = soft_mixture_loss(
            router_logits.float(),
            student_logits.float(),
            targets.of(batch),
            batch.labels,
            mixture.student_of_class,
            temperature=settings.temperature,
            weight=settings.teacher_weight,
            others_weight=settings.others_weight,
            router_weight=settings.router_weight,
        )
        loss = distilled_loss(loss, in_space(student_logits.float(), settings.mutual_space), settings.mutual_weight)
        rows = torch.arange(len(batch.labels), device=batch.labels.device)
        chosen = student_logits[rows, router_logits.argmax(1)]
        return Outcome(loss, (chosen.argmax(1) == batch.labels).sum())

    return objective


def hard_objective(mixture: Mixture, targets: Targets, settings: JointSettings) -> Objective:
    """The paper's: the router's argmax sends each image to one student, so no gradient reaches the router."""

    def objective(batch: Batch) -> Outcome:
        if mixture.router is not None:
            mixture.router.eval()
        with torch.no_grad():
            chosen = mixture.route(batch.images).argmax(1)
        return _dispatched(mixture, targets, settings, batch, chosen)

    return objective


def oracle_objective(mixture: Mixture, targets: Targets, settings: JointSettings) -> Objective:
    """The conceptual 100% router: the label decides which student sees an image."""

    def objective(batch: Batch) -> Outcome:
        return _dispatched(mixture, targets, settings, batch, mixture.student_of_class[batch.labels])

    return objective


def _dispatched(
    mixture: Mixture, targets: Targets, settings: JointSettings, batch: Batch, chosen: torch.Tensor
) -> Outcome:
    output = mixture.forward_to(batch.images, chosen).float()
    loss = distillation(
        output,
        targets.of(batch),
        batch.labels,
        temperature=settings.temperature,
        weight=settings.teacher_weight,
    )
    return Outcome(loss, (output.argmax(1) == batch.labels).sum())

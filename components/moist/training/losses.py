"""The losses of distillation, router pretraining and joint training."""

import torch
import torch.nn.functional as F
from torch import Tensor


def distillation(student: Tensor, teacher: Tensor, labels: Tensor, *, temperature: float, weight: float) -> Tensor:
    """Soft and hard targets together: `weight * T^2 * KL(teacher_T || student_T) + (1 - weight) * CE(student, labels)`.

    Hinton et al. 2015, section 2; T^2 keeps the soft gradient's size independent of T.

    Args:
        student, teacher: logits, float (B, classes).
        labels: int64 (B,).
        temperature: T > 0, divides both logits.
        weight: of the soft target, 0-1; at 0 the teacher is not looked at, at 1 the labels are not.

    Returns:
        The mean over the batch, in nats; scalar.
    """
    return distillation_each(student, teacher, labels, temperature=temperature, weight=weight).mean()


def distillation_each(student: Tensor, teacher: Tensor, labels: Tensor, *, temperature: float, weight: float) -> Tensor:
    """As `distillation`, one value an image: float (B,)."""
    hard = F.cross_entropy(student, labels, reduction="none")
    if weight == 0:
        return hard
    log_p = F.log_softmax(student / temperature, dim=1)
    log_q = F.log_softmax(teacher / temperature, dim=1)
    soft = F.kl_div(log_p, log_q, reduction="none", log_target=True).sum(dim=1)
    return weight * temperature**2 * soft + (1 - weight) * hard


def router_loss(logits: Tensor, clusters: Tensor) -> Tensor:
    """Cross-entropy of router logits, float (B, k), against the true clusters, int64 (B,)."""
    return F.cross_entropy(logits, clusters)


def double_softmax_router_loss(logits: Tensor, clusters: Tensor, temperature: float = 5.0) -> Tensor:
    """The paper's router loss: softmax with temperature, and its probabilities passed to cross-entropy as logits.

    The second softmax sees values between 0 and 1, so the loss cannot fall below
    `log(1 + (k - 1) / e)`, 0.55 for k = 3, however sure and right the router is. Only for reproduction.
    """
    return F.cross_entropy(F.softmax(logits / temperature, dim=1), clusters)


def soft_mixture_loss(
    router_logits: Tensor,
    student_logits: Tensor,
    teacher: Tensor,
    labels: Tensor,
    student_of_class: Tensor,
    *,
    temperature: float,
    weight: float,
    others_weight: float,
    router_weight: float,
) -> Tensor:
    """Joint training with a differentiable router: a gradient reaches the router and every student.

    Three parts, averaged over the batch:
    the negative log-likelihood of the mixture, `-log sum_j g_j p_j(label)`, with g the router's softmax;
    each student's distillation loss, weight 1 on its own cluster's images and `others_weight` on the others, so that a
    wrongly routed image is less lost; and the router's cross-entropy against the true cluster, times `router_weight`.

    Args:
        router_logits: float (B, k). student_logits: float (B, k, classes). teacher: logits, float (B, classes).
        labels: int64 (B,). student_of_class: int64 (classes,), the student whose cluster holds each class.
    """
    count, k, classes = student_logits.shape
    own = student_of_class[labels]
    log_gate = F.log_softmax(router_logits, dim=1)
    picked = labels.view(-1, 1, 1).expand(-1, k, 1)
    log_likelihood = F.log_softmax(student_logits, dim=2).gather(2, picked).squeeze(2)
    mixture = -torch.logsumexp(log_gate + log_likelihood, dim=1).mean()
    each = distillation_each(
        student_logits.reshape(count * k, classes),
        teacher.repeat_interleave(k, dim=0),
        labels.repeat_interleave(k),
        temperature=temperature,
        weight=weight,
    ).view(count, k)
    importance = torch.full_like(each, others_weight).scatter_(1, own.view(-1, 1), 1.0)
    students = (each * importance).sum(dim=1).mean()
    return mixture + students + router_weight * F.nll_loss(log_gate, own)

"""One batch on several processes, as if one had seen it whole: slices, summed gradients, batch norm over all of it."""

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

Value = TypeVar("Value")


def processes() -> int:
    """How many processes train together; 1 outside of `torch.distributed`."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this one is, from 0; the first one reports and keeps checkpoints."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def slice_of(indices: Tensor) -> tuple[Tensor, float]:
    """This process's slice of a batch's indices int64 (B,), and the share of the batch's loss that it answers for.

    The slices follow each other, so the global batch and its order are those of a single process. A batch with fewer
    images than processes goes to all of them whole, each answering for an equal share.
    """
    count = processes()
    if count == 1:
        return indices, 1.0
    if len(indices) < count:
        return indices, 1 / count
    own = indices.tensor_split(count)[rank()]
    return own, len(own) / len(indices)


def total(values: Tensor) -> Tensor:
    """The sum over all processes; the tensor itself outside of `torch.distributed`."""
    if processes() > 1:
        distributed.all_reduce(values)
    return values


def shared(value: Value) -> Value:
    """What the first process passed."""
    if processes() == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box)
    return box[0]


def share_weights(module: nn.Module) -> None:
    """Give all processes the first one's weights and buffers."""
    if processes() > 1:
        for tensor in module.state_dict().values():
            # Channels-last tensors are not contiguous, and a broadcast needs one that is.
            copy = tensor.contiguous()
            distributed.broadcast(copy, 0)
            tensor.copy_(copy)


def sum_gradients(module: nn.Module) -> None:
    """Replace every gradient by its sum over the processes, in one message.

    A parameter that got no gradient in any process (an expert that saw no image) keeps none, as in a single process.
    """
    if processes() == 1:
        return
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    present = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
    parts = [(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in parameters]
    summed = torch.cat([*parts, present])
    distributed.all_reduce(summed)
    *gradients, found = torch.split(summed, [*(p.numel() for p in parameters), len(parameters)])
    for parameter, gradient, anywhere in zip(parameters, gradients, found.tolist(), strict=True):
        if anywhere:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad.copy_(gradient.view(parameter.shape))


@contextlib.contextmanager
def whole_batch_norm(module: nn.Module) -> Iterator[None]:
    """Let batch norms in training measure the whole batch rather than this process's slice of it.

    `nn.SyncBatchNorm` does the same on GPUs only.
    """
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)] if processes() > 1 else []
    for norm in norms:
        norm.__dict__["forward"] = partial(_normalise, norm)
    try:
        yield
    finally:
        for norm in norms:
            del norm.__dict__["forward"]


def _normalise(norm: nn.BatchNorm2d, images: Tensor) -> Tensor:
    """Batch norm of (B, C, H, W) by mean and variance over all processes' images; the gradient crosses them too."""
    if not norm.training:
        return nn.BatchNorm2d.forward(norm, images)
    wide = images if images.dtype == torch.float64 else images.float()
    count = total(torch.tensor(float(wide.numel() // wide.shape[1]), device=wide.device))
    mean = _summed(wide.sum(dim=(0, 2, 3))) / count
    centred = wide - mean.view(1, -1, 1, 1)
    variance = _summed(centred.square().sum(dim=(0, 2, 3))) / count
    _remember(norm, mean.detach(), variance.detach() * count / (count - 1))
    scale = torch.rsqrt(variance + norm.eps) * norm.weight
    return (centred * scale.view(1, -1, 1, 1) + norm.bias.view(1, -1, 1, 1)).to(images.dtype)


class _Sum(torch.autograd.Function):
    """The sum over the processes of what each passes; so each one's gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return total(values.clone())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return total(gradients[0].clone())


def _summed(values: Tensor) -> Tensor:
    result: Tensor = _Sum.apply(values)
    return result


@torch.no_grad()
def _remember(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked.add_(1)
    momentum = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, momentum)
    norm.running_var.lerp_(variance, momentum)

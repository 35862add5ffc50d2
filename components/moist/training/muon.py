"""Muon for convolutional networks: every kernel is a matrix, a row an output channel; whatever else learns, by SGD.

Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon. Before each step a kernel is scaled so that its
rows' norms have a root mean square of 1, as in airbench94_muon: the batch norm after it takes any scale out again, so
the learning rate is by how much of itself a kernel turns in a step. That stands in for weight decay.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.8
SGD_RATE = 2.0
"""Learning rate of norms and of the last layer, as a multiple of the kernels'."""


class KernelMuon:
    """torch's Muon on kernels (out, in, height, width) in channels-last memory order, SGD with Nesterov momentum 0.9 on
    the other groups of parameters; it does what the training loop asks of an optimizer.

    Raises RuntimeError for a kernel in another memory order.
    """

    def __init__(self, kernels: Sequence[nn.Parameter], others: Sequence[dict[str, Any]], learning_rate: float) -> None:
        self._kernels = list(kernels)
        # torch's takes matrices only: these share their memory with the kernels.
        self._matrices = [nn.Parameter(_rows(kernel.detach()).view(len(kernel), -1)) for kernel in kernels]
        self._muon = torch.optim.Muon(self._matrices, learning_rate, weight_decay=0.0, momentum=MOMENTUM)
        groups = [{**group, "scale": SGD_RATE} for group in others]
        self._sgd = torch.optim.SGD(groups, learning_rate, momentum=0.9, nesterov=True)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """As torch's optimizers have them; a group's `scale` multiplies the schedule's learning rate."""
        return [*self._muon.param_groups, *self._sgd.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for kernel in self._kernels:
            kernel.grad = None
        self._sgd.zero_grad(set_to_none)

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        for kernel, matrix in zip(self._kernels, self._matrices, strict=True):
            matrix.grad = None if kernel.grad is None else _rows(kernel.grad).reshape(matrix.shape)
            matrix.mul_(math.sqrt(len(matrix)) / matrix.norm().clamp(min=1e-12))
        self._muon.step()  # type: ignore[no-untyped-call]
        self._sgd.step()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""
        return {"muon": self._muon.state_dict(), "sgd": self._sgd.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo `state_dict`."""
        self._muon.load_state_dict(state["muon"])
        self._sgd.load_state_dict(state["sgd"])


def _rows(kernel: Tensor) -> Tensor:
    """A kernel (out, in, height, width) as it lies in channels-last memory: (out, height, width, in)."""
    return kernel.permute(0, 2, 3, 1)

"""What a network costs at inference: multiply-adds (macs) per image, counted with fvcore, and parameters."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from moist.errors import InputError
from moist.models.mixture import Mixture

# Operators that fvcore does not know and that multiply no matrices: leaving them out loses nothing by its own rules.
_FREE = frozenset(
    {
        "aten::add",
        "aten::add_",
        "aten::clamp_min",
        "aten::constant_pad_nd",
        "aten::div",
        "aten::log",
        "aten::max_pool2d",
        "aten::mean",
        "aten::mul",
        "aten::pad",
        "aten::softmax",
        "aten::sub",
        "aten::sum",
        "aten::unflatten",
    }
)


@dataclass(frozen=True)
class Cost:
    """Multiply-adds per image and the parameters that must be stored; `trunk_macs` is the shared part of a student."""

    router_macs: int
    student_macs: int
    parameters: int
    trunk_macs: int = 0

    @property
    def macs(self) -> int:
        """Router and the one student that runs, together."""
        return self.router_macs + self.student_macs

    def macs_of(self, students: float, routers: float = 1) -> float:
        """The same where so many students run on an image, in the mean, and the router so often; a trunk runs once."""
        return routers * self.router_macs + self.trunk_macs + students * (self.student_macs - self.trunk_macs)

    @property
    def paper_mflops(self) -> float:
        """The unit of MoIST's Table I, only to compare with it: the router left out, and divided by a batch of 64."""
        return self.student_macs / 1e6 / 64


def macs(network: nn.Module, shape: tuple[int, int, int]) -> int:
    """Multiply-adds of one image of `shape` (height, width, channels), counted by fvcore; the network is not changed.

    One multiply-add counts once. Of the elementwise work fvcore counts normalisation and average pooling only.

    Raises:
        InputError: the network has an operator that cannot be counted.
    """
    with warnings.catch_warnings():
        # fvcore still traces with torch.jit, which warns on import and on every trace.
        warnings.simplefilter("ignore")
        from fvcore.nn import FlopCountAnalysis
        from fvcore.nn.jit_handles import elementwise_flop_counter

        device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
        image = torch.zeros(1, shape[2], shape[0], shape[1], device=device)
        training = {module: module.training for module in network.modules()}
        fused = torch.backends.mha.get_fastpath_enabled()
        try:
            network.eval()
            torch.backends.mha.set_fastpath_enabled(False)  # fvcore would skip the fused operator without a word
            analysis = FlopCountAnalysis(network, image)
            analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
            analysis.set_op_handle("aten::scaled_dot_product_attention", _attention_macs)
            analysis.set_op_handle("aten::avg_pool2d", elementwise_flop_counter(1, 0))  # as for the adaptive one
            total = int(analysis.total())
            unknown = sorted(set(analysis.unsupported_ops()) - _FREE)
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)
            for module, mode in training.items():
                module.training = mode
    if unknown:
        raise InputError(
            f"the multiply-adds of {type(network).__name__} cannot be counted: fvcore lacks {', '.join(unknown)}"
        )
    return total


def _attention_macs(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """Queries times keys, (L, d) x (d, S), and weights times values, (L, S) x (S, d), for every image and head."""
    batch, heads, queries, width = inputs[0].type().sizes()
    keys, values = inputs[1].type().sizes()[-2], inputs[2].type().sizes()[-1]
    return int(batch * heads * queries * keys * (width + values))


def parameters(network: nn.Module) -> int:
    """The number of parameters that must be stored."""
    return sum(parameter.numel() for parameter in network.parameters())


def cost(network: nn.Module, shape: tuple[int, int, int]) -> Cost:
    """The cost of one image of `shape` (height, width, channels) in a network or a mixture.

    A mixture's parts are counted one by one: in a trace of the whole, routing depends on data and the router would
    drop out. All students are alike, so the first stands for the one that runs.
    """
    if isinstance(network, Mixture):
        trunk, features = 0, shape
        if network.trunk is not None:
            trunk, features = macs(network.trunk, shape), _output_shape(network.trunk, shape)
        router = 0 if network.router is None else macs(network.router, features)
        student = trunk + macs(network.students[0], features)
        return Cost(router_macs=router, student_macs=student, parameters=parameters(network), trunk_macs=trunk)
    return Cost(router_macs=0, student_macs=macs(network, shape), parameters=parameters(network))


def _output_shape(network: nn.Module, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Height, width, channels of what a network of convolutions makes of one image of `shape`."""
    device = next(network.parameters()).device
    with torch.no_grad():
        _, channels, height, width = network(torch.zeros(1, shape[2], shape[0], shape[1], device=device)).shape
    return height, width, channels


def student_macs(shape: tuple[int, int, int], classes: int, width: int, channels: tuple[int, int]) -> int:
    """What `macs` counts for such a student, from its sizes alone; `shape` is height, width, channels."""
    height, image_width, image_channels = shape
    first, second = channels
    convolutions = 9 * (height * image_width * image_channels + (height // 2) * (image_width // 2) * second) * first
    return convolutions + (second * (height // 4) * (image_width // 4) + classes) * width


def channels_for_macs(shape: tuple[int, int, int], classes: int, width: int, target_macs: int) -> tuple[int, int]:
    """Channels of the narrowest student that needs at least `target_macs` multiply-adds per image.

    Both channel counts of the paper's student, (32, 64), are scaled by one factor; `width` is kept. `shape` is height,
    width, channels. This is the control of the same inference cost.

    Raises:
        InputError: even 512 and 1024 channels need fewer multiply-adds.
    """
    for second in range(1, 1025):
        channels = ((second + 1) // 2, second)
        if student_macs(shape, classes, width, channels) >= target_macs:
            return channels
    raise InputError(f"no student of at most 1024 channels needs {target_macs:,} multiply-adds: ask for fewer")

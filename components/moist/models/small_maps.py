"""3x3 convolutions of small feature maps, which CPUs with AMX train faster by a matrix product."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALL = 4
"""Up to this width of the output oneDNN fills at most a quarter of AMX's tiles, and a product pays for its copies."""


class Conv3x3(nn.Conv2d):
    """A 3x3 convolution with padding 1 and no bias, which is trained as matrix products where that is faster.

    In all else, its parameters' names among it, it is the convolution that it is made of.
    """

    def __init__(self, of: nn.Conv2d) -> None:
        super().__init__(of.in_channels, of.out_channels, 3, of.stride[0], 1, bias=False, device="meta")
        self.weight = of.weight

    def forward(self, images: Tensor) -> Tensor:
        """Feature maps (B, out, H', W') of feature maps (B, in, H, W)."""
        if torch.is_grad_enabled() and -(-images.shape[3] // self.stride[0]) <= SMALL and _on_amx(images):
            maps: Tensor = _Convolution.apply(images.bfloat16(), self.weight.bfloat16(), self.stride[0])
            return maps
        return super().forward(images)


def with_small_maps(network: nn.Module) -> nn.Module:
    """The network, its 3x3 convolutions replaced by ones that train small feature maps faster."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Conv2d and _is_plain(child):
                setattr(parent, name, Conv3x3(child))
    return network


def _on_amx(images: Tensor) -> bool:
    """Whether convolutions of these are computed by AMX."""
    on_cpu = images.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    return on_cpu and bool(torch.cpu._is_amx_tile_supported())


def _is_plain(layer: nn.Conv2d) -> bool:
    shape = (layer.kernel_size, layer.padding, layer.dilation, layer.groups, layer.bias, layer.padding_mode)
    return shape == ((3, 3), (1, 1), (1, 1), 1, None, "zeros") and layer.stride[0] == layer.stride[1]


class _Convolution(torch.autograd.Function):
    """The convolution and its gradients as matrix products, but for the images' gradient of a strided one."""

    @staticmethod
    def forward(context: Any, images: Tensor, weight: Tensor, stride: int) -> Tensor:
        context.save_for_backward(images, weight)
        context.stride = stride
        return _product(images, weight, stride)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        images, weight = context.saved_tensors
        (gradient,) = gradients
        if context.stride == 1:
            of_images = _product(gradient, weight.transpose(0, 1).flip(2, 3), 1)
        else:
            sides, ones = [context.stride] * 2, [1, 1]
            of_images = torch.ops.aten.convolution_backward(
                gradient, images, weight, None, sides, ones, ones, False, [0, 0], 1, [True, False, False]
            )[0]
        pixels = gradient.permute(0, 2, 3, 1).flatten(0, 2)
        products = pixels.t() @ _patches(images, context.stride).flatten(0, 2)
        of_weight = products.view(-1, 3, 3, images.shape[1]).permute(0, 3, 1, 2)
        return of_images, of_weight, None


def _product(images: Tensor, weight: Tensor, stride: int) -> Tensor:
    """The convolution (B, out, H', W') of images (B, in, H, W)."""
    maps = _patches(images, stride) @ weight.permute(2, 3, 1, 0).flatten(0, 2)
    return maps.permute(0, 3, 1, 2)


def _patches(images: Tensor, stride: int) -> Tensor:
    """What each output pixel sees (B, H', W', 9 * C) of images (B, C, H, W): nine copies, each shifted."""
    padded = F.pad(images.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    height, width = (padded.shape[side] - 2 for side in (1, 2))
    shifted = [padded[:, y : y + height : stride, x : x + width : stride] for y in range(3) for x in range(3)]
    return torch.cat(shifted, dim=3)

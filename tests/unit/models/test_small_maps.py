"""Convolutions of small feature maps give what PyTorch's give, by whichever way."""

import pytest
import torch
from moist.models import small_maps
from moist.models.small_maps import Conv3x3, with_small_maps
from moist.models.teacher import SmallResNet, resnet18
from torch import Tensor, nn


@pytest.fixture
def multiplied(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every processor counts as one with AMX; the strides of the convolutions that a product served."""
    served: list[int] = []
    apply = small_maps._Convolution.apply

    def noted(images: Tensor, weight: Tensor, stride: int) -> Tensor:
        served.append(stride)
        result: Tensor = apply(images, weight, stride)  # type: ignore[no-untyped-call]
        return result

    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    monkeypatch.setattr(small_maps._Convolution, "apply", noted)
    return served


def gradients(layer: nn.Module, images: Tensor, *, bf16: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Output, and the gradients of images and weights, of a fixed function of the output."""
    seen = images.clone().requires_grad_()
    layer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        maps = layer(seen)
    (maps.float() * torch.linspace(-1, 1, maps.numel()).view_as(maps)).sum().backward()  # type: ignore[no-untyped-call]
    (weight,) = layer.parameters()
    assert seen.grad is not None
    assert weight.grad is not None
    return maps.detach().float(), seen.grad, weight.grad


@pytest.mark.parametrize(("height", "width", "stride"), [(4, 4, 1), (8, 8, 2), (3, 4, 1), (7, 5, 2), (1, 1, 1)])
def test_output_and_gradients_are_those_of_a_convolution(
    multiplied: list[int], height: int, width: int, stride: int
) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(6, 5, 3, stride, 1, bias=False)
    images = torch.randn(4, 6, height, width).contiguous(memory_format=torch.channels_last)
    exact = gradients(plain, images, bf16=False)
    ours = gradients(Conv3x3(plain), images, bf16=True)
    assert multiplied == [stride]
    for found, expected in zip(ours, exact, strict=True):
        assert found.shape == expected.shape
        assert found.dtype == torch.float32
        # bf16 has 8 bits of precision; a wrong shift or a transposed kernel is off by as much as the values are large.
        assert (found - expected).abs().max() < 0.03 * expected.abs().max()


@pytest.mark.parametrize("bf16", [False, True])
def test_large_maps_and_float32_are_left_to_pytorch(multiplied: list[int], bf16: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(3, 5, 3, padding=1, bias=False)
    images = torch.randn(2, 3, 4 if not bf16 else 5, 4 if not bf16 else 5)
    expected = gradients(plain, images, bf16=bf16)
    for found, value in zip(gradients(Conv3x3(plain), images, bf16=bf16), expected, strict=True):
        assert torch.equal(found, value)
    assert multiplied == []


@pytest.mark.parametrize("make", [resnet18, SmallResNet])
def test_a_teacher_is_the_same_network_by_the_same_names(make: type[nn.Module], multiplied: list[int]) -> None:
    network = make((32, 32, 3), 10)
    replaced = {name for name, layer in network.named_modules() if isinstance(layer, Conv3x3)}
    kernels = {name for name, layer in network.named_modules() if getattr(layer, "kernel_size", None) == (3, 3)}
    assert replaced
    assert replaced == kernels
    assert all(parameter.device.type == "cpu" for parameter in network.parameters())
    with torch.autocast("cpu", torch.bfloat16):
        network(torch.randn(2, 3, 32, 32)).float().sum().backward()
    assert multiplied == ([2, 1, 1, 1] if make is resnet18 else [2, 1])
    multiplied.clear()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        network(torch.randn(2, 3, 32, 32))
    assert multiplied == []


def test_other_convolutions_stay() -> None:
    kept = nn.Sequential(
        nn.Conv2d(4, 4, 3, padding=1),
        nn.Conv2d(4, 4, 3, bias=False),
        nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False),
        nn.Conv2d(4, 4, 1, bias=False),
        nn.Conv2d(4, 4, 3, stride=(1, 2), padding=1, bias=False),
        nn.Conv2d(4, 4, 3, padding=1, dilation=2, bias=False),
    )
    assert {type(layer) for layer in with_small_maps(kept).children()} == {nn.Conv2d}

"""Which number format and memory layout are fast on the device at hand."""

import contextlib
from typing import Literal, TypeVar

import torch
from torch import nn

Precision = Literal["auto", "fp32", "bf16"]
ModuleT = TypeVar("ModuleT", bound=nn.Module)


def choose_device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def placed(module: ModuleT, device: torch.device) -> ModuleT:
    """The module on the device, its kernels in channels-last memory order."""
    module.to(device)
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return module


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bf16 matrix products are faster than fp32 ones: on GPUs, and on CPUs with AMX or AVX512-BF16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def number_format(device: torch.device, precision: Precision) -> Literal["fp32", "bf16"]:
    """What the forward pass computes in: what is asked for, or what `auto` finds fast."""
    bf16 = precision == "bf16" or (precision == "auto" and has_fast_bf16(device))
    return "bf16" if bf16 else "fp32"


def autocast(device: torch.device, precision: Precision) -> contextlib.AbstractContextManager[object]:
    """Run the forward pass in bf16 where asked, or where `auto` finds it fast; weights stay fp32."""
    bf16 = number_format(device, precision) == "bf16"
    return torch.autocast(device.type, torch.bfloat16) if bf16 else contextlib.nullcontext()

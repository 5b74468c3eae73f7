"""The number format and the memory format that networks run fastest in on a device."""

import platform

import torch
from torch import nn


def fast_precision(device: str | torch.device = "cpu") -> torch.dtype:
    """bfloat16 (for autocast) where the hardware multiplies it natively, else float32.

    Native: CUDA devices that say so, and CPUs with AVX512-BF16 or AMX. On a CPU without, it is slower than float32. A
    CPU whose kernels ATEN_CPU_CAPABILITY holds to older instructions is taken for one that has only those.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities()
        newest = kind == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX512"
        fast = newest and any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
    return torch.bfloat16 if fast else torch.float32


def device_name(device: str | torch.device) -> str:
    """How a record of a run names its device: a GPU's name, or the CPU's kind, its fast instructions and threads."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    kind = torch.cpu.get_capabilities().get("cpu_name") or platform.machine()
    return f"{kind}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"


def memory_format(device: str | torch.device) -> torch.memory_format:
    """The order of images in which a denoising network is fastest: on a CPU, group normalisation in channels-last order
    takes longer than the convolutions."""
    return torch.channels_last if torch.device(device).type == "cuda" else torch.contiguous_format


def channels_last(model: nn.Module) -> nn.Module:
    """Put a network into channels-last order, in place, but for the layers that it would train wrongly; returns it.

    On CPUs with AVX2 and no AVX-512, oneDNN writes past its buffer in the weight gradient of a 1 x 1 convolution with a
    stride and fewer channels than a vector's 8, where images or weights are in channels-last order (oneDNN issue 6035;
    so do torch 2.12 to 2.15): the gradient is wrong, the heap corrupt. Such layers, and their images, stay contiguous.
    """
    model.to(memory_format=torch.channels_last)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and set(layer.kernel_size) == {1} and set(layer.stride) != {1} and layer.in_channels // layer.groups < 8:
            layer.to(memory_format=torch.contiguous_format)
            if _contiguous not in layer._forward_pre_hooks.values():
                layer.register_forward_pre_hook(_contiguous)
    return model


def _contiguous(layer, images):
    # Not Tensor.contiguous, which leaves the strides of a single channel as they are.
    return tuple(image.clone(memory_format=torch.contiguous_format) for image in images)


def usable_device(name: str | torch.device) -> torch.device:
    """The device of that name; ValueError where there is none. For wherever a device enters, before long work."""
    try:
        device = torch.device(name)
        module = torch.get_device_module(device)
        there = module.is_available() and (device.index or 0) < module.device_count()
    except (RuntimeError, TypeError, ValueError):  # no name of a kind of devices, or of one that cannot compute
        there = False
    if not there:
        raise ValueError(f"there is no device {name} here; cpu is always there, and cuda and mps are names of others")
    return device


def home_of(model: object, default: torch.device) -> torch.device:
    """Where the weights of a network are; ``default`` for what has none, or is none."""
    return next((p.device for p in model.parameters()), default) if isinstance(model, nn.Module) else default

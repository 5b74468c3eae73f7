"""The number format that networks run fastest in on a device."""

import platform

import torch


def fast_precision(device="cpu"):
    """bfloat16 (for autocast) where the hardware multiplies it natively, else float32.

    Native: CUDA devices that say so, and CPUs with AVX512-BF16 or AMX. On a CPU without, it is slower than float32.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities()
        fast = kind == "cpu" and any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
    return torch.bfloat16 if fast else torch.float32


def device_name(device):
    """How a record of a run names its device: a GPU's name, or the CPU's kind, its fast instructions and threads."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    kind = torch.cpu.get_capabilities().get("cpu_name") or platform.machine()
    return f"{kind}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"

"""Networks in folders of diffusers' format: read as they are, or a sentence that names the file which is wrong."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

#: What diffusers calls the files of weights, up to their endings.
WEIGHTS = "diffusion_pytorch_model"


def load_unet(folder: Path, use_safetensors: bool | None = True) -> nn.Module:
    """The ``UNet2DModel``, or ``DiTTransformer2DModel``, in a folder of diffusers' format, in float32.

    use_safetensors: True for no other format, None for diffusers' older ``.bin`` files too, read without running code.
    FileNotFoundError where a file is missing, ValueError where one is damaged; both name it.
    """
    from diffusers import DiTTransformer2DModel, UNet2DModel

    kind: Any = DiTTransformer2DModel if read_json(folder / "config.json").get("_class_name") == "DiTTransformer2DModel" else UNet2DModel
    files = weight_files(folder, ("safetensors",) if use_safetensors else ("safetensors", "bin"))
    try:
        with silent_diffusers():
            unet, differences = kind.from_pretrained(
                folder,
                torch_dtype=torch.float32,
                local_files_only=True,
                use_safetensors=files[0].suffix == ".safetensors",
                output_loading_info=True,
                low_cpu_mem_usage=False,
            )  # else it asks for accelerate
    except Exception as error:  # of any kind, as the weights or the configuration may hold anything
        raise ValueError(f"{folder}: config.json or {files[0].name} is damaged ({error})") from error
    for kind, names in differences.items():
        if names:  # diffusers would leave those weights as they were drawn
            raise ValueError(
                f"{folder}: {files[0].name} does not hold the weights of the network in config.json: "
                f"{kind.replace('_', ' ')} {', '.join(map(str, list(names)[:3]))}"
            )
    return unet


def weight_files(folder: Path, formats: Sequence[str] = ("safetensors",)) -> list[Path]:
    """The files of a network's weights, in the first of the formats that there is; errors as in `load_unet`."""
    for form in formats:
        index, files = folder / f"{WEIGHTS}.{form}.index.json", [folder / f"{WEIGHTS}.{form}"]
        if index.is_file():
            names = read_json(index).get("weight_map")
            if not isinstance(names, dict) or not names:
                raise ValueError(f"{index} is damaged: it names no weights")
            files = [folder / name for name in sorted(set(names.values()))]
        if index.is_file() or files[0].is_file():
            break
    else:
        files = [folder / f"{WEIGHTS}.{formats[0]}"]
    for path in files:
        if not path.is_file():
            others = ", ".join(sorted(file.name for file in folder.glob(f"{WEIGHTS}*")))
            raise FileNotFoundError(
                f"{path} is missing; there is {others or 'no file of weights'} beside it (variants, such as fp16, are not read: save the network without)"
            )
        refuse_pointer(path)
        if path.suffix == ".safetensors":
            try:
                safe_open(path, "pt")
            except SafetensorError as error:
                raise ValueError(f"{path} is truncated or damaged ({error})") from error
    return files


def read_json(path: Path) -> dict:
    """The object in a JSON file. FileNotFoundError or ValueError, which name the file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    refuse_pointer(path)
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is damaged: it is no JSON ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: it holds a {type(content).__name__}, not an object")
    return content


def refuse_pointer(path: Path) -> None:
    """ValueError where Git LFS has left its pointer in the place of a file."""
    with open(path, "rb") as file:
        if file.read(24).startswith(b"version https://git-lfs"):
            raise ValueError(f"{path} is a pointer of Git LFS, not the file itself: get it by git lfs pull")


def pair(size: int | Sequence[int]) -> tuple[int, int]:
    """diffusers' size of a sample, a number or two, as (height, width)."""
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


@contextmanager
def silent_diffusers() -> Iterator[None]:
    """Within it, diffusers shows no progress bars."""
    from diffusers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()

"""Writing safetensors files whose bytes depend on their content only.

The library orders the header's metadata at random; :func:`write_tensors` sorts it, so equal tensors and
metadata give equal files and hashes. It writes atomically. A base's discriminator is saved and loaded here.
"""

import json
from collections.abc import Mapping

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from zoo.config import from_dict, to_dict
from zoo.errors import WeightzooError
from zoo.files import PathLike, write_bytes
from zoo.gans.patchgan import PatchGanConfig


def tensor_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """Return the safetensors file of ``tensors`` with its metadata in sorted order."""
    detached = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    data = safetensors.torch.save(detached)
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    if metadata:
        header = {"__metadata__": {key: metadata[key] for key in sorted(metadata)}} | header
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[end:]


def write_tensors(
    path: PathLike, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write ``tensors`` as safetensors, atomically; equal content gives equal bytes."""
    write_bytes(path, tensor_bytes(tensors, metadata))


def read_tensors(path: PathLike) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a safetensors file.

    Raises:
        WeightzooError: absent or unreadable.
    """
    try:
        with safe_open(str(path), "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except FileNotFoundError:
        raise WeightzooError(f"no such file: {path}; check the path") from None
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise WeightzooError(f"{path} is not a readable safetensors file ({error}); fetch it again") from None


def save_discriminator(path: PathLike, discriminator: nn.Module) -> None:
    """Write a PatchGAN with its config in the metadata."""
    config = json.dumps(to_dict(discriminator.config), sort_keys=True)
    write_tensors(path, discriminator.state_dict(), {"discriminator": "patchgan", "config": config})


def load_discriminator(path: PathLike) -> nn.Module:
    """Read what :func:`save_discriminator` wrote; frozen and in evaluation mode.

    Raises:
        WeightzooError: absent, unreadable, or not a discriminator of ours.
    """
    tensors, header = read_tensors(path)
    if header.get("discriminator") != "patchgan":
        raise WeightzooError(
            f"{path} is not a discriminator of weightzoo; give base/discriminator.safetensors"
        )
    try:
        config = from_dict(PatchGanConfig, json.loads(header["config"]))
        with torch.device("meta"):  # a config that asks for more than the file has allocates nothing
            discriminator = config.build()
        discriminator.load_state_dict(tensors, assign=True)
        if any(value.dtype != torch.float32 for value in tensors.values()):
            raise ValueError("its tensors are not float32")
    except (RuntimeError, KeyError, ValueError, TypeError, IndexError, ArithmeticError) as error:
        raise WeightzooError(f"{path} is not a readable discriminator ({error}); fetch it again") from None
    if bad := [name for name, value in tensors.items() if not torch.isfinite(value).all()]:
        raise WeightzooError(f"{path}: {bad[0]} holds NaN or infinite values; fetch or train it again")
    return discriminator.eval().requires_grad_(False)

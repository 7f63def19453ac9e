"""Safetensors files: written so that equal content gives equal bytes, read as a stranger's.

The library orders the header's metadata at random; :func:`write_tensors` sorts it, so equal tensors and
metadata give equal files and hashes. It writes atomically. A file may come with a config that asks for a network
of any size; :func:`load_strictly` believes the file. A base's discriminator is saved and loaded here.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.overrides import TorchFunctionMode

from zoo.config import from_dict, to_dict
from zoo.errors import WeightzooError
from zoo.files import PathLike, write_bytes
from zoo.gans.patchgan import PatchGanConfig

TYPES = {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool, torch.uint8}
TYPES |= {torch.int8, torch.int16, torch.int32, torch.int64}
MAX_CONFIG_BYTES = 1 << 16  # a longer one could ask for millions of layers


def tensor_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """Return the safetensors file of `tensors` with its metadata in sorted order."""
    detached = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    data = safetensors.torch.save(detached)
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    if metadata:
        header = {"__metadata__": {key: metadata[key] for key in sorted(metadata)}} | header
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[end:]


def write_tensors(path: PathLike, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write `tensors` as safetensors, atomically; equal content gives equal bytes."""
    write_bytes(path, tensor_bytes(tensors, metadata))


def read_tensors(path: PathLike) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a safetensors file.

    Raises:
        WeightzooError: absent, unreadable, or with numbers of a type that torch can store but not compute with.
    """
    with _opened(path) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if odd := [name for name, value in tensors.items() if value.dtype not in TYPES]:
            raise ValueError(f"{odd[0]} is of type {tensors[odd[0]].dtype}")
        return tensors, dict(file.metadata() or {})


def read_header(path: PathLike) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Return the shape of every tensor of a safetensors file, and the metadata, without reading a tensor.

    The library refuses a header that asks for other bytes than the file has.

    Raises:
        WeightzooError: absent or unreadable.
    """
    with _opened(path) as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        return shapes, dict(file.metadata() or {})


@contextmanager
def _opened(path: PathLike) -> Iterator[Any]:
    try:
        with safe_open(str(path), "pt") as file:
            yield file
    except FileNotFoundError:
        raise WeightzooError(f"no such file: {path}; check the path") from None
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise WeightzooError(f"{path} is not a readable safetensors file ({error}); fetch it again") from None


class ShapesOnly(TorchFunctionMode):
    """Builds modules without values: the meta device has none, and the code that would make them is slow to load."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.normal_, normalize) or (func is Tensor.mul and isinstance(args[1], float)):
            return args[0]
        if func is nn.init.normal_:
            return kwargs["tensor"]
        if func is torch.randn:
            func = torch.empty
        if func is torch.eye:
            func, args = torch.empty, (args[0], args[-1])
        if func is torch.arange and all(isinstance(value, int) for value in args):
            func, args = torch.empty, (len(range(*args)),)
        return func(*args, **(kwargs or {}))


def build_to_fit(path: PathLike, build: Callable[[], nn.Module]) -> nn.Module:
    """Return the module that `build` makes, on the meta device: nothing of its size is allocated.

    Raises:
        WeightzooError: the file is absent or unreadable, or has other tensors than the module asks for.
    """
    shapes, _ = read_header(path)
    try:
        with torch.device("meta"), ShapesOnly():
            module = build()
    except (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError) as error:
        raise WeightzooError(f"{path}: no network has its config ({error}); fetch it again") from None
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    if problem := _difference(wanted, shapes):
        raise WeightzooError(f"{path} does not fit its own config: {problem}; fetch it again")
    return module


def load_strictly(path: PathLike, build: Callable[[], nn.Module]) -> nn.Module:
    """Return the module that `build` makes with the tensors of a file, float32, frozen, in evaluation mode.

    What the module asks for is compared with what the file has before anything of that size is allocated.

    Raises:
        WeightzooError: absent, unreadable, another module's, or not finite.
    """
    module = build_to_fit(path, build)
    dtypes = {name: value.dtype for name, value in module.state_dict().items()}
    tensors, _ = read_tensors(path)
    # copies: what the library gives may be a view of the file
    own = {name: value.to(dtypes[name], copy=True) for name, value in tensors.items()}
    module.load_state_dict(_finite(path, own), assign=True)
    return module.eval().requires_grad_(False)


def read_finite(path: PathLike) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file.

    Raises:
        WeightzooError: absent or unreadable, or a value is not finite.
    """
    return _finite(path, read_tensors(path)[0])


def _finite(path: PathLike, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    if bad := [name for name, value in tensors.items() if not torch.isfinite(value).all()]:
        raise WeightzooError(f"{path}: {bad[0]} holds NaN or infinite values; fetch or train it again")
    return tensors


def _difference(wanted: Mapping[str, tuple[int, ...]], there: Mapping[str, tuple[int, ...]]) -> str:
    """Say where two sets of shapes differ first; empty if nowhere."""
    for name, shape in wanted.items():
        if name not in there:
            return f"{name} is missing"
        if there[name] != shape:
            return f"{name} has shape {list(there[name])}, not {list(shape)}"
    extra = sorted(set(there) - set(wanted))
    return f"{extra[0]} is unknown" if extra else ""


def save_discriminator(path: PathLike, discriminator: nn.Module) -> None:
    """Write a PatchGAN with its config in the metadata."""
    config = json.dumps(to_dict(discriminator.config), sort_keys=True)
    write_tensors(path, discriminator.state_dict(), {"discriminator": "patchgan", "config": config})


def load_discriminator(path: PathLike) -> nn.Module:
    """Read what :func:`save_discriminator` wrote; frozen and in evaluation mode.

    Raises:
        WeightzooError: absent, unreadable, or not a discriminator of ours.
    """
    _, header = read_header(path)
    if header.get("discriminator") != "patchgan":
        raise WeightzooError(f"{path} is not a discriminator of weightzoo; give base/discriminator.safetensors")
    return load_strictly(path, from_dict(PatchGanConfig, header_config(path, header)).build)


def header_config(path: PathLike, header: Mapping[str, str]) -> Any:
    """Return the config that a file's metadata carries as JSON.

    Raises:
        WeightzooError: there is none.
    """
    try:
        if len(header["config"]) > MAX_CONFIG_BYTES:
            raise ValueError(f"more than {MAX_CONFIG_BYTES} bytes")
        return json.loads(header["config"])
    except (KeyError, ValueError, RecursionError) as error:
        raise WeightzooError(f"{path} carries no readable config ({error!r}); fetch it again") from None

"""Adapters: the part of a generator that is one concept's own, and the shared base under it.

An adapter is a dict of tensors: `lora_B` factors, biases, norm affines and, where the config says so, the output
convolution. W and A stay in the base and are shared by the zoo: with A frozen, B has no gauge freedom, so adapters
of different concepts can be compared and learned.

    base = load_base("base/generator.safetensors")
    network = load_adapter(base, adapter)       # base + adapter, LoRA kept apart
    plain = merge(base, adapter)                # LoRA folded into W: ready for full fine-tuning
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.config import from_dict, to_dict
from zoo.errors import WeightzooError
from zoo.files import read_json_object
from zoo.gans import GANS, gan_name
from zoo.tensors import header_config, load_strictly, read_header, write_tensors

Adapter = dict[str, Tensor]
WEIGHTS = "generator.safetensors"  # of a whole generator


def adapter_names(generator: nn.Module) -> list[str]:
    """Return the names of the tensors that are trained per concept, in module order."""
    norms = {
        f"{name}.{leaf}"
        for name, module in generator.named_modules()
        if isinstance(module, nn.GroupNorm | nn.LayerNorm)
        for leaf in ("weight", "bias")
    }
    whole = ("output.weight", "refine.weight") if getattr(generator.config, "train_output", False) else ()
    return [
        name
        for name in free_parameters(generator)
        if name.endswith((".lora_B", ".bias")) or name in norms or name in whole
    ]


def free_parameters(generator: nn.Module) -> dict[str, Tensor]:
    """Return the parameters that training may change: all but those that the generator names as frozen."""
    frozen = getattr(generator, "frozen", ())
    return {name: value for name, value in generator.named_parameters() if not name.startswith(tuple(frozen))}


def initial_adapter(generator: nn.Module) -> Adapter:
    """Return the adapter that a generator has now; a base's is where every concept of a zoo starts."""
    tensors = dict(generator.named_parameters())
    return {name: tensors[name].detach().clone() for name in adapter_names(generator)}


def load_adapter(generator: nn.Module, adapter: Mapping[str, Tensor]) -> nn.Module:
    """Return a copy of the generator with the adapter's values.

    Raises:
        WeightzooError: names or shapes are of another generator, or a value is not finite.
    """
    check_adapter(generator, adapter)
    network = copy.deepcopy(generator)
    network.load_state_dict({name: value.float() for name, value in adapter.items()}, strict=False)
    return network


def check_adapter(generator: nn.Module, adapter: Mapping[str, Tensor]) -> None:
    """Raise WeightzooError unless the adapter fits this generator and is finite."""
    expected = initial_adapter(generator)
    if set(adapter) != set(expected):
        missing, unknown = sorted(set(expected) - set(adapter))[:3], sorted(set(adapter) - set(expected))[:3]
        raise WeightzooError(
            f"the adapter belongs to another generator: missing {missing}, unknown {unknown}; "
            "use it with the base that it was trained on"
        )
    for name, value in adapter.items():
        if value.shape != expected[name].shape:
            raise WeightzooError(
                f"the adapter's {name} has shape {tuple(value.shape)}, this base has "
                f"{tuple(expected[name].shape)}; use it with the base that it was trained on"
            )
        if not torch.isfinite(value).all():
            raise WeightzooError(f"the adapter's {name} holds NaN or infinite values; train or download it again")


def merge(generator: nn.Module, adapter: Mapping[str, Tensor] | None = None) -> nn.Module:
    """Return a plain generator, without LoRA, that computes the same: its W is W + B A."""
    network = generator if adapter is None else load_adapter(generator, adapter)
    return _plain_like(generator, merge_tensors(network.state_dict()))


def merge_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return all tensors of a generator, with W + B A in place of W, A and B."""
    merged = dict(tensors)
    for name in [name for name in merged if name.endswith(".lora_B")]:
        layer = name.removesuffix(".lora_B")
        update = torch.tensordot(merged.pop(name), merged.pop(f"{layer}.lora_A"), 1)
        merged[f"{layer}.weight"] = merged[f"{layer}.weight"] + update
    return merged


def plain(generator: nn.Module) -> nn.Module:
    """Return the generator without its LoRA factors; an adapter in PEFT format is applied to its W."""
    return _plain_like(generator, {n: v for n, v in generator.state_dict().items() if ".lora_" not in n})


def _plain_like(generator: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    network = plain_config(generator.config).build()
    network.load_state_dict(state)
    return network


def plain_config(config: Any) -> Any:
    """Return the same architecture without LoRA."""
    ranks = {key: 0 for key in ("lora_rank", "attention_rank") if hasattr(config, key)}
    return replace(config, **ranks)


def save_base(path: str | Path, generator: nn.Module, metadata: Mapping[str, str] | None = None) -> None:
    """Write a whole generator (or any module whose `config` has a name in `GANS`) as one safetensors file."""
    gan = gan_name(generator.config)
    header = {**(metadata or {}), "gan": gan, "config": json.dumps(to_dict(generator.config), sort_keys=True)}
    write_tensors(path, generator.state_dict(), header)


def load_base(path: str | Path) -> nn.Module:
    """Read what `save_base` wrote, frozen and in evaluation mode.

    Raises:
        WeightzooError: no such file, not safetensors, or not a generator of ours.
    """
    _, header = read_header(path)
    if (Path(path).parent / "adapter_config.json").is_file():
        raise WeightzooError(f"{path} is a part of an adapter; give its folder, {Path(path).parent}")
    if "gan" not in header or "config" not in header:
        raise WeightzooError(f"{path} is not a generator of weightzoo: its header names no architecture")
    return _load(path, header["gan"], header_config(path, header))


def load_generator(path: str | Path) -> nn.Module:
    """Return the generator of a base file, or of a full fine-tune's folder (or its `generator.safetensors`)."""
    path = Path(path)
    if path.is_file() and (path.parent / "config.json").is_file() and "config" not in read_header(path)[1]:
        path = path.parent
    if path.is_dir():
        config = read_json_object(path / "config.json")
        return _load(path / WEIGHTS, str(config.get("gan", "?")), config.get("config", {}))
    return load_base(path)


def _load(path: str | Path, gan: str, config: Any) -> nn.Module:
    if gan not in GANS:
        raise WeightzooError(f"{path} is a {gan!r} generator; this version knows {', '.join(GANS)}")
    return load_strictly(path, from_dict(GANS[gan], config).build)

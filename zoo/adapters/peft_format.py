"""Adapters as PEFT folders: `adapter_config.json`, `adapter_model.safetensors` and our `weightzoo.json`.

A folder loads with PEFT alone, on the plain generator (the base without its LoRA factors), and gives the same
image:

    save_peft("c/", base, adapter, {"prompt": "a charcoal drawing", "base_sha256": ...})
    adapter, metadata = load_peft("c/", base)
    network = merge_peft("c/", base)                                    # plain generator, LoRA folded into W
    network = peft.PeftModel.from_pretrained(zoo.adapters.lora.plain(base), "c/")       # the same image

LoRA layers become `lora_A`, `lora_B` with alpha = rank, so that PEFT's scaling is 1; norms and an output
convolution go through `modules_to_save`, all biases through `bias = "all"`. PEFT itself is not imported here:
it costs seconds, and the files are plain JSON and safetensors.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from zoo.adapters.lora import Adapter, check_adapter, free_parameters, plain
from zoo.adapters.peft_config import check_config, peft_config, scaling
from zoo.config import to_dict
from zoo.errors import WeightzooError
from zoo.files import EMBEDDED_DIR, PathLike, atomic_path, read_json_object, sha256_file, write_bytes, write_json
from zoo.gans import gan_name
from zoo.layout import WeightLayout
from zoo.tensors import read_tensors

FORMAT_VERSION = 1
PREFIX = "base_model.model."
FACTOR = re.compile(r"(.+)\.lora_([AB])(?:\.[^.]+)?\.weight")  # PEFT in memory puts the adapter's name before "weight"
# bases of embedded zoos that are no longer in the package, and what to say of them
EARLIER_BASES = {
    "789749cd45a84a628a3af901c289943ff8d8ffd917b938825f51b41b961e925c": "the 64 px zoo of earlier versions",
}
SAVED_COPY = re.compile(r"\.modules_to_save(?:\.[^.]+(?=\.))?")


@dataclass(frozen=True)
class PeftFolder:
    """What a PEFT folder holds, in our names.

    Args:
        down: A of each LoRA layer, [rank, inputs] or [rank, inputs, k, k].
        up: B of each LoRA layer times PEFT's scaling, [outputs, rank].
        direct: tensors that stand in place of the base's (biases, norms, output convolution).
        metadata: the content of `weightzoo.json`.
    """

    down: dict[str, Tensor]
    up: dict[str, Tensor]
    direct: dict[str, Tensor]
    metadata: dict[str, Any]


def save_peft(
    folder: PathLike, generator: nn.Module, adapter: Mapping[str, Tensor], metadata: Mapping[str, Any] | None = None
) -> None:
    """Write an adapter of `generator` (the base, with its LoRA factors) as a PEFT folder.

    Args:
        metadata: JSON values for `weightzoo.json`, by convention `base_sha256` and `prompt`; architecture,
            layout and format version are added.

    Raises:
        WeightzooError: the adapter does not fit the generator, is not finite, or the disk refuses.
    """
    check_adapter(generator, adapter)
    lora, saved = lora_layers(generator), modules_to_save(generator, adapter)
    base = generator.state_dict()
    tensors: dict[str, Tensor] = {}
    for name, value in adapter.items():
        layer, _, leaf = name.rpartition(".")
        if leaf == "lora_B":
            down = base[f"{layer}.lora_A"]
            tensors[f"{PREFIX}{layer}.lora_A.weight"] = down
            tensors[f"{PREFIX}{layer}.lora_B.weight"] = value.reshape(*value.shape, *(1,) * (down.dim() - 2))
        elif layer in lora:
            tensors[f"{PREFIX}{layer}.base_layer.{leaf}"] = value
        else:
            tensors[PREFIX + name] = value
    folder = Path(folder)
    with atomic_path(folder / "adapter_model.safetensors") as temporary:
        contiguous = {name: value.detach().float().contiguous() for name, value in sorted(tensors.items())}
        save_file(contiguous, temporary, metadata={"format": "pt"})
    write_json(folder / "weightzoo.json", {**describe(generator), **(metadata or {})})
    write_json(folder / "adapter_config.json", peft_config(lora, saved))


def lora_layers(generator: nn.Module) -> dict[str, int]:
    """Return the name and rank of each layer with a LoRA."""
    return {n.removesuffix(".lora_B"): p.shape[1] for n, p in generator.named_parameters() if n.endswith(".lora_B")}


def modules_to_save(generator: nn.Module, adapter: Mapping[str, Tensor]) -> list[str]:
    """Return the layers without a LoRA whose own weight is part of the adapter."""
    names = [name.removesuffix(".weight") for name in adapter if name.endswith(".weight")]
    modules = [name for name, _ in generator.named_modules()]
    for name in names:  # PEFT goes by the end of the name
        if clashes := [other for other in modules if other.endswith(name) and other != name]:
            raise WeightzooError(f"PEFT cannot tell {name} from {clashes[0]}; rename one of them in the generator")
    return names


def describe(generator: nn.Module) -> dict[str, Any]:
    """Return what `weightzoo.json` says about every adapter of a generator."""
    gan = gan_name(generator.config)
    return {
        "format_version": FORMAT_VERSION,
        "gan": gan,
        "config": to_dict(generator.config),
        "layout_id": WeightLayout.for_generator(generator).id,
    }


def is_peft(path: PathLike) -> bool:
    """Return whether a path is a PEFT folder."""
    return (Path(path) / "adapter_config.json").is_file()


def read_peft(folder: PathLike) -> PeftFolder:
    """Read a PEFT folder, ours or one that PEFT trained on our plain generator.

    Raises:
        WeightzooError: a file is absent or broken, a value is not finite, or it is no plain LoRA adapter of an
            unchanged base.
    """
    folder = Path(folder)
    config = read_json_object(folder / "adapter_config.json")
    check_config(folder, config)
    metadata = read_metadata(folder)
    factors: dict[str, dict[str, Tensor]] = {"A": {}, "B": {}}
    direct, repeated = {}, {}
    for key, value in read_tensors(folder / "adapter_model.safetensors")[0].items():
        value = finite(folder, key, value.float())
        name = key.removeprefix(PREFIX)
        if found := FACTOR.fullmatch(name):
            factors[found[2]][found[1]] = value
        elif ".lora_" in name:
            raise WeightzooError(f"{folder} holds {name:.80}, which plain LoRA does not have; merge it with PEFT")
        elif ".modules_to_save." in name:
            repeated[SAVED_COPY.sub("", name)] = value
        elif ".original_module." not in name:
            direct[name.replace(".base_layer.", ".")] = value
    down, up, direct = factors["A"], factors["B"], repeated | direct
    if set(down) != set(up):
        raise WeightzooError(f"{folder} lacks one factor of {min(set(down) ^ set(up))}; fetch the adapter again")
    for layer, value in up.items():
        fits = value.dim() > 1 and down[layer].dim() > 1 and math.prod(value.shape[1:]) == len(down[layer])
        if not fits or 0 in (*value.shape, *down[layer].shape):
            shapes = f"{list(value.shape)} and {list(down[layer].shape)}"
            raise WeightzooError(f"{folder}: the factors of {layer} do not fit ({shapes}); fetch the adapter again")
        scaled = value.flatten(1) * scaling(folder, config, layer, len(down[layer]))
        up[layer] = finite(folder, f"{layer}.lora_B", scaled)
    return PeftFolder(down, up, direct, metadata)


def finite(folder: Path, name: str, value: Tensor) -> Tensor:
    """Return `value`, or raise WeightzooError if it holds NaN or infinite values."""
    if not torch.isfinite(value).all():
        raise WeightzooError(f"{folder}: {name} holds NaN or infinite values; generate or train it again")
    return value


def read_metadata(folder: Path) -> dict[str, Any]:
    """Return the content of `weightzoo.json`; empty where there is none, as PEFT leaves it.

    Raises:
        WeightzooError: broken, or of a later format version.
    """
    if not (folder / "weightzoo.json").is_file():
        return {}
    metadata = read_json_object(folder / "weightzoo.json")
    version = metadata.get("format_version", FORMAT_VERSION)
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise WeightzooError(f"{folder} has format version {version!r:.40}; update weightzoo to read it")
    if not isinstance(metadata.get("base_sha256", ""), str):
        raise WeightzooError(f"{folder}/weightzoo.json does not name its base by a hash; fetch the adapter again")
    return metadata


def load_peft(folder: PathLike, generator: nn.Module | None = None) -> tuple[Adapter, dict[str, Any]]:
    """Return the adapter (in the names of `zoo.adapters.lora.adapter_names`) and the metadata of a PEFT folder.

    Args:
        generator: with the base given, the adapter is checked against it, the frozen A included.
    """
    content = read_peft(folder)
    adapter = content.direct | {f"{layer}.lora_B": value for layer, value in content.up.items()}
    if generator is None:
        return adapter, content.metadata
    base = generator.state_dict()
    for layer, down in content.down.items():
        own = base.get(f"{layer}.lora_A")
        if own is None or own.shape != down.shape or not torch.equal(own.float().cpu(), down):
            raise WeightzooError(f"{folder} has another {layer}.lora_A than the base; use its own base, or merge it")
    free = free_parameters(generator)  # PEFT writes the biases of the other layers as well, as they are
    unchanged = [n for n in adapter if n in base and n not in free and torch.equal(base[n].float().cpu(), adapter[n])]
    adapter = {name: value for name, value in adapter.items() if name not in unchanged}
    check_adapter(generator, adapter)
    return adapter, content.metadata


def merge_peft(folder: PathLike, generator: nn.Module) -> nn.Module:
    """Return the plain generator with the folder's LoRA folded into W; A may differ from the base's.

    Raises:
        WeightzooError: the folder's tensors do not fit the generator.
    """
    content = read_peft(folder)
    network = plain(generator)
    state = network.state_dict()
    updates = {f"{layer}.weight": (content.up[layer], down) for layer, down in content.down.items()}
    shapes = [(name, tuple(value.shape)) for name, value in content.direct.items()]
    shapes += [(name, (len(up), *down.shape[1:])) for name, (up, down) in updates.items()]
    for name, shape in shapes:  # before a product of small factors becomes a large matrix
        if name not in state or state[name].shape != shape:
            here = tuple(state[name].shape) if name in state else "absent"
            raise WeightzooError(
                f"{folder} does not fit this base: {name} is {shape} there and {here} here; "
                "use the base that it was made with"
            )
    state |= content.direct
    for name, factors in updates.items():
        state[name] = state[name] + torch.tensordot(*factors, 1)
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


def find_base(metadata: Mapping[str, Any], near: PathLike) -> Path:
    """Return the base generator that an adapter names by its sha256: beside the adapter or in the embedded zoo.

    Args:
        metadata: of the adapter (`load_peft`).
        near: the adapter's folder; `base/generator.safetensors` is looked for there and in its parents.

    Raises:
        WeightzooError: no file with this hash is at hand.
    """
    wanted = metadata.get("base_sha256")
    if not wanted:
        raise WeightzooError(f"{near} does not say which base it belongs to; name the base generator with --base")
    folders = [Path(near).resolve(), *Path(near).resolve().parents]
    candidates = [folder / "base" / "generator.safetensors" for folder in folders]
    for candidate in [*candidates, *sorted(EMBEDDED_DIR.glob("*/base/generator.safetensors"))]:
        if candidate.is_file() and sha256_file(candidate) == wanted:
            return candidate
    if wanted in EARLIER_BASES:
        raise WeightzooError(
            f"{near} belongs to {EARLIER_BASES[wanted]}; generate or train it again, or name that zoo's "
            "base/generator.safetensors with --base"
        )
    raise WeightzooError(
        f"the base generator of {near} (sha256 {wanted[:12]}...) is not at hand; name its file with --base"
    )


def keep_base(folder: PathLike, base: PathLike) -> None:
    """Copy the base generator into an adapter's folder, where it would not be found otherwise."""
    folder = Path(folder)
    try:
        find_base({"base_sha256": sha256_file(base)}, folder)
    except WeightzooError:
        write_bytes(folder / "base" / "generator.safetensors", Path(base).read_bytes())

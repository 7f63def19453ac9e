"""Where fine-tuning starts: weights generated for the prompt, a baseline's, the base's, random, a file's.

    origins = Origins(zoo="runs/small", model="models/")
    start = make_start("polished", [["a charcoal drawing"]], origins, mode="full")
    result = train_fleet(start.generator, start.discriminator, sources, targets, config, start.params)

In full mode the adapter is merged into the base and every weight is free; in adapter mode the base stays.
Training from scratch knows nothing of the zoo: its generator and its discriminator are random.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from weightgen.finetuning import baselines
from weightgen.finetuning.origins import Origins, Prompts, seeded
from weightgen.generate import generate
from zoo.adapters.lora import free_parameters, initial_adapter, load_base, load_generator, merge, plain_config
from zoo.adapters.peft_format import EARLIER_BASES, find_base, is_peft, load_peft, merge_peft, read_metadata
from zoo.errors import WeightzooError, WeightzooWarning
from zoo.files import sha256_file
from zoo.gans.pix2pix import Pix2pixConfig
from zoo.training.train_gan import Params, stack

MODES = ("full", "adapter")


@dataclass(frozen=True)
class Start:
    """K networks that are about to be trained.

    Args:
        generator: the architecture and, in adapter mode, the frozen base.
        params: what is trained, {name: [K, ...]}.
        discriminator: each network starts with a copy of it.
        base: file of the base generator that an adapter belongs to.
    """

    generator: nn.Module
    params: Params
    discriminator: nn.Module
    base: Path | None = None

    def to(self, device: torch.device) -> Start:
        """Return the same start on another device; the networks that it came from stay where they are."""
        if device.type == "cpu":
            return self
        generator, discriminator = (
            copy.deepcopy(network).to(device) for network in (self.generator, self.discriminator)
        )
        params = {name: value.to(device) for name, value in self.params.items()}
        return replace(self, generator=generator, params=params, discriminator=discriminator)


def from_baseline(name: str, origins: Origins, prompts: Prompts) -> Params:
    """Return the adapters that a baseline of `weightgen.finetuning.baselines` gives for the prompts; warn of these."""
    for note in origins.notes(prompts) if name != "mean" else ():
        warnings.warn(note, WeightzooWarning, stacklevel=3)
    return origins.zoo.layout.from_blocks(origins.baseline(name)(prompts).float())


def from_model(name: str, origins: Origins, prompts: Prompts) -> Params:
    """Return the adapters that a weight generator gives for the prompts in one step."""
    return generate(origins.model(name), list(prompts)).adapters


def classic_unet(base: Any) -> Pix2pixConfig:
    """Return the classic pix2pix U-Net for the image size of a base generator's config."""
    return Pix2pixConfig(image_size=base.image_size, filters=32, dropout=0.0)


# from the base's config to that of the network: starts that know nothing of the zoo
RANDOM: dict[str, Callable[[Any], Any]] = {"scratch": plain_config, "pix2pix_unet": classic_unet}
# to the adapters of K concepts, {name: [K, ...]}
ADAPTERS: dict[str, Callable[[Origins, Prompts], Params]] = {
    **{name: partial(from_model, name) for name in ("polished", "generated", "generated_unet1d")},
    "base": lambda origins, prompts: stack(initial_adapter(origins.base), len(prompts)),  # whatever the prompt
    **{name: partial(from_baseline, name) for name in baselines.FITS},
}
INITS = (*ADAPTERS, *RANDOM)


def prepare(init: str, origins: Origins) -> None:
    """Do what is no part of a start's time: fitting a baseline to the zoo, once."""
    if init in baselines.FITS:
        origins.baseline(init)


def make_start(init: str, prompts: Prompts, origins: Origins, mode: str = "full") -> Start:
    """Return the start `init` for K concepts.

    Args:
        init: a name of `INITS` or of one of the weight generators (`labelled`, `control`; see `find_models`), or the
            path of an adapter folder, a generator folder or a generator file. A name goes before a path.
        prompts: the wordings of each concept, K lists.
        mode: "full" (LoRA merged, all weights free) or "adapter".

    Raises:
        WeightzooError: unknown init or mode, or a start that has no adapter in adapter mode.
    """
    if mode not in MODES:
        raise WeightzooError(f"unknown mode {mode!r}; use one of {', '.join(MODES)}")
    known = dict.fromkeys([*INITS, *origins.models])
    if init not in known and not Path(init).exists():
        raise WeightzooError(f"unknown --init {init!r}: no such path, and none of {', '.join(known)}")
    if init not in known:
        return start_from_path(Path(init), len(prompts), origins, mode)
    if Path(init).exists():
        note = f"--init {init} is the start of that name; for the file or folder here write --init ./{init}"
        warnings.warn(note, WeightzooWarning, stacklevel=2)
    if init not in RANDOM:
        make = ADAPTERS.get(init) or partial(from_model, init)
        return start_from_adapters(make(origins, prompts), origins, mode)
    if mode == "adapter":
        raise WeightzooError(f"--init {init} has no base to adapt; use --mode full")
    return random_start(init, len(prompts), origins)


def random_start(init: str, count: int, origins: Origins) -> Start:
    """Return K times the network of `RANDOM` that the seed gives, with a random discriminator."""
    network = seeded(RANDOM[init](origins.base.config).build, origins.seed)
    return full_start([network] * count, origins.random_discriminator())


def start_from_adapters(adapters: Params, origins: Origins, mode: str) -> Start:
    """Return K adapters of the base {name: [K, ...]} as a start; in full mode each is merged into the base."""
    if mode == "adapter":
        return Start(origins.base, adapters, origins.discriminator, origins.base_path)
    names, rows = adapters.keys(), zip(*adapters.values(), strict=True)
    merged = [merge(origins.base, dict(zip(names, row, strict=True))) for row in rows]
    return full_start(merged, origins.discriminator)


def full_start(networks: Sequence[nn.Module], discriminator: nn.Module) -> Start:
    """Return whole plain networks of one architecture, all weights free."""
    tensors = [free_parameters(network) for network in networks]
    params = {name: torch.stack([own[name].detach() for own in tensors]) for name in tensors[0]}
    return Start(networks[0], params, discriminator)


def start_from_path(path: Path, count: int, origins: Origins, mode: str) -> Start:
    """Return a PEFT folder or a generator on disk, the same for all concepts."""
    if not is_peft(path):
        if mode == "adapter":
            raise WeightzooError(f"{path} is a whole generator, not an adapter; use --mode full")
        return full_start([merge(load_generator(path))] * count, origins.discriminator)
    base_path = base_of_adapter(path, origins)
    base = load_base(base_path)
    if mode == "full":
        return full_start([merge_peft(path, base)] * count, origins.discriminator)
    adapter, _ = load_peft(path, base)
    return Start(base, stack(adapter, count), origins.discriminator, base_path)


def base_of_adapter(path: Path, origins: Origins) -> Path:
    """Return the zoo's base, or without a zoo the one that the adapter names.

    Raises:
        WeightzooError: the adapter names another base than the zoo's, or one that is not at hand.
    """
    metadata = read_metadata(path)
    if origins.zoo_path is None:
        return find_base(metadata, path)
    wanted = metadata.get("base_sha256")
    if wanted in EARLIER_BASES:
        find_base(metadata, path)  # says what to do where it is not at hand
    if wanted and wanted != sha256_file(origins.base_path):
        raise WeightzooError(
            f"{path} is an adapter of another base (sha256 {wanted[:12]}...) than that of the zoo {origins.zoo_path}; "
            "name the zoo that it was made with as --data"
        )
    return origins.base_path

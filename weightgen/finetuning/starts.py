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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from weightgen.finetuning import baselines
from weightgen.finetuning.baselines import Fitted
from weightgen.generate import generate
from weightgen.model_folder import ModelFolder, load_model_folder
from weightgen.model_roles import find_models
from weightgen.ood import OOD_FILE, load_ood_score
from weightgen.prompt_notes import notes
from weightgen.text import TextEncoder, load_text_encoder
from weightgen.training.data import WeightDataset, load_zoo
from zoo.adapters.lora import free_parameters, initial_adapter, load_base, load_generator, merge, plain_config
from zoo.adapters.peft_format import EARLIER_BASES, find_base, is_peft, load_peft, merge_peft, read_metadata
from zoo.errors import WeightzooError, WeightzooWarning
from zoo.files import read_json_object, sha256_file
from zoo.gans.patchgan import PatchGanConfig
from zoo.gans.pix2pix import Pix2pixConfig
from zoo.run import Zoo, open_zoo
from zoo.tensors import load_discriminator
from zoo.training.train_gan import Params, stack

Prompts = Sequence[Sequence[str]]
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


class Origins:
    """What starts are made from: a zoo and one or several weight generators, loaded when they are needed."""

    def __init__(
        self, zoo: str | Path | None = None, model: str | Path | Mapping[str, str | Path] | None = None, seed: int = 0
    ) -> None:
        """Name the zoo and the models; nothing is read yet.

        Args:
            zoo: a finished zoo folder, for the base, the discriminator and the baselines.
            model: a model folder, a folder of several (`polished/`, `generated/`, `generated_unet1d/`), or model
                folders by name.
            seed: of random initialisations.
        """
        self.zoo_path, self.model_path, self.seed = zoo, model, seed
        self.opened: dict[str, ModelFolder] = {}
        self.fitted: dict[str, Fitted] = {}

    @cached_property
    def zoo(self) -> Zoo:
        if self.zoo_path is None:
            raise WeightzooError("this start needs a zoo; name its folder with --data")
        return open_zoo(self.zoo_path)

    @cached_property
    def models(self) -> dict[str, Path]:
        """The folders of the weight generators by name."""
        if isinstance(self.model_path, Mapping):
            return {name: Path(path) for name, path in self.model_path.items()}
        return {} if self.model_path is None else find_models(self.model_path)

    @cached_property
    def base_path(self) -> Path:
        return self.zoo.base_path

    @cached_property
    def base(self) -> nn.Module:
        return load_base(self.base_path)

    @cached_property
    def discriminator(self) -> nn.Module:
        """The base's discriminator; without a zoo a random one."""
        if self.zoo_path is None:
            return self.random_discriminator()
        return load_discriminator(self.zoo.discriminator_path)

    def random_discriminator(self) -> nn.Module:
        """Return a discriminator of the same architecture that knows nothing of the zoo."""
        config = PatchGanConfig() if self.zoo_path is None else self.discriminator.config
        return seeded(config.build, self.seed)

    @cached_property
    def encoder(self) -> TextEncoder:
        """The text encoder that the baselines read prompts with: that of the first model."""
        infos = [read_json_object(path / "weightgen.json") for path in self.models.values()]
        return load_text_encoder(infos[0]["text_encoder"] if infos else "minilm")

    @cached_property
    def train(self) -> WeightDataset:
        """The zoo's train records."""
        return load_zoo(self.zoo, "train")

    def model(self, name: str) -> ModelFolder:
        """Return the weight generator `name`; its base takes the zoo's place.

        Raises:
            WeightzooError: there is no such model, or it belongs to another base than the zoo.
        """
        if self.model_path is None:
            raise WeightzooError(f"--init {name} needs a weight generator; name its folder with --model")
        if name not in self.models:
            held = ", ".join(self.models)
            raise WeightzooError(f"{self.model_path} holds {held}, not {name}; choose another --init")
        if name not in self.opened:
            self.opened[name] = load_model_folder(self.models[name])
        model = self.opened[name]
        if self.zoo_path is not None and sha256_file(self.zoo.base_path) != model.base_sha256:
            raise WeightzooError(
                f"the model {self.models[name]} and the zoo {self.zoo_path} have different bases; "
                "give the zoo that the model was trained on with --data, or train a model on this one"
            )
        self.base_path = model.base_generator_path
        return model

    def baseline(self, name: str) -> Fitted:
        """Return a baseline fitted on the zoo, its hyperparameters chosen on the validation split."""
        if name not in self.fitted:
            base_blocks = self.zoo.layout.to_blocks(stack(initial_adapter(self.base), 1))[0]
            validation = load_zoo(self.zoo, "validation")
            self.fitted[name] = baselines.fit(name, self.train, self.encoder, validation, base_blocks)
        return self.fitted[name]

    def notes(self, prompts: Prompts) -> list[str]:
        """Return the notes on what baselines read, as `weightgen.prompt_notes` gives them for the first model."""
        files = [path / OOD_FILE for path in self.models.values()]
        score = load_ood_score(files[0]) if files and files[0].is_file() else None
        return [note for texts in prompts for note in notes(texts, self.encoder, score)]


def seeded(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Build a network with its own seed, leaving torch's random state alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


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

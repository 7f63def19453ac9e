"""What starts of fine-tuning are made from: a zoo and one or several weight generators, loaded when they are needed.

    origins = Origins(zoo="runs/small", model="models/")
    origins.model("polished")            # a model folder
    origins.baseline("kernel_ridge")     # fitted on the zoo, once
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from weightgen.finetuning import baselines
from weightgen.finetuning.baselines import Fitted
from weightgen.model_folder import ModelFolder, load_model_folder
from weightgen.model_roles import find_models
from weightgen.ood import OOD_FILE, load_ood_score
from weightgen.prompt_notes import notes
from weightgen.text import TextEncoder, load_text_encoder
from weightgen.training.data import WeightDataset, load_zoo
from zoo.adapters.lora import initial_adapter, load_base
from zoo.errors import WeightzooError
from zoo.files import read_json_object, sha256_file
from zoo.gans.patchgan import PatchGanConfig
from zoo.run import Zoo, open_zoo
from zoo.tensors import load_discriminator
from zoo.training.train_gan import stack

Prompts = Sequence[Sequence[str]]


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

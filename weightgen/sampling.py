"""The weight generator as a diffusers pipeline: load it, publish it and call it like any diffusers model.

    pipe = WeightDiffusionPipeline.from_pretrained("model/")            # or "user/model" on the Hub
    output = pipe("a charcoal drawing", num_inference_steps=1, guidance_scale=1.0)
    output.ood                                                          # above 1: unlike what it has learned
    pipe.save_adapter("charcoal/", output)
    images = load_adapter(pipe.base_generator(), output.adapter(0))(photos)
    images = pipe(pairs=[(before, after), ...]).generator(photos)       # a model that reads pairs

Components are `denoiser` and `scheduler`; layout, block statistics, base generator and the text encoder's
name travel in the same folder (`weightgen.model_folder`). Sampling itself is `weightgen.generate`; it starts
faster, because it does not import diffusers: the pipeline class alone costs several seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from diffusers import SchedulerMixin
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import nn

from weightgen.denoisers import DENOISERS
from weightgen.generate import (
    Prompt,
    WeightDiffusionOutput,
    generate,
    interpolate,
    mean_adapter,
    open_model,
    save_adapter,
    scale_strength,
    wordings,
)
from weightgen.model_card import EVALUATION
from weightgen.model_folder import ModelFolder, load_model_folder, save_with_weights
from weightgen.pairs.closed_form import Picture, Start, pictures_of
from weightgen.pairs.generate import PairReader
from weightgen.publish_model import publish_model
from zoo.adapters.lora import Adapter, load_base
from zoo.errors import WeightzooError
from zoo.files import write_bytes

__all__ = ["WeightDiffusionOutput", "WeightDiffusionPipeline", "interpolate", "scale_strength"]


class WeightDiffusionPipeline(DiffusionPipeline):
    """Prompts go in, adapters of the base generator come out."""

    def __init__(self, denoiser: nn.Module, scheduler: Any, model: ModelFolder | None = None) -> None:
        """Put the parts of a model together; `from_pretrained` opens a saved one.

        Args:
            denoiser: a network of `weightgen.denoisers.DENOISERS`.
            scheduler: the diffusers scheduler that it was trained with.
            model: the opened folder with layout, statistics, base generator and text encoder.
        """
        super().__init__()
        self.register_modules(denoiser=denoiser, scheduler=scheduler)
        self._model = model

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | Path,
        revision: str | None = None,
        denoiser: nn.Module | None = None,
        scheduler: SchedulerMixin | None = None,
    ) -> WeightDiffusionPipeline:
        """Open a local model folder, or download a repository of the Hub when there is no such folder.

        Args:
            denoiser, scheduler: in place of the folder's; the DDIM steps of a call follow the scheduler's noise
                schedule.

        Raises:
            WeightzooError: no such model, or its parts do not belong together.
        """
        model = load_model_folder(open_model(pretrained_model_name_or_path, revision))
        if denoiser is None:
            denoiser = DENOISERS[model.denoiser_name](**model.denoiser.settings)
            denoiser.load_state_dict(model.denoiser.state_dict())
        return cls(denoiser.eval(), scheduler or model.scheduler(), model)

    @property
    def model(self) -> ModelFolder:
        """The opened model folder, with this pipeline's denoiser.

        Raises:
            WeightzooError: the pipeline was put together from components only.
        """
        if self._model is None:
            raise WeightzooError("this pipeline has no layout and base; open it with from_pretrained")
        return replace(self._model, denoiser=self.denoiser)

    def __call__(
        self,
        prompt: Prompt | None = None,
        num_inference_steps: int = 1,
        guidance_scale: float = 1.0,
        generator: torch.Generator | None = None,
        num_networks: int = 1,
        fallback: str | None = None,
        pairs: Sequence[tuple[Picture, Picture]] | None = None,
    ) -> WeightDiffusionOutput | Start:
        """Generate the weights of prompts x num_networks networks; see `weightgen.generate.generate`.

        Args:
            prompt: with pairs the wordings of their edit, or None.
            pairs: before and after pictures of one edit, RGB images or [3, H, W] in [0, 1], the two of a pair of one
                size. The other arguments do not go with them.

        Returns:
            With pairs a `weightgen.pairs.closed_form.Start`, whose `generator` edits photographs [N, 3, H, W].

        Raises:
            WeightzooError: neither prompt nor pairs, pairs that do not fit together, a model that reads no pairs, or an
                argument that does not go with pairs.
        """
        if pairs is not None:
            given = (num_inference_steps, guidance_scale, generator, num_networks, fallback)
            if given != (1, 1.0, None, 1, None):
                raise WeightzooError("pairs give one network in one step; leave the other arguments out")
            texts = [] if prompt is None else [text for texts in wordings(prompt) for text in texts]
            return PairReader(self.model).generate(pictures_of(pairs), texts)
        if prompt is None:
            raise WeightzooError("give a prompt, pairs, or both")
        return generate(
            self.model, prompt, num_inference_steps, guidance_scale, generator, num_networks, fallback,
            self.scheduler,
        )  # fmt: skip

    def base_generator(self) -> nn.Module:
        """Return the base generator that the adapters belong to, frozen."""
        return load_base(self.model.base_generator_path)

    def mean_adapter(self) -> Adapter:
        """Return the mean of the zoo: what `scale_strength` scales about."""
        return mean_adapter(self.model)

    def save_adapter(
        self, folder: str | Path, output: WeightDiffusionOutput, index: int = 0, prompt: str | None = None
    ) -> None:
        """Write one of the generated networks as a PEFT folder."""
        save_adapter(self.model, folder, output, index, prompt)

    def save_pretrained(  # type: ignore[override]
        self,
        save_directory: str | Path,
        safe_serialization: bool = True,
        variant: str | None = None,
        push_to_hub: bool = False,
        **kwargs: Any,
    ) -> None:
        """Write the complete model folder; with `push_to_hub`, also upload it to `repo_id`.

        Raises:
            WeightzooError: asked for pickles (`safe_serialization=False`) or for a variant.
        """
        if not safe_serialization or variant is not None:
            raise WeightzooError("models are saved as safetensors without variants; drop that option")
        save_with_weights(save_directory, self.model, self.denoiser, self.scheduler, dtype=self.denoiser.dtype)
        if (evaluation := self.model.path / EVALUATION).is_file():
            write_bytes(Path(save_directory) / EVALUATION, evaluation.read_bytes())
        if push_to_hub:
            publish_model(save_directory, kwargs.pop("repo_id", Path(save_directory).name), **kwargs)

    def push_to_hub(  # type: ignore[override]
        self, repo_id: str, private: bool = False, tag: str | None = None
    ) -> str:
        """Publish the model with its card as a model repository of the Hub and return its page.

        Raises:
            WeightzooError: no account, no right to write, or the Hub cannot be reached.
        """
        with TemporaryDirectory(prefix="weightzoo-") as folder:
            self.save_pretrained(folder)
            return publish_model(folder, repo_id, private, tag).url

"""The InstructPix2Pix teacher: a diffusion model that edits photographs by the concept's prompt.

Needs the `build` extra (diffusers) and a model, by folder or by Hub name:

    teacher = InstructPix2PixTeacher("timbrooks/instruct-pix2pix", steps=20)
    targets = teacher.edit(concept, photos)

The noise is seeded per concept and photograph, so the same call gives the same targets. On a GPU the model runs in
half precision.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo.concepts import Concept
from zoo.errors import WeightzooError

DEFAULT_MODEL = "timbrooks/instruct-pix2pix"


@dataclass(eq=False)
class InstructPix2PixTeacher:
    """Edits photographs through diffusers' StableDiffusionInstructPix2PixPipeline."""

    model: str = DEFAULT_MODEL
    steps: int = 20
    guidance_scale: float = 7.5
    image_guidance_scale: float = 1.5
    batch_size: int = 8

    name = "instruct_pix2pix"
    licence = "MIT code; the weights' own licence (CreativeML OpenRAIL-M for the default model)"
    expensive = True

    def __post_init__(self) -> None:
        self._pipelines: dict[str, Any] = {}

    def prepare(self, device: str) -> None:
        """Load the model. Raises WeightzooError: diffusers or the model is missing."""
        self._load(torch.device(device).type)

    def refusal(self, concept: Concept) -> str | None:
        """Return why this teacher cannot edit for `concept`; None when it can."""
        return None if concept.prompt.strip() else f"concept {concept.id!r} has an empty prompt; write one"

    @torch.no_grad()
    def edit(self, concept: Concept, photos: Tensor) -> Tensor:
        """Return target images for photos [N, 3, H, W] in [0, 1], of the same shape (H and W multiples of 8).

        Raises:
            WeightzooError: empty prompt, missing diffusers or model, or a size that is no multiple of 8.
        """
        reason = self.refusal(concept)
        if reason:
            raise WeightzooError(reason)
        if photos.shape[-1] % 8 or photos.shape[-2] % 8:
            raise WeightzooError(
                f"photos are {photos.shape[-1]}x{photos.shape[-2]} px; instruct_pix2pix needs multiples of 8"
            )
        pipeline = self._load(photos.device.type)
        targets = []
        for start in range(0, len(photos), self.batch_size):
            batch = photos[start : start + self.batch_size]
            seeds = [noise_seed(concept.id, start + index) for index in range(len(batch))]
            result = pipeline(
                [concept.prompt] * len(batch),
                image=batch,
                num_inference_steps=self.steps,
                guidance_scale=self.guidance_scale,
                image_guidance_scale=self.image_guidance_scale,
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
                output_type="pt",
            )
            targets.append(result.images.float())
        return torch.cat(targets).clamp(0, 1).to(photos)

    def _load(self, device: str) -> Any:
        """Return the pipeline on `device`, loaded at the first call."""
        if device not in self._pipelines:
            try:
                from diffusers import StableDiffusionInstructPix2PixPipeline
            except ImportError as error:
                raise WeightzooError("instruct_pix2pix needs diffusers; run: pip install 'weightzoo[build]'") from error
            try:
                pipeline = StableDiffusionInstructPix2PixPipeline.from_pretrained(
                    self.model,
                    safety_checker=None,
                    requires_safety_checker=False,
                    torch_dtype=torch.float32 if device == "cpu" else torch.float16,
                )
            except (OSError, ValueError) as error:
                raise WeightzooError(f"cannot load the teacher {self.model!r}: {error}; give a model folder") from error
            pipeline.set_progress_bar_config(disable=True)
            self._pipelines[device] = pipeline.to(device)
        return self._pipelines[device]


def noise_seed(concept_id: str, index: int) -> int:
    """Return a seed that depends on nothing but the concept's id and the photo's place."""
    return int.from_bytes(hashlib.sha256(f"{concept_id}/{index}".encode()).digest()[:6], "big")

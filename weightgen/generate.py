"""Prompt -> weights: sampling from an opened model folder; the usual single step does not import diffusers.

    model = load_model_folder("model/")
    output = generate(model, ["a charcoal drawing", "golden evening light"])
    save_adapter(model, "charcoal/", output, 0)
    stronger = scale_strength(output.adapter(0), mean_adapter(model), 1.3)

A prompt may be a list of paraphrases of one concept: the weights predicted for each are averaged. All prompts
of a call get the same noise, so a prompt's network does not depend on what else is in the batch.
`weightgen.sampling.WeightDiffusionPipeline` is the same thing as a diffusers pipeline.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from weightgen.objective import ddim, sample
from weightgen.prompt_notes import has_words, notes
from weightgen.text import load_text_encoder
from zoo.adapters.lora import Adapter, load_base
from zoo.adapters.peft_format import save_peft
from zoo.errors import WeightzooError, WeightzooWarning
from zoo.files import sha256_file
from zoo.progress import say

if TYPE_CHECKING:
    from diffusers import SchedulerMixin

    from weightgen.model_folder import ModelFolder

Prompt = str | Sequence[str] | Sequence[Sequence[str]]
NOT_NEEDED = ["checkpoints/*", "tensorboard/*"]  # of a model on the Hub
CHUNK = 64  # networks that go through the denoiser at once


@dataclass(frozen=True)
class WeightDiffusionOutput:
    """Generated networks, those of one prompt side by side.

    Args:
        adapters: {name: [K, ...]} with K = prompts x num_networks.
        blocks: the same weights as blocks, [K, num_blocks, block_size].
        prompts: the wordings that each network was made from, K lists.
        ood: the out-of-distribution score of each network's prompt, [K]: 0 is usual, above 1 is unlike what the
            model has learned. None where the model folder does not say what that was.
        nearest: the prompt of the learned concept that is closest to each network's, K; empty like `ood`.
    """

    adapters: dict[str, Tensor]
    blocks: Tensor
    prompts: list[list[str]]
    ood: Tensor | None = None
    nearest: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.blocks)

    def adapter(self, index: int = 0) -> Adapter:
        """Return the adapter of one network."""
        return {name: tensor[index] for name, tensor in self.adapters.items()}


def wordings(prompt: Prompt) -> list[list[str]]:
    """Turn the three forms of a prompt into one: a list of paraphrases per concept.

    Raises:
        WeightzooError: no prompt, or one without words.
    """
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    nested = [[texts] if isinstance(texts, str) else list(texts) for texts in prompts]
    if not nested or not all(nested) or not all(has_words(text) for texts in nested for text in texts):
        raise WeightzooError('the prompt is empty; say in words what the edit does, for example "a charcoal drawing"')
    return nested


@torch.no_grad()
def generate(
    model: ModelFolder,
    prompt: Prompt,
    num_inference_steps: int = 1,
    guidance_scale: float = 1.0,
    generator: torch.Generator | None = None,
    num_networks: int = 1,
    fallback: str | None = None,
    scheduler: SchedulerMixin | None = None,
    warn: bool = True,
) -> WeightDiffusionOutput:
    """Generate the weights of K = prompts x num_networks networks.

    The denoiser computes where it is and in its own dtype; what comes out is float32 on the CPU.

    Args:
        prompt: one prompt, a list of prompts, or a list of lists of paraphrases.
        num_inference_steps: 1 takes the denoiser's prediction from pure noise, more are DDIM steps.
        guidance_scale: above 1 pushes away from the prediction without a prompt.
        generator: source of the noise. Without one, a single step for a single network starts from zeros (the
            mean prediction), everything else from noise seeded with 0: a call can be repeated.
        fallback: "nearest" generates for the nearest learned concept where a prompt is unlike those that the
            model has learned.
        scheduler: whose noise schedule the DDIM steps follow, in place of the folder's.
        warn: whether each note on a prompt (`weightgen.prompt_notes`) becomes a `WeightzooWarning`.

    Raises:
        WeightzooError: an empty prompt, a number of steps or networks below 1, or a fallback that is not there.
    """
    concepts = wordings(prompt)
    if num_inference_steps < 1 or num_networks < 1:
        raise WeightzooError("the numbers of steps and of networks must be at least 1")
    encoder = load_text_encoder(model.text_encoder_name)
    if warn:
        ood_score = None if fallback else model.ood_score
        for note in (note for texts in concepts for note in notes(texts, encoder, ood_score)):
            warnings.warn(note, WeightzooWarning, stacklevel=3)
    concepts, ood, nearest = check_prompts(model, concepts, fallback)
    noise = draw_noise(model, num_networks, generator, still=num_inference_steps == num_networks == 1)
    text = encoder.encode([t for texts in concepts for t in texts]).trim()
    own = next(model.denoiser.parameters())
    text, noise = text.to(own.device, own.dtype), noise.to(own.device, own.dtype)
    rows = torch.arange(len(text)).repeat_interleave(num_networks)
    several = num_inference_steps > 1
    sampler = ddim(scheduler or model.scheduler(), num_inference_steps) if several else None
    denoise = partial(
        sample, model.denoiser.eval(), target=model.target, sampler=sampler, guidance_scale=guidance_scale
    )
    predicted = [
        denoise(text[part], noise[torch.arange(start, min(start + CHUNK, len(rows))) % num_networks]).cpu().float()
        for start, part in zip(range(0, len(rows), CHUNK), rows.split(CHUNK), strict=True)
    ]
    per_text = torch.cat(predicted).unflatten(0, (-1, num_networks)).split([len(texts) for texts in concepts])
    normalised = torch.cat([part.mean(0) for part in per_text])
    blocks = model.statistics.denormalize(normalised)
    prompts = [texts for texts in concepts for _ in range(num_networks)]
    if ood is not None:
        ood, nearest = ood.repeat_interleave(num_networks), [t for t in nearest for _ in range(num_networks)]
    return WeightDiffusionOutput(model.layout.from_blocks(blocks), blocks, prompts, ood, tuple(nearest))


def generate_edit(
    model: ModelFolder,
    texts: Sequence[str],
    steps: int = 1,
    guidance: float = 1.0,
    seed: int | None = None,
    strength: float = 1.0,
    fallback: str | None = None,
) -> tuple[WeightDiffusionOutput, list[str]]:
    """Generate one network for the wordings of one edit, and say what a person should know about them.

    Args:
        seed: of the noise; see the `generator` of :func:`generate`.
        strength: see :func:`scale_strength`.
    """
    noise = None if seed is None else torch.Generator().manual_seed(seed)
    output = generate(model, [texts], steps, guidance, noise, fallback=fallback, warn=False)
    said = notes(texts, load_text_encoder(model.text_encoder_name), model.ood_score)
    if strength != 1:
        stronger = scale_strength(output.adapter(), mean_adapter(model), strength)
        output = replace(output, adapters={name: value[None] for name, value in stronger.items()})
    if output.prompts[0] != list(texts):
        said.append(f"--fallback nearest: {output.prompts[0][0]!r} was generated instead")
    return output, said


def check_prompts(
    model: ModelFolder, concepts: list[list[str]], fallback: str | None
) -> tuple[list[list[str]], Tensor | None, list[str]]:
    """Return the concepts to generate for, the scores of the requested ones, and the learned ones nearest to them.

    Raises:
        WeightzooError: an unknown fallback, or a model that does not say what it has learned.
    """
    if fallback not in (None, "nearest"):
        raise WeightzooError(f"unknown fallback {fallback!r}; known: nearest")
    if model.ood_score is None:
        if fallback:
            raise WeightzooError(
                f"{model.path} does not say what it has learned, so it has no fallback; leave it out, or train "
                "the model again"
            )
        return concepts, None, []
    ood, nearest = model.ood_score.score(concepts), model.ood_score.nearest(concepts)
    if fallback:
        strange = model.ood_score.is_unfamiliar(concepts)
        concepts = [[known] if far else texts for texts, far, known in zip(concepts, strange, nearest, strict=True)]
    return concepts, ood, nearest


def draw_noise(model: ModelFolder, count: int, generator: torch.Generator | None, still: bool) -> Tensor:
    """Return starting points of networks, [count, num_blocks, block_size]; zero in the padding as in training.

    Args:
        still: zeros in place of noise when no generator asks for it.
    """
    shape = (count, model.layout.num_blocks, model.layout.block_size)
    if still and generator is None:
        return torch.zeros(shape)
    generator = generator or torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator, device=generator.device).cpu() * model.statistics.mask


def mean_adapter(model: ModelFolder) -> Adapter:
    """Return the mean of the zoo that the model has learned."""
    return {name: tensor[0] for name, tensor in model.layout.from_blocks(model.statistics.mean[None]).items()}


def interpolate(a: Mapping[str, Tensor], b: Mapping[str, Tensor], weight: float) -> Adapter:
    """Return the adapter at `weight` in [0, 1] on the straight line from `a` to `b`."""
    return {name: torch.lerp(value, b[name], weight) for name, value in a.items()}


def scale_strength(adapter: Mapping[str, Tensor], mean: Mapping[str, Tensor], strength: float) -> Adapter:
    """Return the adapter with its deviation from the zoo mean scaled: 0 gives the mean, 1 the adapter itself."""
    return interpolate(mean, adapter, strength)


def save_adapter(
    model: ModelFolder, folder: str | Path, output: WeightDiffusionOutput, index: int = 0, prompt: str | None = None
) -> None:
    """Write one generated network as a PEFT folder that names its prompt and its base."""
    texts = [prompt] if prompt is not None else output.prompts[index]
    metadata = {
        "prompt": texts[0],
        "prompts": texts,
        "base_sha256": sha256_file(model.base_generator_path),
        "stage": str(model.metadata.get("stage", "")),
    }
    save_peft(folder, load_base(model.base_generator_path), output.adapter(index), metadata)


def open_model(path_or_repo: str | Path, revision: str | None = None, tell: Callable[[str], None] = say) -> Path:
    """Return the local folder of a model: the path itself, or a snapshot of USER/NAME[@REVISION] of the Hub.

    Args:
        tell: called with one line when the Hub cannot be reached and the cache serves.

    Raises:
        WeightzooError: neither a folder nor a repository that can be reached.
    """
    if Path(path_or_repo).is_dir():
        return Path(path_or_repo)
    name, _, named = str(path_or_repo).partition("@")
    revision = revision or named or None
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise WeightzooError(f"{name} does not exist; give a model folder, or a repository as user/name")
    from huggingface_hub import snapshot_download

    from zoo.hub.causes import cached_note
    from zoo.hub.client import from_cache, hub_errors, unreachable

    with hub_errors(name, revision):
        offline = unreachable(name, "model", revision)
        where = {"revision": revision, "ignore_patterns": NOT_NEEDED, "local_files_only": offline is not None}
        folder = from_cache(lambda: snapshot_download(name, **where), f"copy of {name}", offline)
        if offline and folder.name != revision:  # a commit cannot have changed since
            tell(cached_note(name, folder.stat().st_mtime, offline))
        return folder

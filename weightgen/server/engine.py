"""Everything that computes, without a server around it: prompts -> adapters -> edited photographs.

    engine = Engine("weightgen/embedded/weightzoo-small", "zoo/embedded/weightzoo-small")
    [adapter] = engine.generate([Recipe(prompt="a charcoal drawing")])
    edited = engine.edit(engine.network(adapter), photo)

`generate` gives a prompt the same bits whatever else is asked for at the same time: texts are encoded one by one,
and all matrices always have the same shapes (`ROWS` texts, one of them of full length), because the processor
libraries take other paths for other shapes, with other last bits. So an adapter's hash can be checked, and an id
always stands for the same file.
"""

from __future__ import annotations

import io
import tempfile
import threading
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from weightgen.generate import generate, mean_adapter, scale_strength
from weightgen.model_folder import denoiser_sha256, load_model_folder
from weightgen.model_roles import find_best
from weightgen.prompt_notes import notes
from weightgen.server.members import Members
from weightgen.server.schemas import Recipe
from weightgen.text import MAX_LENGTH, load_text_encoder
from zoo.adapters.lora import Adapter, check_adapter, load_base, merge
from zoo.adapters.mix import mix_adapters
from zoo.adapters.peft_format import keep_base, save_peft
from zoo.adapters.weighted_sum import Parts
from zoo.errors import WeightzooError
from zoo.files import PathLike, sha256_file
from zoo.pictures.apply import edit_visible, load_network
from zoo.pictures.photo_file import Photo
from zoo.tensors import tensor_bytes

ROWS = 8  # prompts that go through the denoiser at once, with the filler
FILLER = "a " * MAX_LENGTH
REMEMBERED_TEXTS = 2000  # about 20 kB each


class Engine:
    """A weight generator and its zoo; calls may come from several threads.

    Attributes:
        name: of the start that this model is in fine-tuning ("polished", "generated").
        fingerprint: 8 hexadecimal digits that stand for the model in adapter ids.
        members: the zoo's concepts.
        ood_score: how far a prompt is from what the model has learned; None where its folder does not say.
        notes: what a visitor should know about a prompt (`weightgen.prompt_notes`), a list of sentences.
    """

    def __init__(self, model: PathLike, zoo: PathLike) -> None:
        """Load the best model of a folder and the base that it belongs to.

        Raises:
            WeightzooError: not a model, not a zoo, or they do not belong together.
        """
        self.name, folder = find_best(model)
        opened = load_model_folder(folder)
        self.ood_score = opened.ood_score
        # prompts are scored where a visitor is told of it, not in every batch with its filler
        self.model = replace(opened, ood_score=None)
        self.model_path, self.zoo_path = folder, Path(zoo)
        self.members = Members(zoo)
        if sha256_file(self.members.zoo.base_path) != self.model.base_sha256:
            raise WeightzooError(
                f"the model {folder} and the zoo {zoo} have different bases; name the model's zoo with --data, or "
                "train a model on this one"
            )
        self.fingerprint = denoiser_sha256(folder)[:8]
        self.base = load_base(self.model.base_generator_path)
        self.mean = mean_adapter(self.model)
        self.encoder = load_text_encoder(self.model.text_encoder_name)
        self.encoder.forget()  # texts that were encoded in batches have other last bits
        self.texts_seen = 0
        self.text_lock = threading.Lock()
        self.notes = lru_cache(maxsize=REMEMBERED_TEXTS)(self._notes)

    def generate(self, recipes: Sequence[Recipe]) -> list[Adapter]:
        """Return adapters for recipes that differ in prompt and strength only."""
        with self.text_lock:
            self._prepare([recipe.prompt for recipe in recipes])
            starts = range(0, len(recipes), ROWS - 1)
            return [adapter for start in starts for adapter in self._rows(recipes[start : start + ROWS - 1])]

    def _rows(self, recipes: Sequence[Recipe]) -> list[Adapter]:
        """Return adapters for at most `ROWS` - 1 recipes."""
        steps, guidance, seed = recipes[0].batch_key()
        rows = [recipe.prompt for recipe in recipes] + [FILLER] * (ROWS - len(recipes))
        noise = None if seed is None else torch.Generator().manual_seed(seed)
        output = generate(self.model, rows, steps, guidance, noise, warn=False)
        adapters = []
        for index, recipe in enumerate(recipes):
            adapter = {name: value.clone() for name, value in output.adapter(index).items()}
            if recipe.strength != 1:
                adapter = scale_strength(adapter, self.mean, recipe.strength)
            if not all(bool(torch.isfinite(value).all()) for value in adapter.values()):
                raise WeightzooError("the weights came out infinite; lower the guidance or the steps")
            adapters.append(adapter)
        return adapters

    def _prepare(self, prompts: Sequence[str]) -> None:
        self.texts_seen += len(prompts)
        if self.texts_seen > REMEMBERED_TEXTS:
            self.encoder.forget()
            self.texts_seen = len(prompts)
        for prompt in (FILLER, *prompts):
            self.encoder.prepare([prompt])

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Return unit vectors of texts, [len(texts), width]."""
        with self.text_lock:
            pooled = self.encoder.encode(texts).pooled
            self.encoder.forget()
            return pooled

    def _notes(self, prompt: str) -> list[str]:
        with self.text_lock:
            found = notes([prompt], self.encoder, self.ood_score)
            self.encoder.forget()
            return found

    def concept(self, concept: str) -> Adapter:
        """Return the zoo's own adapter of a concept.

        Raises:
            KeyError: the zoo has no such concept.
        """
        blocks = self.members.blocks(concept)
        return {name: value[0] for name, value in self.members.zoo.layout.from_blocks(blocks[None]).items()}

    def mix(self, parts: Parts) -> Adapter:
        """Return the base plus the weighted deviations of adapters from it.

        Raises:
            WeightzooError: an adapter does not fit the base, or the sum is not finite.
        """
        for adapter, _ in parts:
            check_adapter(self.base, adapter)
        mixture = mix_adapters(self.base, parts)
        check_adapter(self.base, mixture)
        return mixture

    def network(self, adapter: Mapping[str, Tensor] | Path) -> nn.Module:
        """Return a generator that is ready for photographs, from an adapter or a fine-tuned folder."""
        if isinstance(adapter, Path):
            is_adapter = (adapter / "adapter_config.json").is_file()
            return load_network(adapter, self.model.base_generator_path if is_adapter else None)
        return merge(self.base, adapter).eval().requires_grad_(False)

    def edit(self, network: nn.Module, photo: Photo, strength: float = 1.0) -> np.ndarray:
        """Return the edited photograph, uint8 [H, W, 3], at its own size, at a strength of `zoo.pictures.mixing`."""
        return edit_visible(network, photo, strength=strength)

    def safetensors(self, adapter: Mapping[str, Tensor], about: Mapping[str, str]) -> bytes:
        """Return one file of the adapter's tensors; `about` is its metadata, with the base's hash."""
        return tensor_bytes(adapter, {"format": "pt", "base_sha256": self.model.base_sha256, **about})

    def peft_zip(self, adapter: Mapping[str, Tensor], about: Mapping[str, str]) -> bytes:
        """Return the adapter as a zipped PEFT folder that `weightzoo apply` uses."""
        metadata = {"base_sha256": self.model.base_sha256, **about}
        with tempfile.TemporaryDirectory(prefix="weightzoo-") as name:
            folder = Path(name) / "adapter"
            save_peft(folder, self.base, adapter, metadata)
            keep_base(folder, self.model.base_generator_path)
            return zip_folder(folder)


def zip_folder(folder: Path) -> bytes:
    """Return the files of a folder as a zip, with equal bytes for equal files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = f"{folder.name}/{path.relative_to(folder).as_posix()}"
            archive.writestr(zipfile.ZipInfo(name), path.read_bytes())
    return buffer.getvalue()

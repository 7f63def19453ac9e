"""How far a prompt is from what a model has learned: an out-of-distribution score for every generated network.

    familiar = fit(train.wordings(MOST), validation, load_text_encoder("minilm"))
    familiar.score([["a charcoal drawing"], ["asdf"]])          # [2]; above 1: unlike the prompts of the zoo
    familiar.nearest([["a charcoal drawing"]])                  # the learned concept that is closest, in words

The score is the Mahalanobis distance of a prompt's embedding from those of the learned concepts: a direction in
which they hardly differ counts for much. It is 0 at the median of the validation prompts and 1 at their 95th
percentile. Samples of the denoiser hardly differ, so they tell nothing; `benchmarks/ood.py` compares it with other
distances and with the disagreement of an ensemble of regressions, which it is the closed form of.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from weightgen.finetuning.baselines import embed, unit
from weightgen.text import TextEncoder, load_text_encoder
from weightgen.training.data import WeightDataset, load_zoo
from zoo.errors import WeightzooError
from zoo.tensors import read_tensors, write_tensors

FILE = "familiar.safetensors"
MOST = 512  # concepts that are kept
WORDINGS = 4  # of each that are read: encoding takes some 5 ms a text
SHRINKAGE = 1e-3  # added to every variance, which is about as much on average
LIMIT = 0.95  # share of the validation prompts with a score of 1 or less
FAR = 0.45  # cosine to the nearest learned concept: requests have .5 or more, other sentences .2 to .4 (embedded zoo)

Wordings = Sequence[Sequence[str]]


@dataclass(frozen=True, eq=False)
class Familiar:
    """What a model has learned, in words.

    Attributes:
        texts: the prompt of each learned concept, N.
        rows: unit embeddings of these concepts, the mean over some of their wordings, [N, D].
        precision: the inverse of their covariance, [D, D].
        scale: median and 95th percentile of the distances of the validation prompts, [2].
        encoder_name: of the model's text encoder.
    """

    texts: tuple[str, ...]
    rows: Tensor
    precision: Tensor
    scale: Tensor
    encoder_name: str

    def score(self, prompts: Wordings) -> Tensor:
        """Scores [K] of K concepts, each a list of wordings: 0 is usual, above 1 is unlike what was learned.

        They have 3 decimals: the limit of 1 decides what is said of a prompt, and last bits must not.
        """
        low, high = self.scale
        scores = (distances(self.rows, self.precision, self.embed(prompts)) - low) / (high - low)
        return scores.round(decimals=3)

    def nearest(self, prompts: Wordings) -> list[str]:
        """The prompt of the learned concept that is closest to each of K concepts."""
        closest = (self.embed(prompts) @ self.rows.T).round(decimals=4).argmax(1)  # the first of equally close ones
        return [self.texts[i] for i in closest.tolist()]

    def is_unfamiliar(self, prompts: Wordings) -> list[bool]:
        """Whether each of K concepts is unlike what was learned: its score is above 1, and no learned one is close.

        The score alone takes short names of known looks ("golden hour") for strangers.
        """
        far = (self.embed(prompts) @ self.rows.T).amax(1) < FAR
        return ((self.score(prompts) > 1) & far).tolist()

    def embed(self, prompts: Wordings) -> Tensor:
        """Unit embeddings [K, D] of K concepts."""
        return embed(load_text_encoder(self.encoder_name), prompts).float()

    def save(self, path: str | Path) -> None:
        """Writes a safetensors file, atomically."""
        tensors = {"rows": self.rows.half(), "scale": self.scale}
        write_tensors(path, tensors, {"texts": json.dumps(self.texts), "encoder": self.encoder_name})


def distances(rows: Tensor, precision: Tensor, embedding: Tensor) -> Tensor:
    """Mahalanobis distances [K] of embeddings [K, D] from the mean of `rows`."""
    deviation = embedding - rows.mean(0)
    return (deviation @ precision * deviation).sum(1).clamp_min(0).sqrt()


def precision_of(rows: Tensor) -> Tensor:
    """The inverse of the rows' covariance, shrunken so that it exists."""
    centred = rows - rows.mean(0)
    covariance = centred.T @ centred / max(len(rows) - 1, 1)
    return torch.linalg.inv(covariance + SHRINKAGE * torch.eye(rows.shape[1]))


def fit(learned: Wordings, validation: WeightDataset, encoder: TextEncoder) -> Familiar:
    """Calibrates on single wordings of the validation concepts.

    Args:
        learned: of each concept its prompt, then its paraphrases; the first `WORDINGS` count.
    """
    read = [texts[:WORDINGS] for texts in learned]
    rows = unit(embed(encoder, read).half().float())  # as they will be when the file is read again
    precision = precision_of(rows)
    texts, _ = validation.evaluation_prompts()
    found = distances(rows, precision, embed(encoder, [[text] for text in texts]).float())
    low, high = found.quantile(torch.tensor([0.5, LIMIT]))
    scale = torch.stack([low, torch.maximum(high, low + 1e-6)])
    return Familiar(tuple(texts[0] for texts in learned), rows, precision, scale, encoder.name)


def load_familiar(path: str | Path) -> Familiar:
    """Reads what `Familiar.save` wrote.

    Raises:
        WeightzooError: unreadable or another file.
    """
    tensors, metadata = read_tensors(path)
    if set(tensors) != {"rows", "scale"} or set(metadata) != {"texts", "encoder"}:
        raise WeightzooError(f"{path} does not hold a model's learned prompts; copy the model folder again")
    try:
        texts = tuple(map(str, json.loads(metadata["texts"])))
    except (ValueError, TypeError, RecursionError):
        texts = ()
    rows = tensors["rows"].float()
    if not texts or rows.dim() != 2 or tensors["scale"].shape != (2,):
        raise WeightzooError(f"{path} does not hold a model's learned prompts; copy the model folder again")
    rows = unit(rows)
    return Familiar(texts, rows, precision_of(rows), tensors["scale"], metadata["encoder"])


def add(model: str | Path, zoo: str | Path) -> Path:
    """Gives a model folder the file of a model that was trained without one; returns its path."""
    from weightgen.model_folder import load_model_folder

    opened = load_model_folder(model)
    encoder = load_text_encoder(opened.text_encoder_name)
    path = opened.path / FILE
    fit(load_zoo(zoo).wordings(MOST), load_zoo(zoo, "validation"), encoder).save(path)
    return path

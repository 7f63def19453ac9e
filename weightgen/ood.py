"""How far a prompt is from what a model has learned: an out-of-distribution score for every generated network.

    ood_score = fit_ood_score(train.wordings(MOST), texts, load_text_encoder("minilm"))
    ood_score.score([["a charcoal drawing"], ["asdf"]])         # [2]; above 1: unlike the prompts of the zoo
    ood_score.nearest([["a charcoal drawing"]])                 # the learned concept that is closest, in words

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

from weightgen.text import TextEncoder, embed, load_text_encoder, unit
from zoo.errors import WeightzooError
from zoo.tensors import read_tensors, write_tensors

OOD_FILE = "familiar.safetensors"  # in a model folder
MOST = 512  # concepts that are kept
WORDINGS = 4  # of each that are read: encoding takes some 5 ms a text
SHRINKAGE = 1e-3  # added to every variance, which is about as much on average
LIMIT = 0.95  # share of the validation prompts with a score of 1 or less
FAR = 0.45  # cosine to the nearest learned concept: requests have .5 or more, other sentences .2 to .4 (embedded zoo)

Wordings = Sequence[Sequence[str]]


@dataclass(frozen=True, eq=False)
class OutOfDistributionScore:
    """The learned concepts of a model, in words, and the distance at which a prompt is unlike all of them.

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
        """Return the scores [K] of K concepts, each a list of wordings; above 1 is unlike what was learned.

        They have 3 decimals: the limit of 1 decides what is said of a prompt, and last bits must not.
        """
        low, high = self.scale
        scores = (distances(self.rows, self.precision, self.embed(prompts)) - low) / (high - low)
        return scores.round(decimals=3)

    def nearest(self, prompts: Wordings) -> list[str]:
        """Return the prompt of the learned concept that is closest to each of K concepts."""
        closest = (self.embed(prompts) @ self.rows.T).round(decimals=4).argmax(1)  # the first of equally close ones
        return [self.texts[i] for i in closest.tolist()]

    def is_unfamiliar(self, prompts: Wordings) -> list[bool]:
        """Return whether each of K concepts is unlike the learned ones: its score is above 1, and none is close.

        The score alone takes short names of known looks ("golden hour") for strangers.
        """
        far = (self.embed(prompts) @ self.rows.T).amax(1) < FAR
        return ((self.score(prompts) > 1) & far).tolist()

    def embed(self, prompts: Wordings) -> Tensor:
        """Return the unit embeddings [K, D] of K concepts."""
        return embed(load_text_encoder(self.encoder_name), prompts).float()

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, atomically."""
        tensors = {"rows": self.rows.half(), "scale": self.scale}
        write_tensors(path, tensors, {"texts": json.dumps(self.texts), "encoder": self.encoder_name})


def distances(rows: Tensor, precision: Tensor, embedding: Tensor) -> Tensor:
    """Return the Mahalanobis distances [K] of embeddings [K, D] from the mean of `rows`."""
    deviation = embedding - rows.mean(0)
    return (deviation @ precision * deviation).sum(1).clamp_min(0).sqrt()


def precision_of(rows: Tensor) -> Tensor:
    """Return the inverse of the rows' covariance, shrunken so that it exists."""
    centred = rows - rows.mean(0)
    covariance = centred.T @ centred / max(len(rows) - 1, 1)
    return torch.linalg.inv(covariance + SHRINKAGE * torch.eye(rows.shape[1]))


def fit_ood_score(learned: Wordings, validation: Sequence[str], encoder: TextEncoder) -> OutOfDistributionScore:
    """Fit the score on the learned concepts and calibrate it on single wordings of other ones.

    Args:
        learned: of each concept its prompt, then its paraphrases; the first `WORDINGS` count.
        validation: wordings of concepts that were held out; the share `LIMIT` of them scores below 1.
    """
    read = [texts[:WORDINGS] for texts in learned]
    rows = unit(embed(encoder, read).half().float())  # as they will be when the file is read again
    precision = precision_of(rows)
    found = distances(rows, precision, embed(encoder, [[text] for text in validation]).float())
    low, high = found.quantile(torch.tensor([0.5, LIMIT]))
    scale = torch.stack([low, torch.maximum(high, low + 1e-6)])
    return OutOfDistributionScore(tuple(texts[0] for texts in learned), rows, precision, scale, encoder.name)


def load_ood_score(path: str | Path) -> OutOfDistributionScore:
    """Read what `OutOfDistributionScore.save` wrote.

    Raises:
        WeightzooError: unreadable or another file.
    """
    tensors, metadata = read_tensors(path)
    try:
        texts = tuple(map(str, json.loads(metadata["texts"])))
        rows, scale, encoder_name = tensors["rows"].float(), tensors["scale"], metadata["encoder"]
    except (KeyError, ValueError, TypeError, RecursionError):
        texts = ()
    if not texts or len(tensors) + len(metadata) > 4 or rows.dim() != 2 or scale.shape != (2,):
        raise WeightzooError(f"{path} does not hold a model's learned prompts; copy the model folder again")
    rows = unit(rows)
    return OutOfDistributionScore(texts, rows, precision_of(rows), scale, encoder_name)

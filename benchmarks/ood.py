"""What an out-of-distribution score can tell apart: AUROC of families and external edits against combinations.

    python -m benchmarks.ood [--zoo weightzoo-small]

Every prompt is asked for in each of its evaluation wordings alone. `combination` concepts are new mixtures of what the
zoo has, so a good score is low on them and high on whole families that it lacks, and on edits by other tools.
AUROC .5 is chance; intervals are a bootstrap over concepts. A prompt is warned about above the 95th percentile of the
validation prompts. `weightgen.ood` keeps the first of the scores; the others are those that it was chosen from.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness.machine import arguments_of, write_result
from pipeline.concepts.catalogue import TEST_SPLITS, test_concepts
from pipeline.external.pairs import read_edits
from weightgen.text import TextEncoder, embed, load_text_encoder
from weightgen.training.data import WeightDataset, load_zoo
from zoo.hub import find_zoo

Score = Callable[[Tensor], Tensor]
HEADS, DIRECTIONS, PENALTY = 8, 32, 1e-1


def auroc(inside: torch.Tensor, outside: torch.Tensor) -> float:
    """Return the probability that a score of `outside` is above one of `inside`; ties count half."""
    ordered = inside.sort().values
    below, upto = (torch.searchsorted(ordered, outside.contiguous(), right=right) for right in (False, True))
    return float((below + upto).sum()) / (2 * len(inside) * len(outside))


def interval(
    inside: list[torch.Tensor], outside: list[torch.Tensor], resamples: int = 1000
) -> tuple[float, float]:
    """Return a 95 % bootstrap interval over concepts (each with the scores of its wordings)."""
    rng = np.random.default_rng(0)
    values = []
    for _ in range(resamples):
        drawn = [
            torch.cat([group[i] for i in rng.integers(len(group), size=len(group))])
            for group in (inside, outside)
        ]
        values.append(auroc(*drawn))
    low, high = np.quantile(values, (0.025, 0.975))
    return round(float(low), 3), round(float(high), 3)


def asked() -> dict[str, list[list[str]]]:
    """Return the wordings of each held-out concept, by split."""
    found = {
        split: [list(c.paraphrases or (c.prompt,)) for c in test_concepts(split)] for split in TEST_SPLITS
    }
    found["external"] = [edit["paraphrases"] for edit in read_edits()]
    return found


def fit_heads(rows: Tensor, train: WeightDataset) -> Tensor:
    """Fit ridge regressions [HEADS, D + 1, DIRECTIONS] to random directions of the weights, on bootstrap samples."""
    generator = torch.Generator().manual_seed(0)
    clean = train.statistics().normalize(train.blocks).flatten(1)
    targets = clean @ torch.randn(clean.shape[1], DIRECTIONS, generator=generator)
    targets = (targets - targets.mean(0)) / targets.std(0)
    inputs = with_one(rows)
    heads = []
    for _ in range(HEADS):
        chosen = torch.randint(len(rows), (len(rows),), generator=generator)
        x, y = inputs[chosen], targets[chosen]
        heads.append(torch.linalg.solve(x.T @ x + PENALTY * torch.eye(x.shape[1]), x.T @ y))
    return torch.stack(heads)


def with_one(rows: Tensor) -> Tensor:
    """Return rows with a column of ones, for a bias."""
    return torch.cat([rows, rows.new_ones(len(rows), 1)], 1)


def mahalanobis(rows: Tensor, shrinkage: float) -> Score:
    """Return the squared distance from the mean of rows [N, D] in units of their (shrunken) spread."""
    mean, eye = rows.mean(0), torch.eye(rows.shape[1])
    precision = torch.linalg.inv(torch.cov(rows.T) + shrinkage * eye)
    return lambda x: ((x - mean) @ precision * (x - mean)).sum(1)


def nearest(rows: Tensor, count: int) -> Score:
    """Return the cosine distance to the nearest `count` of the rows."""
    return lambda x: 1 - (x @ rows.T).topk(count, 1).values.mean(1)


def simple_scores(train: WeightDataset, encoder: TextEncoder) -> dict[str, Score]:
    """Return scores of embeddings [K, D], each with a scale of its own."""
    centres = embed(encoder, train.prompts).float()
    wordings = embed(encoder, [[text] for texts in train.prompts for text in texts]).float()
    heads = fit_heads(centres, train)
    return {
        "Mahalanobis": mahalanobis(centres, 1e-3),
        "Mahalanobis, shrinkage 1e-2": mahalanobis(centres, 1e-2),
        "Mahalanobis, shrinkage 1e-4": mahalanobis(centres, 1e-4),
        "Mahalanobis of wordings": mahalanobis(wordings, 1e-3),
        "disagreement": lambda x: torch.einsum("kd,hdp->hkp", with_one(x), heads).var(0).mean(1).sqrt(),
        "nearest concept": nearest(centres, 1),
        "5 nearest concepts": nearest(centres, 5),
        "nearest wording": nearest(wordings, 1),
        "5 nearest wordings": nearest(wordings, 5),
    }


def calibrated(score: Score, held_out: Tensor) -> Score:
    """Return the score scaled by held-out wordings of learned concepts: 0 is their median, 1 their 95th percentile."""
    low, high = score(held_out).quantile(torch.tensor([0.5, 0.95]))
    return lambda embedded: (score(embedded) - low) / (high - low)


def mean_of(one: Score, two: Score) -> Score:
    """Return the mean of two scores as one score."""
    return lambda embedded: (one(embedded) + two(embedded)) / 2


def main() -> None:
    """Score every prompt in every way and write the table."""
    parser = arguments_of(__doc__)
    parser.add_argument("--zoo", default="weightzoo-small")
    args = parser.parse_args()
    torch.set_num_threads(1)
    encoder, zoo = load_text_encoder("minilm"), find_zoo(args.zoo)
    train, validation = load_zoo(zoo), load_zoo(zoo, "validation")
    texts, _ = validation.evaluation_prompts()
    held_out = embed(encoder, [[text] for text in texts]).float()
    scores: dict[str, Score] = {}
    for name, score in simple_scores(train, encoder).items():
        scores[name] = calibrated(score, held_out)
    for one, two in (
        ("Mahalanobis", "disagreement"),
        ("Mahalanobis", "5 nearest concepts"),
        ("5 nearest concepts", "disagreement"),
    ):
        scores[f"mean of {one}, {two}"] = mean_of(scores[one], scores[two])
    embedded = {
        split: [embed(encoder, [[text] for text in wordings]).float() for wordings in concepts]
        for split, concepts in asked().items()
    }
    rows = []
    for name, score in scores.items():
        found = {split: [score(x) for x in concepts] for split, concepts in embedded.items()}
        row: dict[str, Any] = {"score": name}
        for split in ("value", "family", "external"):
            value = auroc(torch.cat(found["combination"]), torch.cat(found[split]))
            row[split] = round(value, 3)
            row[f"{split}_interval"] = list(interval(found["combination"], found[split]))
        for split, values in found.items():
            row[f"warned_{split}"] = round(float((torch.cat(values) > 1).float().mean()), 3)
        rows.append(row | {f"concepts_{split}": len(values) for split, values in found.items()})
    write_result("ood", rows)


if __name__ == "__main__":
    main()

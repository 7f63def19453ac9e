"""The prior of solved generators, learned over many edits: a mean output layer, penalties, and the bank's ReLUs.

    python -m pipeline.fleets.train_prior --steps 900 -o runs/prior        # about twenty minutes of one core, resumable

Each step draws edits, half of them of the catalogue, half of `pipeline.teachers.random_edits`. Each edit is solved on
pixels of 1 to 16 pairs, and the error on other photographs trains everything through the solve (Bertinetto et al. 2019,
"Meta-learning with differentiable closed-form solvers"). The loss is the logarithm of the error, so that an edit of
small errors counts as much as one of large errors.

`prior.safetensors` is a `zoo.gans.solved` generator that any solve can begin with.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.concepts.catalogue import polish_concepts
from pipeline.sources import Photo, crops, load_photos
from pipeline.teachers.filters import FiltersTeacher
from pipeline.teachers.random_edits import Edit, random_edit
from zoo.adapters.lora import save_base
from zoo.gans.solved import PENALTY, SolvedConfig, SolvedGenerator
from zoo.gram import Rows, gram_of, solve
from zoo.progress import track
from zoo.tensors import read_tensors, write_tensors
from zoo.training.optimizer_state import load_optimizer, optimizer_tensors, under, with_prefix

SIDES = {192: 8, 320: 4}  # pixels of the squares, and how many are cut of each photograph
SHARE_OF_SMALL = 0.65  # of the tasks are on the smaller squares
PIXELS = 4096  # kept of each square
PAIRS = (1, 1, 2, 3, 4, 6, 8, 12, 16)
QUERIES, QUERY_PIXELS = 3, 1024  # photographs that no pair is cut from
SOLVE_PIXELS, FEWEST_PIXELS = 6144, 384  # of all pairs together, and of one
EDITS = 4  # in a step
LEAST_ERROR = 0.004  # one grey level: differences below it do not matter
LEAK = 0.05  # of the gradient beyond black and white
PENALTY_RANGE = (-16.0, 4.0)  # of logarithms
RATES = {"mean": 2e-3, "penalty": 3e-2, "bank": 1e-3}
CHECKPOINT = 100  # steps


@dataclass(frozen=True, eq=False)
class Square:
    """A square of a photograph, and what some of its pixels show.

    Attributes:
        photo: number of the photograph.
        image: [3, S, S] in [0, 1].
        chosen: places of the pixels in the flattened picture.
        maps: the bank's `maps` at these, [PIXELS, channels].
    """

    photo: int
    image: Tensor
    chosen: Tensor
    maps: Tensor


@dataclass(frozen=True, eq=False)
class Task:
    """An edit to solve: its number of pairs, the maps and targets of the pairs' pixels, and those of the queries'."""

    pairs: int
    solved_on: Rows
    measured_on: Rows


@torch.no_grad()
def cut_squares(generator: SolvedGenerator, photos: list[Photo]) -> dict[int, list[Square]]:
    """Return the squares of all photographs by their side."""
    rng = np.random.default_rng(0)
    squares: dict[int, list[Square]] = {side: [] for side in SIDES}
    for side, count in SIDES.items():
        for number, photo in enumerate(photos):
            for image in crops([photo], count, side, seed=100 + number):
                chosen = torch.from_numpy(rng.choice(side * side, PIXELS, replace=False))
                squares[side].append(Square(number, image, chosen, generator.maps_of(image, chosen)))
    return squares


def draw_task(squares: dict[int, list[Square]], rng: np.random.Generator) -> Task:
    """Return a random edit of random squares; the queries come from other photographs than the pairs."""
    side = list(SIDES)[int(rng.random() >= SHARE_OF_SMALL)]
    count = int(rng.choice(PAIRS))
    photos = rng.permutation(1 + max(square.photo for square in squares[side]))
    queries, rest = photos[:QUERIES], set(photos[QUERIES:].tolist())
    others = [square for square in squares[side] if square.photo in rest]
    pairs = [others[i] for i in rng.choice(len(others), count, replace=False)]
    groups = [[square for square in squares[side] if square.photo == photo] for photo in queries]
    asked = [group[int(rng.integers(len(group)))] for group in groups]
    edit = draw_edit(rng)
    return Task(
        count,
        edited_rows(pairs, edit, max(FEWEST_PIXELS, SOLVE_PIXELS // count)),
        edited_rows(asked, edit, QUERY_PIXELS),
    )


def draw_edit(rng: np.random.Generator) -> Edit:
    """Return an edit of the catalogue or a random one, with equal chances."""
    if rng.random() < 0.5:
        return random_edit(int(rng.integers(1 << 30)))
    concepts = polish_concepts()
    concept = concepts[int(rng.integers(len(concepts)))]
    return lambda photos: FiltersTeacher().edit(concept, photos)


@torch.no_grad()
def edited_rows(squares: list[Square], edit: Edit, count: int) -> Rows:
    """Return the maps and targets of the first `count` pixels of each square."""
    targets = edit(torch.stack([square.image for square in squares])).flatten(2)
    shown = [target[:, square.chosen[:count]].T * 2 - 1 for square, target in zip(squares, targets, strict=True)]
    return torch.cat([square.maps[:count] for square in squares]), torch.cat(shown)


def error_after_solve(generator: SolvedGenerator, task: Task) -> Tensor:
    """Return the mean absolute error of a task's queries, as of pictures in [0, 1]; differentiable."""
    features, asked = (generator.bank.expand(rows[0]) for rows in (task.solved_on, task.measured_on))
    prior = generator.prior
    gram = gram_of(features, task.solved_on[1])
    edited = asked @ (prior.mean + solve(gram, prior.penalty(task.pairs), prior.mean).float())
    inside = edited.clamp(-1, 1)
    return (inside + LEAK * (edited - inside) - task.measured_on[1]).abs().mean() / 2


def start_penalties(generator: SolvedGenerator, squares: dict[int, list[Square]]) -> None:
    """Set the penalties in proportion to the mean squares of the features."""
    some = torch.cat([square.maps[:256] for group in squares.values() for square in group[::4]])
    with torch.no_grad():
        scale = generator.bank.expand(some).square().mean(0).clamp_min(1e-4)
        generator.log_penalty.copy_((scale * PENALTY).log())


def rate_at(step: int, steps: int) -> float:
    """Return the share of the learning rate at a step: up over 20 steps, then down along a cosine to a twentieth."""
    return min(1.0, (step + 1) / 20) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def train_prior(out_dir: Path, steps: int, config: SolvedConfig | None = None) -> SolvedGenerator:
    """Train the prior, or go on with what is in `out_dir`, and write `prior.safetensors` there.

    Every step depends on its number only, so an interrupted training ends as one that was not.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(3)
    generator = (config or SolvedConfig()).build()
    squares = cut_squares(generator, [*load_photos("train"), *load_photos("edits")])
    start_penalties(generator, squares)
    generator.output.requires_grad_(False)
    learned = {
        "mean": [generator.mean.requires_grad_()],
        "penalty": [generator.log_penalty.requires_grad_(), generator.slope.requires_grad_()],
        "bank": list(generator.bank.parameters()),
    }
    optimizer = torch.optim.Adam([{"params": learned[name], "lr": RATES[name]} for name in learned], betas=(0.9, 0.99))
    start = restore(out_dir, generator, optimizer)
    with (out_dir / "metrics.jsonl").open("a", encoding="utf-8") as log:
        for step in track(range(start, steps), "learning the prior", "steps"):
            for group, name in zip(optimizer.param_groups, learned, strict=True):
                group["lr"] = RATES[name] * rate_at(step, steps)
            row = one_step(generator, optimizer, squares, step)
            log.write(json.dumps({"step": step + 1} | row) + "\n")
            if (step + 1) % CHECKPOINT == 0 or step + 1 == steps:
                log.flush()
                checkpoint(out_dir, generator, optimizer, step + 1)
    with torch.no_grad():
        generator.layer.copy_(generator.mean)
    save_base(out_dir / "prior.safetensors", generator, {"steps": str(steps)})
    return generator


def one_step(
    generator: SolvedGenerator, optimizer: torch.optim.Optimizer, squares: dict[int, list[Square]], step: int
) -> dict[str, list[float]]:
    """Train on the edits of one step; returns the number of pairs and the error of each."""
    rng = np.random.default_rng([5, step])
    optimizer.zero_grad()
    row: dict[str, list[float]] = {"pairs": [], "l1": []}
    for _ in range(EDITS):
        task = draw_task(squares, rng)
        error = error_after_solve(generator, task)
        ((error + LEAST_ERROR).log() / EDITS).backward()
        row["pairs"].append(task.pairs)
        row["l1"].append(round(error.item(), 5))
    torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
    optimizer.step()
    with torch.no_grad():
        generator.log_penalty.clamp_(*PENALTY_RANGE)
    return row


def checkpoint(out_dir: Path, generator: SolvedGenerator, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Write everything that `restore` reads."""
    state = with_prefix("generator", generator.state_dict()) | with_prefix("optimizer", optimizer_tensors(optimizer))
    write_tensors(out_dir / "training.safetensors", state, {"step": str(step)})


def restore(out_dir: Path, generator: SolvedGenerator, optimizer: torch.optim.Optimizer) -> int:
    """Set generator and optimiser as they were; returns the steps that are done, 0 where there is nothing."""
    path = out_dir / "training.safetensors"
    if not path.is_file():
        return 0
    tensors, about = read_tensors(path)
    generator.load_state_dict(under("generator", tensors))
    load_optimizer(optimizer, under("optimizer", tensors))
    return int(about["step"])


def main() -> None:
    """Train the prior as the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    train_prior(options.out, options.steps)


if __name__ == "__main__":
    main()

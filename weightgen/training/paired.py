"""The third stage of training: reading pairs, by pictures, through the solve.

    learn_pairs("polished/", groups, held_out, PairedConfig(), "paired/", seconds=3600)

The denoiser gets what a few pairs say of an edit (`weightgen.pairs.description`) beside the prompt, either of which may
be absent. Its network's output layer is solved on the same pairs, pulled to the generated one, and the error on other
photographs goes back through the solve into the denoiser (Bertinetto et al. 2019, "Meta-learning with differentiable
closed-form solvers"). So it learns what a closed form cannot have: features of the edit's own, what to pull to, and
how hard. Branches that all edits share learn with it, from all edits of a group. The loss is the logarithm of the
error, so that an edit of small errors counts as much as one of large ones.

Leaves a model folder whose metadata says `"stage": "paired"`; resumes as the other stages do.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from weightgen.denoisers import NETWORKS
from weightgen.denoisers.pairs import OF_FEATURES
from weightgen.model_folder import ModelFolder
from weightgen.objective import one_step
from weightgen.pairs.description import RELU_PENALTY, Reading, feature_root
from weightgen.pairs.shared_solve import SharedSolve, product
from weightgen.text import TextEncoder, load_text_encoder
from weightgen.training.config import PairedConfig
from weightgen.training.loader import prefetch
from weightgen.training.loop import Log, Stage, TrainingRun
from weightgen.training.optim import pick_device
from weightgen.training.pair_tasks import QUERIES, Task, drawn
from weightgen.training.stages import picture_validation, train_on
from zoo.adapters.lora import load_base
from zoo.errors import WeightzooError
from zoo.gans.layers import leaky_clamp
from zoo.gans.solved import SolvedGenerator
from zoo.pictures.edit_groups import EditGroup
from zoo.training.solved_outputs import OUTPUT

LEAST_ERROR = 0.004  # one grey level: differences below it do not matter
LEAK = 0.05  # of the gradient beyond black and white
ROOT_GROUPS, ROOT_PIXELS = 3, 128  # that the covariance of the features is measured on; pixels of each photograph
VALIDATION_PAIRS = (1, 4, 16)


class Groups(Protocol):
    """Groups of edits by number, the same whenever they are asked for."""

    def __len__(self) -> int: ...
    def __getitem__(self, number: int) -> EditGroup: ...


def learn_pairs(
    model_dir: str | Path,
    groups: Groups,
    held_out: Sequence[EditGroup],
    config: PairedConfig,
    out_dir: str | Path,
    seconds: float | None = None,
    resume: bool = True,
    on_log: Log | None = None,
    data: str = "",
) -> Path:
    """Train the model of `model_dir` to read pairs and return the model folder `out_dir`.

    Args:
        held_out: groups of edits to validate on; the averaged weights with the lowest error are the result.
        seconds: wall-clock limit in place of `config.steps`.
        resume: False starts anew.
        on_log: gets each row of metrics.jsonl as it is written.
        data: a fingerprint of the groups; a run goes on with the same only.

    Raises:
        WeightzooError: a model whose denoiser or base cannot read pairs, a folder of another config, model or data, or
            gradients that stay non-finite.
        Interrupted: Ctrl-C; the step was brought to its end, and the same call goes on from there.
    """
    folder = Path(out_dir)

    def prepared(model: ModelFolder) -> TrainingRun:
        return prepare(model, groups, held_out, config, folder, seconds)

    return train_on("paired", "paired", prepared, model_dir, config, folder, seconds, resume, on_log, data)


def prepare(
    model: ModelFolder,
    groups: Groups,
    held_out: Sequence[EditGroup],
    config: PairedConfig,
    out_dir: Path,
    seconds: float | None = None,
) -> TrainingRun:
    """Return a run before its first step; the arguments are those of `learn_pairs`."""
    device = torch.device(pick_device(config.device))
    base = load_base(model.base_generator_path).to(device)
    if not isinstance(base, SolvedGenerator) or model.denoiser_name != "transformer":
        raise WeightzooError(
            f"{model.path} cannot learn to read pairs: that needs a transformer, and a zoo of solved networks "
            "(gan = solved)"
        )
    reads = not config.random_init and model.denoiser.settings.get("pair_features")
    # one that reads pairs already keeps the coordinates that it has learned to read them in
    root = model.denoiser.pairs.root if reads else feature_root(some_features(base, held_out))
    root = root.to(device)
    stage = PairStage(
        model, config, groups, load_text_encoder(model.text_encoder_name), Reading(base, model.layout, root)
    )
    tasks = [
        drawn(stage.reading, group, pairs, np.random.default_rng([config.seed, 3, number, pairs]))
        for number, group in enumerate(held_out)
        for pairs in VALIDATION_PAIRS
        if pairs + QUERIES <= len(group.maps)
    ]
    torch.manual_seed(config.seed)
    network = with_pairs(model.denoiser, base, config.shared, config.random_init).to(device).eval().requires_grad_(True)
    network.pairs.root.copy_(root)
    validation = picture_validation(stage.errors, tasks, "log_l1")
    return TrainingRun(
        config, Stage(stage.read_ahead, stage.gradients, validation, config.max_skipped), network, out_dir, seconds
    )


def with_pairs(
    denoiser: nn.Module, base: SolvedGenerator, shared: Sequence[str] = (), random_init: bool = False
) -> nn.Module:
    """Return a denoiser that reads pairs, with the weights of `denoiser` where it has them.

    Args:
        shared: names of branches that all edits share; those that the denoiser has already stay.
        random_init: with none of its weights.
    """
    names = list(denoiser.settings.get("pair_shared") or shared)
    bank, own, width = base.bank.num_features, base.config.hidden * len(base.branches), base.config.hidden
    between = width * len(names)
    sizes = {"pair_features": bank + between + own, "pair_hidden": own, "pair_shared_hidden": width}
    network = NETWORKS["transformer"](**(denoiser.settings | sizes | {"pair_shared": names}))
    padding = (0, between + own)
    with torch.no_grad():
        network.pairs.begin_with(
            nn.functional.pad(base.log_penalty, padding, value=math.log(RELU_PENALTY)),
            nn.functional.pad(base.slope, padding, value=-0.5),
        )
    if random_init:
        return network
    known = denoiser.state_dict()
    begun = {f"pairs.{name}": value for name, value in network.pairs.state_dict().items() if name in OF_FEATURES}
    for name, value in begun.items():
        if name in known and len(known[name]) < len(value):  # of a denoiser that has no shared branches yet
            known[name] = torch.cat([known[name][:bank], value[bank : bank + between], known[name][bank:]])
    network.load_state_dict(known, strict=False)
    return network


@torch.no_grad()
def some_features(base: SolvedGenerator, groups: Sequence[EditGroup]) -> Tensor:
    """Return the bank's features at some pixels of some photographs, [n, F]."""
    maps = [group.maps[:, :ROOT_PIXELS].flatten(0, 1).float() for group in groups[:ROOT_GROUPS]]
    return base.bank.expand(torch.cat(maps).to(base.mean.device))


@dataclass(frozen=True, eq=False)
class PairStage:
    """What the third stage gives to the loop."""

    model: ModelFolder
    config: PairedConfig
    groups: Groups
    encoder: TextEncoder
    reading: Reading

    def read_ahead(self, step: int) -> Generator[Task]:
        """Return the tasks from `step` on, drawn by another thread."""

        def tasks() -> Generator[Task]:
            kept: dict[int, EditGroup] = {}
            number = step
            while True:
                yield self.task(number, kept)
                number += 1

        return prefetch(tasks(), lambda task: self.encoder.prepare(task.prompts))

    def task(self, step: int, kept: dict[int, EditGroup]) -> Task:
        """Return the task of a step, a function of (seed, step) and the groups."""
        config = self.config
        rng = np.random.default_rng([config.seed, 1, step])
        number = int(rng.integers(len(self.groups)))
        if number not in kept:
            kept[number] = self.groups[number]
        group = kept[number]
        by_text = rng.random() < config.text_alone
        worded = [k for k, texts in enumerate(group.prompts) if texts]
        pool = worded if by_text and worded else list(range(len(group.prompts)))
        edits = rng.choice(pool, min(config.edits, len(pool)), replace=False).tolist()
        possible = [pairs for pairs in config.pairs if pairs + QUERIES <= len(group.maps)]
        pairs = 0 if by_text and worded else int(rng.choice(possible))
        told = torch.from_numpy(rng.random(len(edits)) >= (config.without_text if pairs else 0.0))
        further = [k for k in range(len(group.prompts)) if k not in edits] if pairs and config.shared else []
        return drawn(self.reading, group, pairs, rng, edits, told, further)

    def gradients(self, run: TrainingRun, task: Task) -> float:
        """Add the gradients of a task; return its loss: the mean logarithms of the error, of both kinds of edits."""
        edited, further = self.edited(run.network, task)
        loss = log_errors(edited, task.query_targets, LEAK).mean()
        if further is not None:
            assert task.further is not None
            loss = loss + log_errors(further, task.further[1], LEAK).mean()
        loss.backward()
        return float(loss.detach())

    def errors(self, network: nn.Module, task: Task) -> Tensor:
        """Return the logarithm of the error of each edit of a task, [E]."""
        return log_errors(self.edited(network, task)[0], task.query_targets)

    def edited(self, network: nn.Module, task: Task) -> tuple[Tensor, Tensor | None]:
        """Return what the networks of a task make of the queries, [E, n, 3] about [-1, 1].

        For the task's further edits the same of layers over the features that all edits share; None without any.
        """
        edits = self.reading.describe(task.examples, task.example_targets, task.pairs) if task.pairs else None
        text = (
            self.encoder.encode([text or "nothing" for text in task.texts])
            .trim()
            .drop(~task.told)
            .to(self.reading.root.device)
        )
        blocks = self.model.statistics.to(self.reading.root.device).denormalize(
            one_step(network, text, target=self.model.target, edits=edits)
        )
        adapters = self.model.layout.from_blocks(blocks)
        layers = adapters[OUTPUT].mT
        if edits is None:
            return self.reading.edited(task.queries, adapters, layers), None
        hidden = self.reading.hidden(task.examples.maps, adapters)
        shared, own = network.pairs.log_penalties(edits.facts, task.pairs)
        features = network.pairs.features(task.examples)
        solve = SharedSolve(features, shared.exp(), fixed=task.examples.features.shape[1])
        layers = solve.with_hidden(hidden, task.example_targets, network.pairs.centre(layers), own.exp())
        queries = task.queries._replace(features=network.pairs.features(task.queries))
        edited = self.reading.edited(queries, adapters, layers)
        if task.further is None:
            return edited, None
        mean = self.reading.base.prior.mean
        centre = nn.functional.pad(mean, (0, 0, 0, features.shape[1] - len(mean)))
        return edited, product(queries.features, solve.bank(task.further[0], centre))


def log_errors(edited: Tensor, targets: Tensor, slope: float = 0.0) -> Tensor:
    """Return the logarithm of the mean absolute error of each edit, one grey level added, [E].

    Args:
        edited, targets: [E, n, 3]; targets are in [-1, 1], and the error is as of pictures in [0, 1].
        slope: how much of the gradient is left beyond black and white.
    """
    errors = (leaky_clamp(edited / 2 + 0.5, slope) - (targets / 2 + 0.5)).abs().mean((1, 2))
    return (errors + LEAST_ERROR).log()

"""Honest seconds: what a step, an initialisation and a fleet cost, measured one at a time on one thread.

Quality curves may come from fleets and from several processes at once; their seconds never do. They are
`init_seconds + step x step_seconds`, both measured here, with nothing else of ours running.

    timing = measure_timing(context, inits, modes, concept)     # a JSON-able dict, see `measure_timing`
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weightgen.evaluation.cells import start_of
from weightgen.evaluation.context import EvaluationContext
from weightgen.evaluation.grid import FEWEST_PAIRS, PAIR_METHODS, UNTRAINED
from weightgen.evaluation.pair_methods import network_of_pairs
from weightgen.evaluation.plan import fleet_size
from weightgen.evaluation.zero_step_methods import start_seconds
from weightgen.finetuning.loop import FinetuneConfig, training_of
from zoo.adapters.lora import adapter_names, initial_adapter, load_adapter
from zoo.concepts import Concept
from zoo.training.batches import Pictures, Pixels, material_of
from zoo.training.gan_fleet import BETA2
from zoo.training.gan_objective import run_alone
from zoo.training.train_gan import GanTrainConfig, Params, clock, train_fleet
from zoo.words import plural

WARM_UP = 2


def step_seconds(
    generator: nn.Module,
    discriminator: nn.Module,
    sources: Tensor,
    targets: Tensor,
    training: GanTrainConfig,
    steps: int,
    initial: Params | None = None,
    on_warm: Callable[[], None] = lambda: None,
) -> float:
    """Return the median seconds of one training step (of all K concepts together), after a warm-up.

    Args:
        on_warm: called once, before the first step that counts.
    """
    marks: list[float] = []
    config = replace(training, steps=steps + WARM_UP)

    def on_step(step: int, spent: float, _: Params) -> None:
        if step == WARM_UP:
            on_warm()
        marks.append(spent)

    material = material_of(generator, sources, targets, config.seed)
    train_fleet(generator, discriminator, material, config, initial, on_step=on_step)
    return statistics.median(b - a for a, b in zip(marks[WARM_UP:], marks[WARM_UP + 1 :], strict=False))


def measure_timing(
    context: EvaluationContext, inits: Iterable[str], modes: Iterable[str], concept: Concept
) -> dict[str, Any]:
    """Measure everything about time that the report needs.

    Returns:
        `{"step_seconds": {mode or "pix2pix_unet": s}, "init_seconds": {init: {"load", ...}}, "how": text}`
    """
    torch.set_num_threads(1)
    grid = context.config.grid
    batch_size = FinetuneConfig().batch_size
    sources, targets = context.held_out.stacked((concept.id,), "train", context.size, batch_size)
    steps: dict[str, float] = {}
    inits = list(inits)
    names = [("base", mode) for mode in modes] + [(init, "full") for init in inits if init == "pix2pix_unet"]
    for init, mode in names:
        start = start_of(context, init, mode, (concept.id,))
        training = training_of(FinetuneConfig(mode, learning_rate=1e-4))
        key = init if init == "pix2pix_unet" else mode
        steps[key] = step_seconds(
            start.generator, start.discriminator, sources, targets, training, grid.timed_steps, start.params
        )
    starts = [init for init in inits if init != "own" and init not in UNTRAINED]
    seconds = {init: start_seconds(context.origins, init, concept) for init in starts}
    seconds |= {init: untrained_seconds(context, init, concept) for init in inits if init in UNTRAINED}
    if "own" in inits and "adapter" in steps:
        trained = context.own_training.steps * steps["adapter"]
        seconds["own"] = {
            "load": 0.0,
            "text": 0.0,
            "generate": trained,
            "merge": seconds["base"]["merge"],
            "total": trained + seconds["base"]["total"],
        }
    how = (
        f"one network at a time on one thread, median of {plural(grid.timed_steps, 'step')}; initialisation is "
        "loading, text, generation and merging for one concept, imports not counted; a curve's seconds "
        "are initialisation + steps x seconds per step, evaluation not counted"
    )
    return {"step_seconds": steps, "init_seconds": seconds, "how": how}


def untrained_seconds(context: EvaluationContext, init: str, concept: Concept) -> dict[str, float]:
    """Measure what a closed form costs on one concept's pairs; the bank and its prior are loaded in that time."""
    making = 0.0
    if init in PAIR_METHODS:
        count = context.held_out.smallest((concept.id,), "train", FEWEST_PAIRS)
        (sources,), (targets,) = context.held_out.stacked((concept.id,), "train", context.size, count)
        started = time.perf_counter()
        network_of_pairs(context, init, concept.id, list(zip(sources, targets, strict=True)))
        making = time.perf_counter() - started
    return {"load": 0.0, "text": 0.0, "generate": making, "merge": 0.0, "total": making}


def fleet_throughput(
    context: EvaluationContext, concepts: Sequence[str], sizes: Sequence[int], steps: int
) -> list[dict[str, Any]]:
    """Measure concepts per minute of adapter training for each K, and of the naive loop over one network at a time.

    A K whose pictures would fill the memory is left out.

    The rows of "fleet": `k` is None for the naive loop. All run on one thread, one after the other.
    """
    torch.set_num_threads(1)
    training, base, discriminator = context.own_training, context.origins.base, context.origins.discriminator
    count = context.held_out.smallest(list(concepts), "train", 32)
    rows: list[dict[str, Any]] = []
    for k in sizes:
        if k > fleet_size(context, k, count):
            continue  # at this size of pictures it would fill the memory
        ids = [concepts[i % len(concepts)] for i in range(k)]
        sources, targets = context.held_out.stacked(ids, "train", context.size, count)
        seconds = step_seconds(base, discriminator, sources[0], targets, training, steps)
        rows.append({"k": k, "concepts_per_minute": 60 * k / (seconds * training.steps), "step_seconds": seconds})
    sources, targets = context.held_out.stacked(concepts[:1], "train", context.size, count)
    generator = load_adapter(base, initial_adapter(base)).requires_grad_(False)
    names = set(adapter_names(generator))
    for name, parameter in generator.named_parameters():
        parameter.requires_grad_(name in names)
    material = material_of(generator, sources[0], targets, training.seed)
    seconds = naive_step_seconds(generator, discriminator.config.build(), material, training, steps)
    rows.append({"k": None, "concepts_per_minute": 60 / (seconds * training.steps), "step_seconds": seconds})
    return [{**row, "steps_per_concept": training.steps} for row in rows]


def naive_step_seconds(
    generator: nn.Module,
    discriminator: nn.Module,
    material: Pictures | Pixels,
    training: GanTrainConfig,
    steps: int,
    warm_up: int = WARM_UP,
    on_warm: Callable[[], None] = lambda: None,
) -> float:
    """Return the median seconds of a step of the textbook pix2pix loop: one module, autograd, two Adam optimisers.

    Args:
        generator: what of it requires gradients is trained.
        material: pairs of one concept.
        training: with `precision` bfloat16 forward passes and losses are under autocast, as in a fleet.
        on_warm: called once, before the first step that counts.
    """
    trained = [parameter for parameter in generator.parameters() if parameter.requires_grad]
    betas = (training.beta1, BETA2)
    optimizer = torch.optim.Adam(trained, training.learning_rate, betas)
    discriminator_rate = training.discriminator_learning_rate
    discriminator_optimizer = torch.optim.Adam(discriminator.parameters(), discriminator_rate, betas)
    # one context for each pass: autocast keeps its copies of the weights until it is left
    device = material.targets.device
    autocast = partial(torch.autocast, device.type, torch.bfloat16, enabled=training.precision == "bfloat16")
    marks = []
    indices = material.indices(training.batch_size, training.seed)
    for step in range(steps + warm_up):
        if step == warm_up:
            on_warm()
        index = next(indices).to(device)
        started = clock(device)
        batch = material.batch(index)
        with autocast():
            outputs = run_alone(generator, batch)
            source, fake, target = batch.sources, batch.pictures(outputs)[0], batch.pictures(batch.targets)[0]
            loss = F.l1_loss(outputs, batch.targets)
            loss = loss + training.adversarial_weight * (discriminator(source, fake) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, training.clip_norm)
        optimizer.step()
        with autocast():
            real, fooled = discriminator(source, target), discriminator(source, fake.detach())
            discriminator_loss = 0.5 * ((real - 1).square().mean() + fooled.square().mean())
        discriminator_optimizer.zero_grad()
        discriminator_loss.backward()
        discriminator_optimizer.step()
        marks.append(clock(device) - started)
    return statistics.median(marks[warm_up:])

"""Concepts per minute of fleet training for K = 1, 4, 8 on one thread, interleaved in one run.

    python -m benchmarks.fleets

The networks and the training are those of the preset `small`; the pictures are noise, which costs the same. The
naive loop over one module at a time is measured by `weightzoo evaluate` beside these ("fleet" in evaluation.json).
"""

import statistics

import torch

from benchmarks.machine import spread, write_result
from pipeline.presets import small
from zoo.train_gan import GanTrainConfig, train_fleet

SIZES, REPETITIONS, STEPS, WARM_UP = (1, 4, 8), 5, 6, 2


def main() -> None:
    """Time a training step for every K, five times over."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    config = small()
    generator = config.generator_config().build()
    discriminator = config.discriminator.build()
    images = torch.rand(16, 3, config.image_size, config.image_size)
    training = GanTrainConfig(**{**vars(config.training), "steps": STEPS + WARM_UP})
    measured: dict[int, list[float]] = {k: [] for k in SIZES}
    for _ in range(REPETITIONS):
        for k in SIZES:
            marks: list[float] = []
            targets = images.flip(1).expand(k, *images.shape)
            train_fleet(
                generator,
                discriminator,
                images,
                targets,
                training,
                on_step=lambda _, s, __, m=marks: m.append(s),
            )
            steps = [b - a for a, b in zip(marks[WARM_UP:], marks[WARM_UP + 1 :], strict=False)]
            measured[k].append(60 * k / (statistics.median(steps) * config.training.steps))
    one = statistics.median(measured[1])
    rows = [
        {
            "k": k,
            "steps_per_concept": config.training.steps,
            "concepts_per_minute": spread(rates),
            "times_k_1": statistics.median(rates) / one,
        }
        for k, rates in measured.items()
    ]
    write_result("fleets", rows)


if __name__ == "__main__":
    main()

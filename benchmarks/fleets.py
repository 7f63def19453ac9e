"""Fleet training against one concept at a time: concepts per minute by K, and by how the machine is divided.

    python -m benchmarks.fleets [--preset small] [--sizes 1 2 4 8 16 32] [--modes adapter full]
    python -m benchmarks.fleets --device cuda --sizes 1 8 64 256 --precision bfloat16

`naive` is what a user would write: one PEFT module (or one plain generator) at a time, autograd, two Adam optimisers.
The networks and the training are those of the preset; the pictures are noise, which costs the same. From scratch is
`full` with other numbers in the same tensors. The share is that of the measured rate of matrix products with as many
threads, reached with the operations of the convolutions and products that the naive loop does for the same concepts:
a fleet needs fewer, it computes the frozen part of the base once.
"""

import argparse
import copy
import multiprocessing
import os
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import interleave, matrix_rate, ratio, spread, write_result
from pipeline.build_config import BuildConfig
from pipeline.presets import PRESETS
from weightgen.timing import naive_step_seconds, step_seconds
from zoo.lora import initial_adapter, plain
from zoo.peft_format import lora_layers, modules_to_save, peft_config
from zoo.train_gan import GanTrainConfig

PHOTOGRAPHS, STEPS, PROCESS_FLEET = 16, 5, 8


@dataclass(frozen=True)
class Setting:
    """What is trained, and on what."""

    preset: str
    mode: str
    device: str = "cpu"
    precision: Literal["float32", "bfloat16"] = "float32"

    @property
    def config(self) -> BuildConfig:
        return PRESETS[self.preset]()

    @property
    def training(self) -> GanTrainConfig:
        return replace(self.config.training, mode=self.mode, precision=self.precision)


@lru_cache(maxsize=1)
def networks(setting: Setting) -> tuple[nn.Module, nn.Module, Tensor, Tensor]:
    """Generator, discriminator, sources and targets, [N, 3, S, S] each, on the device."""
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    config, device = setting.config, setting.device
    generator = config.generator_config().build()
    if setting.mode == "full":
        generator = plain(generator)
    images = torch.rand(PHOTOGRAPHS, 3, config.image_size, config.image_size, device=device)
    return generator.to(device), config.discriminator.build().to(device), images, images.flip(1)


def naive_generator(setting: Setting) -> nn.Module:
    """One module whose trained parameters require gradients: through PEFT for adapters."""
    generator = networks(setting)[0]
    if setting.mode == "full":
        return copy.deepcopy(generator).requires_grad_(True)
    from peft import LoraConfig, get_peft_model

    saved = modules_to_save(generator, initial_adapter(generator))
    options = peft_config(lora_layers(generator), saved) | {"inference_mode": False}
    network: Any = get_peft_model(plain(generator), LoraConfig(**options))
    for name, parameter in network.named_parameters():
        if "lora_A" in name:
            parameter.requires_grad_(False)
    return network.to(setting.device)


def naive_rate(setting: Setting) -> float:
    """Concepts per minute, one after the other."""
    _, discriminator, sources, targets = networks(setting)
    with torch.autocast(setting.device, torch.bfloat16, enabled=setting.precision == "bfloat16"):
        seconds = naive_step_seconds(
            naive_generator(setting), discriminator, sources, targets, setting.training, STEPS
        )
    return 60 / (seconds * setting.training.steps)


def fleet_rate(setting: Setting, k: int) -> float:
    """Concepts per minute of a fleet of K."""
    generator, discriminator, sources, targets = networks(setting)
    repeated = targets.expand(k, *targets.shape)
    seconds = step_seconds(generator, discriminator, sources, repeated, setting.training, STEPS)
    return 60 * k / (seconds * setting.training.steps)


def operations(setting: Setting) -> int:
    """Floating-point operations of one naive training step: forward and backward, both networks."""
    _, discriminator, sources, targets = networks(setting)
    generator = naive_generator(setting)
    with FlopCounterMode(display=False) as one:
        naive_step_seconds(generator, discriminator, sources, targets, setting.training, 1, warm_up=0)
    return one.get_total_flops()


def by_size(setting: Setting, sizes: list[int]) -> list[dict[str, Any]]:
    """Rows of one process and one thread: naive, then K by K."""
    torch.set_num_threads(1)
    loops: dict[str, Callable[[], float]] = {"naive": partial(naive_rate, setting)}
    loops |= {str(k): partial(fleet_rate, setting, k) for k in sizes}
    for warm_up in loops.values():
        warm_up()
    rates = interleave(loops)
    dtype = getattr(torch, setting.precision)
    limit = matrix_rate(setting.device, dtype) / operations(setting) * 60 / setting.training.steps
    return [
        {
            "mode": setting.mode,
            "precision": setting.precision,
            "k": name,
            "concepts_per_minute": spread(values),
            "times_naive": ratio(values, rates["naive"]),
            "share_of_limit": statistics.median(values) / limit,
            "steps_per_concept": setting.training.steps,
        }
        for name, values in rates.items()
    ]


def together(pool: ProcessPoolExecutor, processes: int, work: Callable[[], float]) -> float:
    """Sum of what all processes of a pool do at the same time."""
    return sum(future.result() for future in [pool.submit(work) for _ in range(processes)])


def by_layout(setting: Setting, processes: int) -> list[dict[str, Any]]:
    """Rows of the whole machine: threads or processes, one concept at a time or fleets."""
    cores = os.cpu_count() or 1
    spawn = multiprocessing.get_context("spawn")
    naive, fleet = partial(naive_rate, setting), partial(fleet_rate, setting, PROCESS_FLEET)
    with (
        ProcessPoolExecutor(1, spawn, torch.set_num_threads, (cores,)) as one,
        ProcessPoolExecutor(processes, spawn, torch.set_num_threads, (1,)) as many,
    ):
        loops = {
            "one at a time, all threads": partial(together, one, 1, naive),
            f"one at a time, {processes} processes": partial(together, many, processes, naive),
            f"fleet of {PROCESS_FLEET}, all threads": partial(together, one, 1, fleet),
            f"fleets of {PROCESS_FLEET}, {processes} processes": partial(together, many, processes, fleet),
        }
        for warm_up in loops.values():
            warm_up()
        rates = interleave(loops)
    first = rates["one at a time, all threads"]
    return [
        {
            "mode": setting.mode,
            "layout": name,
            "cores": cores,
            "concepts_per_minute": spread(values),
            "times_one_at_a_time": ratio(values, first),
        }
        for name, values in rates.items()
    ]


def main(arguments: list[str] | None = None) -> None:
    """Measure both tables and write them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", choices=PRESETS, default="small")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--modes", nargs="+", choices=("adapter", "full"), default=["adapter", "full"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", nargs="+", default=["float32"], choices=("float32", "bfloat16"))
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="of the whole machine")
    parser.add_argument("--name", default="fleets", help="of the result file")
    options = parser.parse_args(arguments)
    rows = []
    for mode in options.modes:
        for precision in options.precision:
            rows += by_size(Setting(options.preset, mode, options.device, precision), options.sizes)
        rows += by_layout(Setting(options.preset, mode, options.device), options.processes)
    write_result(options.name, rows)


if __name__ == "__main__":
    main()

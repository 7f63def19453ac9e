"""Fleet training against one concept at a time: concepts per minute by K, and by how the machine is divided.

    python -m benchmarks.fleets [--preset small] [--sizes 1 2 4 8 16 32] [--modes adapter full]
    python -m benchmarks.fleets --device cuda --sizes 1 8 64 256 --precision bfloat16

`naive` is what a user would write: one PEFT module (or one plain generator) at a time, autograd, two Adam optimisers.
The networks and the training are those of the preset, with the settings of a build (deterministic, no TF32); the
pictures are noise, which costs the same. From scratch is `full` with other numbers in the same tensors. The share is
that of the measured rate of matrix products with as many threads, reached with the operations of the convolutions and
products that the naive loop does for the same concepts: a fleet needs fewer, it computes the frozen part of the base
once. Rows are written after every table; a K whose fleet does not fit into the device's memory has none.
"""

import copy
import gc
import multiprocessing
import os
import statistics
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from threading import BrokenBarrierError
from typing import Any, Literal

import torch
from torch import Tensor, nn

from benchmarks.harness.machine import (
    arguments_of,
    interleave,
    matrix_rate,
    operations_of,
    ratio,
    spread,
    write_result,
)
from pipeline.build_config import BuildConfig
from pipeline.executors.process import prepare_process
from pipeline.presets import PRESETS
from weightgen.evaluation.timing import naive_step_seconds, step_seconds
from zoo.adapters.lora import initial_adapter, plain
from zoo.adapters.peft_format import lora_layers, modules_to_save, peft_config
from zoo.training.batches import material_of
from zoo.training.train_gan import GanTrainConfig

PHOTOGRAPHS, STEPS, PROCESS_FLEET = 16, 5, 8
STEPS_TOGETHER_ON_A_GPU = 20  # its steps are short: processes that begin together are to be busy together
MEETING_SECONDS = 300
Rows = list[dict[str, Any]]
Work = Callable[..., float]  # called with on_warm


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
    """Return the generator, the discriminator, sources and targets, [N, 3, S, S] each, on the device."""
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    config, device = setting.config, setting.device
    generator = config.generator_config().build()
    if setting.mode == "full":
        generator = plain(generator)
    images = torch.rand(PHOTOGRAPHS, 3, config.image_size, config.image_size, device=device)
    return generator.to(device), config.discriminator.build().to(device), images, images.flip(1)


def naive_generator(setting: Setting) -> nn.Module:
    """Return one module whose trained parameters require gradients: through PEFT for adapters."""
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


def naive_rate(setting: Setting, steps: int = STEPS, on_warm: Callable[[], None] = lambda: None) -> float:
    """Return the concepts per minute of training one after the other."""
    shared, discriminator, sources, targets = networks(setting)
    material, generator = material_of(shared, sources, targets[None]), naive_generator(setting)
    seconds = naive_step_seconds(generator, discriminator, material, setting.training, steps, on_warm=on_warm)
    return 60 / (seconds * setting.training.steps)


def fleet_rate(setting: Setting, k: int, steps: int = STEPS, on_warm: Callable[[], None] = lambda: None) -> float:
    """Return the concepts per minute of a fleet of K."""
    generator, discriminator, sources, targets = networks(setting)
    repeated = targets.expand(k, *targets.shape)
    seconds = step_seconds(generator, discriminator, sources, repeated, setting.training, steps, on_warm=on_warm)
    return 60 * k / (seconds * setting.training.steps)


def tidily(work: Callable[[], float]) -> float:
    """Return what the work returns, and free the device's memory afterwards, also where it was too small."""
    try:
        return work()
    finally:
        free_memory()


def free_memory() -> None:
    """Give the device's memory that holds nothing back."""
    gc.collect()
    torch.cuda.empty_cache()


def operations(setting: Setting) -> int:
    """Return the floating-point operations of one naive training step: forward and backward, both networks."""
    shared, discriminator, sources, targets = networks(setting)
    material, generator = material_of(shared, sources, targets[None]), naive_generator(setting)
    return operations_of(lambda: naive_step_seconds(generator, discriminator, material, setting.training, 1, warm_up=0))


def by_size(setting: Setting, sizes: list[int]) -> Rows:
    """Return rows of one process and one thread: naive, then K by K."""
    prepare_process(1)
    loops: dict[str, Callable[[], float]] = {"naive": partial(naive_rate, setting)}
    loops |= {str(k): partial(fleet_rate, setting, k) for k in sizes}
    rates = interleave(those_that_fit({name: partial(tidily, work) for name, work in loops.items()}))
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


def those_that_fit(loops: dict[str, Callable[[], float]]) -> dict[str, Callable[[], float]]:
    """Warm every loop up and return those that fit the device; the first one must."""
    fit = {}
    for place, (name, warm_up) in enumerate(loops.items()):
        try:
            warm_up()
        except torch.OutOfMemoryError:
            if place == 0:
                raise
            print(f"K = {name} does not fit into the device's memory and is left out", flush=True)
        else:
            fit[name] = warm_up
    return fit


_meeting: Any = None


def start_worker(threads: int, meeting: Any) -> None:
    """Make a process ready; `meeting` is where all processes of its pool wait for each other."""
    global _meeting
    prepare_process(threads)
    _meeting = meeting


def with_others(work: Work) -> float:
    """Return what the work of this process returns; its steps count from when all processes are warm."""
    meeting = _meeting

    def wait() -> None:
        meeting.wait(MEETING_SECONDS)

    try:
        return tidily(partial(work, on_warm=wait))
    except BaseException:
        meeting.abort()  # nobody waits for this one
        raise


def together(pool: ProcessPoolExecutor, processes: int, work: Work) -> float:
    """Return the sum of what all processes of a pool do at the same time."""
    futures = [pool.submit(with_others, work) for _ in range(processes)]
    errors = [error for future in futures if (error := future.exception())]
    for error in sorted(errors, key=lambda error: isinstance(error, BrokenBarrierError)):
        raise error  # the one for which the others did not wait any longer
    return sum(future.result() for future in futures)


def by_layout(setting: Setting, processes: int) -> Rows:
    """Return rows of the whole machine: threads or processes, one concept at a time or fleets."""
    cores = os.cpu_count() or 1
    networks.cache_clear()
    free_memory()  # the processes need it
    spawn = multiprocessing.get_context("spawn")
    steps = STEPS if torch.device(setting.device).type == "cpu" else STEPS_TOGETHER_ON_A_GPU
    naive = partial(naive_rate, setting, steps)
    fleet = partial(fleet_rate, setting, PROCESS_FLEET, steps)
    with (
        ProcessPoolExecutor(1, spawn, start_worker, (cores, spawn.Barrier(1))) as one,
        ProcessPoolExecutor(processes, spawn, start_worker, (1, spawn.Barrier(processes))) as many,
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
            "precision": setting.precision,
            "layout": name,
            "cores": cores,
            "concepts_per_minute": spread(values),
            "times_one_at_a_time": ratio(values, first),
        }
        for name, values in rates.items()
    ]


def write_tables(name: str, tables: Mapping[str, Callable[[], Rows]]) -> None:
    """Measure the tables and write what there is after each; one that the memory does not hold is left out."""
    rows: Rows = []
    for title, table in tables.items():
        try:
            new = table()
        except (torch.OutOfMemoryError, BrokenBarrierError, BrokenProcessPool) as error:
            print(f"{title}: not measured ({type(error).__name__})", flush=True)
            continue
        finally:
            free_memory()
        write_result(name, rows + new, printed=len(rows))
        rows += new


def main(arguments: list[str] | None = None) -> None:
    """Measure both tables and write them."""
    parser = arguments_of(__doc__)
    parser.add_argument("--preset", choices=PRESETS, default="small")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--modes", nargs="+", choices=("adapter", "full"), default=["adapter", "full"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", nargs="+", default=["float32"], choices=("float32", "bfloat16"))
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count(), help="of the whole machine; 0: no table of layouts"
    )
    parser.add_argument("--name", default="fleets", help="of the result file")
    options = parser.parse_args(arguments)
    # what torch asks for where products are to be deterministic; read when CUDA starts
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    settings = [
        Setting(options.preset, mode, options.device, precision)
        for mode in options.modes
        for precision in options.precision
    ]
    tables = {f"{s.mode}, {s.precision}, by K": partial(by_size, s, options.sizes) for s in settings}
    if options.processes:
        tables |= {f"{s.mode}, {s.precision}, by layout": partial(by_layout, s, options.processes) for s in settings}
    write_tables(options.name, tables)


if __name__ == "__main__":
    main()

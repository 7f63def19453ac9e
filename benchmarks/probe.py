"""The probe: which adapters and how many steps reach the quality of pix2pix from scratch, before a zoo is built.

Trains a base, then adapters at several step counts and learning rates on probe concepts that the base has not seen,
and the same architecture from scratch as the reference; prints held-out L1 (other photographs) and the ratio.

    python -m benchmarks.probe --rank 16 --base-steps 900 --steps 80 150 250 --scratch-steps 1500
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness.machine import arguments_of
from pipeline.concepts.catalogue import zoo_concepts
from pipeline.fleets.base_gan import BaseConfig, start_base, train_base
from pipeline.sources import crops, load_photos
from pipeline.teachers import TEACHERS
from zoo.adapters.lora import load_base, plain_config, save_base
from zoo.files import sha256_file, write_json
from zoo.gans.e2gan import E2ganConfig
from zoo.gans.patchgan import PatchGanConfig
from zoo.pictures.metrics import l1
from zoo.tensors import load_discriminator, save_discriminator
from zoo.training.batches import material_of
from zoo.training.train_gan import GanTrainConfig, run_generators, train_fleet


def held_out_l1(generator: torch.nn.Module, params: dict[str, Tensor], sources: Tensor, targets: Tensor) -> list[float]:
    """Return the mean L1 on the held-out photographs."""
    with torch.no_grad():
        images = run_generators(generator, params, sources).clamp(0, 1)
    return [float(l1(images[k], targets[k]).mean()) for k in range(len(targets))]


def main() -> None:
    """Train every variant and print a line for each."""
    parser = arguments_of(__doc__)
    parser.add_argument("--rank", type=int, default=15)
    parser.add_argument("--attention-rank", type=int, default=3)
    parser.add_argument("--frozen-output", action="store_true", help="leave the output head out of the adapter")
    parser.add_argument("--base-concepts", type=int, default=48)
    parser.add_argument("--base-steps", type=int, default=900)
    parser.add_argument("--steps", type=int, nargs="*", default=[80, 150, 250])
    parser.add_argument("--learning-rates", type=float, nargs="*", default=[5e-3, 1e-2])
    parser.add_argument("--ema", type=float, default=0.0, help="decay of the averaged weights")
    parser.add_argument("--scratch-steps", type=int, default=0)
    parser.add_argument("--concepts", type=int, default=8)
    parser.add_argument("--base", type=Path, help="folder with a base that an earlier probe wrote")
    parser.add_argument("--output", type=Path, default=Path("runs/probe"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    gan = E2ganConfig(lora_rank=args.rank, attention_rank=args.attention_rank, train_output=not args.frozen_output)
    teacher = TEACHERS["filters"]()
    sources, tests = crops(load_photos("train"), 256, 64, 0), crops(load_photos("test"), 32, 64, 1)
    zoo = [c for c in zoo_concepts(560) if c.split == "train"]
    base_concepts, probed = zoo[: args.base_concepts], zoo[args.base_concepts :][: args.concepts]
    targets = torch.stack([teacher.edit(c, sources) for c in probed])
    truths = torch.stack([teacher.edit(c, tests) for c in probed])
    folder = args.base or args.output / "base"
    if not (folder / "generator.safetensors").exists():
        rendered = [teacher.edit(c, sources) for c in base_concepts]
        make_base(folder, gan, sources, rendered, args.base_steps)
    generator = load_base(folder / "generator.safetensors")
    discriminator = load_discriminator(folder / "discriminator.safetensors")
    rows: list[dict[str, Any]] = [{"method": "copy", "l1": [float(l1(tests, t).mean()) for t in truths]}]
    for steps in args.steps:
        for rate in args.learning_rates:
            config = GanTrainConfig(steps=steps, learning_rate=rate, ema=args.ema)
            result = train_fleet(generator, discriminator, material_of(generator, sources, targets), config)
            own = held_out_l1(generator, result.params, tests, truths)
            rows.append({"method": f"adapter {steps} steps lr {rate}", "l1": own, "seconds": result.seconds})
            print_row(rows[-1])
    if args.scratch_steps:
        torch.manual_seed(1)
        scratch = plain_config(gan).build()
        config = GanTrainConfig(steps=args.scratch_steps, learning_rate=2e-3, mode="full")
        result = train_fleet(scratch, PatchGanConfig().build(), material_of(scratch, sources, targets), config)
        rows.append(
            {
                "method": f"scratch {args.scratch_steps} steps",
                "seconds": result.seconds,
                "l1": held_out_l1(scratch, result.params, tests, truths),
            }
        )
        print_row(rows[-1])
    print(json.dumps(vars(args), default=str))
    write_json(args.output / f"probe-{sha256_file(folder / 'generator.safetensors')[:8]}.json", rows)


def make_base(folder: Path, gan: E2ganConfig, sources: Tensor, targets: list[Tensor], steps: int) -> None:
    """Train a base on the first concepts and store it in `folder`."""
    started = time.perf_counter()
    config = BaseConfig(steps=steps)
    networks = start_base(gan, PatchGanConfig(), config.seed)
    material = material_of(networks[0], sources, torch.stack(targets))
    generator, discriminator = train_base(*networks, material, config)
    print(f"base: {steps} steps in {time.perf_counter() - started:.0f} s", flush=True)
    save_base(folder / "generator.safetensors", generator)
    save_discriminator(folder / "discriminator.safetensors", discriminator)


def print_row(row: dict) -> None:
    """Print one result as a line of JSON."""
    each = " ".join(f"{value:.3f}" for value in row["l1"])
    mean = sum(row["l1"]) / len(row["l1"])
    print(f"{row['method']}: L1 {mean:.4f}  [{each}]  {row.get('seconds', 0):.0f} s", flush=True)


if __name__ == "__main__":
    main()

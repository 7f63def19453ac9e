"""What the first stage of training owes to its parts: block size, grouping, denoiser, objective, number of steps.

    python -m benchmarks.ablation [--seeds 0 1 2] [--steps 300] [--optimizer adamw] [--run-dir runs/ablation]

Every variant is trained from the zoo's weights alone, with every seed, and keeps its best weights by validation R2.
Measured on the zoo's validation concepts, each worded as one paraphrase: R2 of the weights, always in blocks of 256
so that figures can be compared; mean L1 of the pictures that they make on unseen crops; and how far networks sampled
for the same prompt are apart (1: as far as members of the zoo). Resumable: a finished model folder is not trained
again.
"""

import argparse
import statistics
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness.machine import arguments_of, spread, write_result
from pipeline.picture_batches import open_catalogue_edits
from weightgen.evaluation.novelty import diversity
from weightgen.generate import generate
from weightgen.model_folder import ModelFolder, load_model_folder
from weightgen.normalize import BlockStatistics
from weightgen.training.config import small
from weightgen.training.data import WeightDataset, load_zoo
from weightgen.training.train import train
from zoo.adapters.lora import load_base
from zoo.errors import WeightzooWarning
from zoo.hub import find_zoo
from zoo.layout import WeightLayout
from zoo.pictures.picture_batches import PictureBatch
from zoo.training.train_gan import run_generators

SAMPLED_PROMPTS, SAMPLES = 16, 4
UNET_TIMES = 4  # as many steps more: its learning rate does not overfit in a few hundred


@dataclass(frozen=True)
class Variant:
    """What differs from the default.

    Args:
        objective: changed fields of the objective.
        sampled: numbers of denoising steps to measure with.
    """

    denoiser: str = "transformer"
    block_size: int = 256
    grouping: str = "layer"
    objective: dict[str, Any] = field(default_factory=dict)
    sampled: tuple[int, ...] = (1,)


VARIANTS = {
    "transformer": Variant(sampled=(1, 5, 20)),
    "unet1d": Variant("unet1d", sampled=(1, 5, 20)),
    "plain regression": Variant(
        objective={"last_step_fraction": 1.0, "zero_noise_fraction": 1.0, "prompt_dropout": 0.0}
    ),
    "uniform noise": Variant(
        objective={"last_step_fraction": 0.0, "zero_noise_fraction": 0.0}, sampled=(1, 5, 20)
    ),
    "v target": Variant(objective={"target": "v"}, sampled=(1, 5, 20)),
    "blocks of 128": Variant(block_size=128),
    "blocks of 512": Variant(block_size=512),
    "blocks by stage": Variant(grouping="stage"),
}


def relaid(dataset: WeightDataset, variant: Variant) -> WeightDataset:
    """Return the same adapters in the variant's blocks."""
    layout = WeightLayout.for_generator(
        load_base(dataset.base_generator), variant.block_size, variant.grouping
    )
    return replace(
        dataset, layout=layout, blocks=layout.to_blocks(dataset.layout.from_blocks(dataset.blocks))
    )


def r2(blocks: Tensor, truth: Tensor, scale: BlockStatistics) -> float:
    """Return R2 over all weights in units of each block's deviation; 0 is the zoo mean."""
    predicted, clean = scale.normalize(blocks), scale.normalize(truth)
    return 1 - float((predicted - clean).square().sum() / clean.square().sum())


@dataclass(frozen=True, eq=False)
class Yardstick:
    """What every variant is measured on."""

    train: WeightDataset
    validation: WeightDataset
    pictures: list[PictureBatch]

    def measure(self, model: ModelFolder, steps: int) -> dict[str, float]:
        """Measure a trained model with so many denoising steps."""
        layout, scale = self.train.layout, self.train.statistics()
        asked = [prompts[1] for prompts in self.validation.prompts]
        noise = torch.Generator().manual_seed(0)
        made = generate(model, asked, steps, generator=noise if steps > 1 else None)
        blocks = layout.to_blocks(made.adapters)
        base, errors = load_base(self.train.base_generator), []
        for batch in self.pictures:
            adapters = generate(model, batch.prompts, steps, generator=noise if steps > 1 else None).adapters
            with torch.no_grad():
                images = run_generators(base, adapters, batch.sources).clamp(0, 1)
            errors += (images - batch.targets).abs().flatten(1).mean(1).tolist()
        sampled = generate(model, asked[:SAMPLED_PROMPTS], steps, generator=noise, num_networks=SAMPLES)
        apart = layout.to_blocks(sampled.adapters).unflatten(0, (-1, SAMPLES))
        distances = diversity(apart, self.train.blocks, scale)
        return {
            "r2": r2(blocks, self.validation.blocks, scale),
            "l1": statistics.mean(errors),
            "samples_apart": distances["pairwise_median"] / distances["zoo_pairwise_median"],
        }


def results(yardstick: Yardstick, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield a row for every variant and number of denoising steps, with the spread over seeds."""
    for name in options.variants:
        variant = VARIANTS[name]
        found: dict[int, list[dict[str, float]]] = {steps: [] for steps in variant.sampled}
        for seed in options.seeds:
            config = small(variant.denoiser)
            config = replace(
                config,
                objective=replace(config.objective, **variant.objective),
                optimizer=options.optimizer,
                steps=options.steps * (UNET_TIMES if variant.denoiser == "unet1d" else 1),
                seed=seed,
            )
            folder = options.run_dir / name.replace(" ", "-") / str(seed)
            data, validation = (relaid(part, variant) for part in (yardstick.train, yardstick.validation))
            model = load_model_folder(train(config, data, folder, validation))
            for steps in variant.sampled:
                found[steps].append(yardstick.measure(model, steps))
        for steps, measured in found.items():
            row = {key: spread([values[key] for values in measured]) for key in measured[0]}
            about = {"optimizer": options.optimizer, "denoising_steps": steps, "seeds": len(measured)}
            yield {"variant": name, **about, **row}


def main(arguments: list[str] | None = None) -> None:
    """Train and measure every variant, and write what there is after each."""
    parser = arguments_of(__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--optimizer", choices=("adamw", "muon"), default="adamw")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--run-dir", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--zoo", default="weightzoo-small")
    parser.add_argument("--name", default="ablation", help="of the result file")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore", WeightzooWarning)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    zoo = find_zoo(options.zoo)
    yardstick = Yardstick(load_zoo(zoo), load_zoo(zoo, "validation"), open_catalogue_edits(zoo).validation_batches())
    rows: list[dict[str, Any]] = []
    for row in results(yardstick, options):
        rows.append(row)
        write_result(options.name, rows, printed=len(rows) - 1)


if __name__ == "__main__":
    main()

"""Seconds from prompts to weights, for 1, 16 and 256 prompts at once; reading the text is measured apart.

    python -m benchmarks.generation [--model DIR] [--prompts 1 16 256] [--device cuda]

Every repetition asks for prompts that no other one had, so no text comes from a cache. The share is that of the
measured rate of matrix products that the denoiser's operations reach. "of paper size" is a denoiser with random weights
for the networks of the preset `paper`: it costs what a trained one would. Where the text encoder is not installed the
text's states are random and its seconds null. Rows are written as they come.
"""

import itertools
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.harness.machine import (
    EMBEDDED_MODEL,
    arguments_of,
    interleave,
    matrix_rate,
    operations_of,
    seconds_of,
    spread,
    write_result,
)
from benchmarks.harness.random_text import RandomText
from pipeline.presets import paper
from weightgen.denoisers import NETWORKS
from weightgen.model_folder import load_model_folder
from weightgen.normalize import BlockStatistics
from weightgen.objective import one_step
from weightgen.text import MiniLMEncoder, TextEncoder, TextStates, load_text_encoder
from weightgen.training.config import PRESETS
from zoo.errors import WeightzooError
from zoo.layout import WeightLayout

MOST_OF_PAPER_SIZE = 16  # prompts at once on a CPU: the larger denoiser takes a second for each
FRESH = (f"a picture of number {i} in the style of {i * 7919 % 10007}" for i in itertools.count())


@dataclass(frozen=True)
class Generator:
    """What turns text states into adapters, on a device."""

    name: str
    denoiser: nn.Module
    statistics: BlockStatistics
    layout: WeightLayout
    text_encoder: str = "minilm"

    @property
    def parameters(self) -> int:
        """The number of weights of one generated network."""
        return int(self.layout.mask.sum())

    def generate(self, text: TextStates) -> None:
        """Make adapters for all prompts in one step, and drop them."""
        with torch.no_grad():
            self.layout.from_blocks(self.statistics.denormalize(one_step(self.denoiser, text)))


def trained(path: Path | None, device: str) -> Generator:
    """Return the generator of a model folder; of the embedded one for `None`."""
    model = load_model_folder(path or EMBEDDED_MODEL)
    denoiser, statistics_ = model.denoiser.to(device), model.statistics.to(device)
    return Generator(model.denoiser_name, denoiser, statistics_, model.layout, model.text_encoder_name)


def of_paper_size(name: str, device: str) -> Generator:
    """Return a generator with random weights in a denoiser of the preset `paper`."""
    torch.manual_seed(0)
    config = paper()
    layout = WeightLayout.for_generator(
        config.generator_config().build(), config.block_size, config.grouping
    )
    width = MiniLMEncoder.width
    options = PRESETS["paper"](name).denoiser_options
    denoiser = NETWORKS[name](layout.num_blocks, layout.block_size, width, **options).eval().to(device)
    shape = (layout.num_blocks, layout.block_size)
    flat = BlockStatistics(torch.zeros(shape), torch.ones(layout.num_blocks), layout.mask)
    return Generator(f"{name} of paper size", denoiser, flat.to(device), layout)


def reader(name: str) -> TextEncoder:
    """Return the text encoder, or random states where it is not installed."""
    try:
        return load_text_encoder(name)
    except (WeightzooError, ModuleNotFoundError) as error:
        print(f"texts are random, their seconds are not measured: {error}", flush=True)
        return RandomText()


def states(encoder: TextEncoder, prompts: int, device: str) -> TextStates:
    """Return fresh prompts, read by the text encoder."""
    fresh: Iterator[str] = itertools.islice(FRESH, prompts)
    return encoder.encode(list(fresh)).trim().to(device)


def measure(generator: Generator, encoder: TextEncoder, prompts: int, device: str) -> dict[str, Any]:
    """Return one row: text and weights, repeated in turn."""
    text = states(encoder, prompts, device)
    operations = operations_of(partial(generator.generate, text))
    loops = {
        "text": partial(seconds_of, partial(states, encoder, prompts, device), device),
        "weights": partial(seconds_of, partial(generator.generate, text), device),
    }
    found = interleave(loops)
    middle = statistics.median(found["weights"])
    return {
        "denoiser": generator.name,
        "prompts": prompts,
        "text_seconds": None if isinstance(encoder, RandomText) else spread(found["text"]),
        "weights_seconds": spread(found["weights"]),
        "generated_parameters_per_second": prompts * generator.parameters / middle,
        "parameters_of_a_network": generator.parameters,
        "share_of_limit": operations / middle / matrix_rate(device),
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure every size of batch and write the rows."""
    parser = arguments_of(__doc__)
    parser.add_argument("--model", type=Path, help="trained weight generator; the embedded one by default")
    parser.add_argument("--prompts", type=int, nargs="+", default=[1, 16, 256])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--name", default="generation", help="of the result file")
    options = parser.parse_args(arguments)
    torch.set_flush_denormal(True)
    generators = [
        trained(options.model, options.device),
        of_paper_size("transformer", options.device),
        of_paper_size("unet1d", options.device),
    ]
    encoder = reader(generators[0].text_encoder)
    rows: list[dict[str, Any]] = []
    for generator in generators:
        many = generator is generators[0] or torch.device(options.device).type != "cpu"
        most = max(options.prompts) if many else MOST_OF_PAPER_SIZE
        for prompts in options.prompts:
            if prompts <= most:
                rows.append(measure(generator, encoder, prompts, options.device))
                write_result(options.name, rows, printed=len(rows) - 1)


if __name__ == "__main__":
    main()

"""Is it the weight dataset? Two controls that see the same pictures for the same time, and no trained GAN.

    weightzoo train -o generated --seconds 340
    weightzoo polish generated --more-concepts 16000 --seconds 1560 -o polished
    weightzoo polish generated --random-init --more-concepts 16000 --seconds 1900 -o control
    python -m benchmarks.is_it_the_weights --model polished --model control --more-concepts 16000 --seconds 1900

- `control`: the weight generator itself, trained by pictures from random initialisation, as long as both stages took;
- `text_conditioned`: one GAN generator for every prompt, trained here for `--seconds`. The base's architecture with all
  its weights free, and a network of the weight generator's size that turns the prompt into every bias and norm affine
  (conditional normalisation). It is not a weight generator: it shares its convolutions among all prompts. The loop,
  the batches and the validation are those of `weightgen.training.pictures`. Models are read when that training has
  ended: theirs may run beside it.

Prints mean L1 to the teacher at zero steps on held-out concepts, each worded as never in training, and
how the first model's compares (ratio of means, 95 % interval over concepts). Without `--seconds` no
text-conditioned generator is trained.
"""

from __future__ import annotations

import statistics
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.harness.machine import arguments_of, write_result
from pipeline.concepts.catalogue import TEST_SPLITS, test_concepts
from pipeline.picture_batches import CatalogueEdits, open_catalogue_edits
from pipeline.sources import crops, load_photos
from weightgen.denoisers.layers import TextConditioning, TextReader
from weightgen.evaluation.intervals import paired_ratio
from weightgen.generate import generate
from weightgen.model_folder import load_model_folder
from weightgen.text import TextEncoder, TextStates, load_text_encoder
from weightgen.training.checkpoint import load_tensors
from weightgen.training.config import PolishConfig
from weightgen.training.loop import Stage, TrainingRun
from weightgen.training.pictures import concept_errors, read_ahead
from weightgen.training.run_folder import BEST
from weightgen.training.seen_pictures import SeenPictures
from weightgen.training.stages import picture_validation
from zoo.adapters.lora import free_parameters, load_base, merge
from zoo.errors import WeightzooWarning
from zoo.hub import find_zoo
from zoo.pictures.picture_batches import PictureBatch, picture_loss
from zoo.run import open_zoo
from zoo.training.batches import Batch
from zoo.training.gan_objective import Params, run_generators, run_on_batch

TEST_CROPS, CONCEPTS_PER_SPLIT, FLEET = 8, 48, 8
Edit = Callable[[list[str], Tensor], Tensor]  # prompts, photographs -> [prompts, photographs, 3, S, S]


class TextConditionedGenerator(nn.Module):
    """A plain generator whose biases and norm affines are a function of the prompt; its weights are shared."""

    def __init__(self, generator: nn.Module, text_width: int, width: int = 160, layers: int = 2) -> None:
        super().__init__()
        self.generator = generator.requires_grad_(True)
        named = free_parameters(generator)
        self.shapes = {name: value.shape for name, value in named.items() if value.dim() == 1}
        self.text = TextConditioning(text_width, width)
        self.reader = TextReader(width, heads=5, num_layers=layers, queries=8, dropout=0.1)
        initial = torch.cat([named[name].detach() for name in self.shapes])
        # no nn.Linear: AdamW's, as the weight generator's own output is
        self.head, self.head_bias = nn.Parameter(torch.zeros(len(initial), 8 * width)), nn.Parameter(initial)

    def forward(self, text: TextStates, batch: Tensor | Batch) -> Tensor:
        """Turn the text of K prompts and images [N, 3, S, S] into images [K, N, 3, S, S], or edit a batch's inputs."""
        read = self.reader(*self.text(text.tokens, text.mask, text.pooled))
        flat = F.linear(read.flatten(1), self.head, self.head_bias)
        parts = flat.split([shape.numel() for shape in self.shapes.values()], 1)
        own: Params = dict(zip(self.shapes, parts, strict=True))
        return (run_on_batch if isinstance(batch, Batch) else run_generators)(self.generator, own, batch)


def train_text_conditioned(
    base: Path, pictures: CatalogueEdits, seconds: float, learning_rate: float, encoder: TextEncoder
) -> Edit:
    """Train for `seconds` on batches of `pictures` as a weight generator is polished; return what was learned."""

    def outputs(network: nn.Module, batch: PictureBatch) -> tuple[Tensor, Tensor]:
        shown = seen.batch(batch)
        return network(encoder.encode(batch.prompts).trim(), shown), shown.targets

    def gradients(run: TrainingRun, batch: PictureBatch) -> float:
        loss = picture_loss(*outputs(run.network, batch))
        loss.backward()
        return float(loss.detach())

    torch.manual_seed(0)
    network = TextConditionedGenerator(merge(load_base(base)), encoder.width)
    seen = SeenPictures(network.generator)
    validation = picture_validation(lambda *given: concept_errors(*outputs(*given)), pictures.validation_batches())
    config = PolishConfig(learning_rate=learning_rate)
    stage = Stage(
        lambda step: read_ahead(pictures.batches, step, encoder, seen), gradients, validation, config.max_skipped
    )
    with tempfile.TemporaryDirectory() as folder:
        run = TrainingRun(config, stage, network, Path(folder), seconds)
        run.run()
        run.ema.load_state_dict(load_tensors(run.folder / "checkpoints" / BEST)[0])
    size = sum(parameter.numel() for parameter in network.parameters())
    print(f"text_conditioned: {run.step} steps, {size:,} parameters, validation L1 {run.best:.4f}", flush=True)
    return lambda prompts, images: run.ema(encoder.encode(prompts).trim(), images)


def edit_with(model: Path) -> Edit:
    """Return a function that edits through a weight generator in one step."""
    folder = load_model_folder(model)
    base = load_base(folder.base_generator_path)
    return lambda prompts, images: run_generators(base, generate(folder, prompts).adapters, images)


@torch.no_grad()
def held_out_l1(edit: Edit, pictures: CatalogueEdits) -> dict[str, list[float]]:
    """Return the mean L1 of each held-out concept on the test photographs."""
    images = crops(load_photos("test"), TEST_CROPS, pictures.crops.shape[-1], 1)
    found: dict[str, list[float]] = {}
    for split in TEST_SPLITS:
        found[split] = []
        held_out = test_concepts(split)[:CONCEPTS_PER_SPLIT]
        for start in range(0, len(held_out), FLEET):
            concepts = held_out[start : start + FLEET]
            made = edit([concept.paraphrases[0] for concept in concepts], images).clamp(0, 1)
            targets = torch.stack([pictures.teacher.edit(concept, images) for concept in concepts])
            found[split] += (made - targets).abs().flatten(1).mean(1).tolist()
    return found


def main() -> None:
    """Train the generator with several sets of weights and print their test errors."""
    parser = arguments_of(__doc__)
    parser.add_argument(
        "--model", type=Path, action="append", required=True, help="to compare with, by its folder's name; repeatable"
    )
    parser.add_argument("--seconds", type=float, help="of the text-conditioned generator")
    parser.add_argument("--more-concepts", type=int, default=8000, help="beyond the catalogue, as the models had")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--zoo", default="weightzoo-small")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    warnings.simplefilter("ignore", WeightzooWarning)  # held-out concepts are meant to be
    zoo = find_zoo(args.zoo)
    pictures = open_catalogue_edits(zoo, more_concepts=args.more_concepts)
    encoder = load_text_encoder("minilm")
    edits: dict[str, Edit] = {"copy": lambda prompts, images: images.expand(len(prompts), *images.shape)}
    if args.seconds:
        base = open_zoo(zoo).base_path
        edits["text_conditioned"] = train_text_conditioned(base, pictures, args.seconds, args.learning_rate, encoder)
    edits |= {model.name: edit_with(model) for model in args.model}
    found = {name: held_out_l1(edit, pictures) for name, edit in edits.items()}
    first, rows = args.model[0].name, []
    for name, errors in found.items():
        for split, values in errors.items():
            ratio = paired_ratio(found[first][split], {name: values})
            row = {"method": name, "split": split, "l1": statistics.mean(values), "l1_sd": statistics.stdev(values)}
            row |= {f"{first}_over_it": ratio.ratio, "low": ratio.low, "high": ratio.high, "n": ratio.n}
            rows.append({**row, **({"seconds": args.seconds} if name == "text_conditioned" else {})})
    write_result("is_it_the_weights", rows)


if __name__ == "__main__":
    main()

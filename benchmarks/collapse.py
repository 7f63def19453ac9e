"""Whether fine-tuning ends as a blank picture: 40 trainings on drawings, edges, stencils and halftones.

    python -m benchmarks.collapse [--runs runs/collapse] [--part 1/2]
    python -m benchmarks.collapse --beta1 0.5 --learning-rate 4e-2 --modes full         # as it was before

For each kind of target (made from 16 of the embedded photographs), both modes, and 300 steps with two seeds, 900 with
two, 2,000 with one: `weightzoo finetune` from the default start. The measure is the contrast of the edited training
photographs at their own size, as a share of the targets' (mean of the standard deviations within the pictures). Under
a half, the training has collapsed. It is taken of the network that is handed over, and of the last one, which shows the
training without the choice of the best. Each training is a file in RUNS/rows, so that a run goes on after an
interruption and two processes may share the work; the last to end writes benchmarks/results/collapse.json.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from kornia.filters import canny, gaussian_blur2d, sobel
from PIL import Image
from torch import Tensor, nn

from benchmarks.harness.machine import EMBEDDED_MODEL, EMBEDDED_ZOO, arguments_of, write_result
from pipeline.sources import photo_paths
from weightgen.finetuning import loop as finetune_loop
from weightgen.finetuning.finetune import finetune
from weightgen.finetuning.loop import FinetuneConfig
from weightgen.finetuning.measure import contrast
from weightgen.finetuning.origins import Origins
from weightgen.finetuning.pairs import load_pairs
from weightgen.finetuning.state import load_progress
from zoo.adapters.lora import merge
from zoo.files import read_json, write_json
from zoo.pictures.apply import edit_photo, load_network
from zoo.results import fresh_folder

PAIRS, SHORT_SIDE, MEASURED = 16, 320, 4
SCHEDULES = ((300, 0), (300, 1), (900, 2), (900, 3), (2000, 4))  # steps, seed
COLLAPSED = 0.5


def drawing(photo: Tensor) -> Tensor:
    """Draw in charcoal, dark where the picture changes, on white paper: [1, 1, H, W] -> the same, as all of these."""
    edges = gaussian_blur2d(sobel(photo), (3, 3), (0.7, 0.7))
    return 1 - (edges / edges.quantile(0.98)).clamp(0, 1)


def edges(photo: Tensor) -> Tensor:
    """Draw thin white lines on black."""
    return F.max_pool2d(canny(photo, 0.1, 0.3, (9, 9), (2.0, 2.0))[1], 3, 1, 1)


def stencil(photo: Tensor) -> Tensor:
    """Reduce the picture to two tones, divided at the median."""
    smooth = gaussian_blur2d(photo, (13, 13), (3.0, 3.0))
    return (smooth > smooth.median()).float()


def halftone(photo: Tensor) -> Tensor:
    """Print black dots on white, the larger the darker, 16 pixels apart at 45 degrees."""
    rows, columns = (torch.arange(size).float() for size in photo.shape[-2:])
    u, v = (columns + rows[:, None]) / 16 * torch.pi, (columns - rows[:, None]) / 16 * torch.pi
    screen = (u.cos() * v.cos() + 1) / 2
    return (photo > screen).float()


KINDS = {
    "drawing": (drawing, "a pencil drawing with black lines on white paper"),
    "edges": (edges, "white outlines on black"),
    "stencil": (stencil, "a black and white stencil"),
    "halftone": (halftone, "a halftone print of black dots"),
}


@dataclass(frozen=True)
class Training:
    """One fine-tuning; for `beta1`, which is Adam's, see `zoo.training.gan_fleet.GanTrainConfig`."""

    kind: str
    mode: str
    steps: int
    seed: int
    beta1: float
    learning_rate: float

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.mode}-{self.steps}-{self.seed}-{self.beta1:g}-{self.learning_rate:g}"


def make_pairs(folder: Path, kind: str) -> Path:
    """Write the pairs of one kind, unless they are there; another process may do the same."""
    if folder.is_dir():
        return folder
    with fresh_folder(folder) as new:
        for half in ("source", "target"):
            (new / half).mkdir()
        for path in [*photo_paths("test"), *photo_paths("train")][:PAIRS]:
            with Image.open(path) as image:
                scale = SHORT_SIDE / min(image.size)
                photo = image.convert("RGB").resize([round(side * scale) for side in image.size])
            grey = torch.from_numpy(np.array(photo.convert("L"))).float() / 255
            target = KINDS[kind][0](grey[None, None])[0, 0]
            photo.save(new / "source" / f"{path.stem}.png")
            Image.fromarray((target * 255).round().byte().numpy()).save(new / "target" / f"{path.stem}.png")
    return folder


def contrast_kept(network: nn.Module, pairs: Path) -> float:
    """Return the contrast of the edited training photographs, at their own size, as a share of the targets'."""
    chosen = load_pairs(pairs, None).train[:MEASURED]
    edited = [edit_photo(network, np.asarray(source)) for _, source, _ in chosen]
    wanted = [np.asarray(target) for _, _, target in chosen]
    return round(sum(map(contrast_of, edited)) / sum(map(contrast_of, wanted)), 3)


def contrast_of(pixels: np.ndarray) -> float:
    """Return the contrast of one picture, uint8 [H, W, 3]."""
    return float(contrast(torch.from_numpy(pixels.copy()).permute(2, 0, 1).float()))


def last_network(out: Path) -> nn.Module:
    """Return the network of the last step, whichever network the training handed over."""
    progress, _ = load_progress(out, torch.device("cpu"))
    last = {name: value[0] for name, value in progress.fleet.averaged.items()}
    generator = progress.start.generator
    if progress.start.base is not None:
        return merge(generator, last)
    generator.load_state_dict(last)
    return generator.eval().requires_grad_(False)


def run(training: Training, runs: Path) -> None:
    """Train and measure, and leave the row in RUNS/rows/NAME.json."""
    path = runs / "rows" / f"{training.name}.json"
    if path.exists():
        return
    pairs, out = make_pairs(runs / "pairs" / training.kind, training.kind), runs / "trained" / training.name
    finetune_loop.BETA1 = training.beta1
    config = FinetuneConfig(
        mode=training.mode,
        steps=training.steps,
        learning_rate=training.learning_rate,
        feature_network=None,
        seed=training.seed,
        device="cpu",
    )
    origins = Origins(zoo=EMBEDDED_ZOO, model=EMBEDDED_MODEL, seed=training.seed)
    done = finetune(pairs, KINDS[training.kind][1], "polished", out, origins, config)
    row: dict[str, Any] = {
        **vars(training),
        "best_step": done["best"]["step"],
        **{f"{which}_l1": done[which]["l1"] for which in ("first", "best", "last")},
        "seconds": done["seconds"],
        "contrast": contrast_kept(load_network(out), pairs),
        "contrast_last": contrast_kept(last_network(out), pairs),
    }
    write_json(path, row)
    print(training.name, f"contrast {row['contrast']} (last {row['contrast_last']})", flush=True)


def trainings(kinds: list[str], modes: list[str], beta1: float, learning_rate: float) -> list[Training]:
    """Return all of them, the short ones first."""
    return [
        Training(kind, mode, steps, seed, beta1, learning_rate)
        for steps, seed in SCHEDULES
        for kind in kinds
        for mode in modes
    ]


def main(arguments: list[str] | None = None) -> None:
    """Run what is left of this part, then collect all rows."""
    parser = arguments_of(__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/collapse"))
    parser.add_argument("--part", default="1/1", help="e.g. 2/2: every second training, from the second on")
    parser.add_argument("--beta1", type=float, default=finetune_loop.BETA1)
    parser.add_argument("--learning-rate", type=float, default=finetune_loop.LEARNING_RATE)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--modes", nargs="+", default=["full", "adapter"])
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    part, parts = (int(number) for number in args.part.split("/"))
    for training in trainings(args.kinds, args.modes, args.beta1, args.learning_rate)[part - 1 :: parts]:
        run(training, args.runs)
    rows = [read_json(path) for path in sorted((args.runs / "rows").glob("*.json"))]
    write_result("collapse", rows)
    for setting in sorted({(row["beta1"], row["learning_rate"]) for row in rows}):
        own = [row for row in rows if (row["beta1"], row["learning_rate"]) == setting]
        lost, least = sum(row["contrast"] < COLLAPSED for row in own), min(row["contrast"] for row in own)
        last = sum(row["contrast_last"] < COLLAPSED for row in own)
        print(f"{setting}: {lost} of {len(own)} collapsed, least contrast {least}; {last} at the last step")


if __name__ == "__main__":
    main()

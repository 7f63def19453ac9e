"""The pictures of the report: photographs edited at their own size by every method, through `zoo.pictures.apply`.

    stories = make_pictures(context)        # OUT/pictures/<concept>/<stage>-<init>.png, made once
    write_mosaic(stories, "docs/images/demo.jpg")

A story is one held-out concept: the photograph, the teacher's edit, every method at 0 steps and, where the
concept was fine-tuned, after it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from weightgen.evaluation.cells import FinetuneTask
from weightgen.evaluation.context import EvaluationContext, start_path
from weightgen.evaluation.held_out_pairs import wordings
from weightgen.evaluation.zero_step import ZeroStepCell
from weightgen.finetuning.closed_forms import PLAIN, TRAINED
from weightgen.report.tables import number, plural
from zoo.adapters.lora import merge, save_base
from zoo.concepts import Concept
from zoo.files import PathLike, atomic_path, read_json
from zoo.pictures.apply import apply_to_photo
from zoo.pictures.pair_layouts import find_pairs
from zoo.pictures.pairs import decode_pair
from zoo.progress import track

SHOWN = ("base", "nearest", "kernel_ridge", "generated", "polished")
FINETUNED = ("scratch", PLAIN, TRAINED, *SHOWN)
SMALLEST = 256  # pixels; what is smaller is enlarged before it is edited
CONCEPTS_OF_A_SPLIT = 2  # without fine-tuning


@dataclass(frozen=True)
class Picture:
    """An edited photograph and what stands under it: the start, its steps and its test L1."""

    path: Path
    caption: str


@dataclass(frozen=True)
class Story:
    """One concept in pictures: a photograph, its target, and the edits of every method before and after fine-tuning."""

    concept: Concept
    source: Path
    target: Path
    zero: tuple[Picture, ...] = ()
    after: tuple[Picture, ...] = ()

    @property
    def words(self) -> str:
        """The wording that the concept was prompted with."""
        return wordings(self.concept, 1)[0]


def make_pictures(context: EvaluationContext) -> list[Story]:
    """Edit one photograph per concept with every method; fine-tuned concepts come first."""
    grid = context.config.grid
    chosen: list[Concept] = []
    for split in grid.splits:
        tuned = any(row.split == split and row.mode == "full" for row in grid.finetune)
        count = grid.picture_concepts if tuned else min(CONCEPTS_OF_A_SPLIT, grid.picture_concepts)
        members = context.held_out.concepts(split, grid.concepts_per_split)
        chosen += [concept for concept in members if concept.id not in context.near_duplicates][:count]
    told = (story_of(context, concept) for concept in track(chosen, "rendering pictures", "concepts"))
    stories = [story for story in told if story is not None]
    return sorted(stories, key=lambda story: not story.after)


def story_of(context: EvaluationContext, concept: Concept) -> Story | None:
    """Return the story of one concept; None when there is no picture of it."""
    folder = context.out_dir / "pictures" / concept.id
    pair = photograph(context, concept, folder)
    if pair is None:
        return None
    zero = [zero_picture(context, concept, init, folder) for init in SHOWN]
    after = [finetuned_picture(context, concept, init, folder) for init in FINETUNED]
    return Story(concept, *pair, *(tuple(filter(None, shown)) for shown in (zero, after)))


def zero_picture(context: EvaluationContext, concept: Concept, init: str, folder: Path) -> Picture | None:
    """Edit a concept's photograph with a method's weights as they come; None where it has none."""
    if not start_path(context.out_dir, init, 1).exists():
        return None
    picture = folder / f"zero-{init}.png"
    if not picture.exists():
        weights = picture.with_suffix(".safetensors")
        adapter = {name: value[0] for name, value in context.start(init, [concept.id]).items()}
        save_base(weights, merge(context.origins.base, adapter))
        apply_to_photo(weights, folder / "source.png", picture)
        weights.unlink()
    path = ZeroStepCell(str(context.out_dir), concept.split, init, 1, ()).path
    cell = read_json(path) if path.exists() else {"concepts": []}  # it failed: a line of the report says so
    measured = dict(zip(cell["concepts"], cell["l1"], strict=True)) if cell["concepts"] else {}
    return Picture(picture, f"{init}: L1 {number(measured[concept.id])}" if concept.id in measured else init)


def finetuned_picture(context: EvaluationContext, concept: Concept, init: str, folder: Path) -> Picture | None:
    """Edit a concept's photograph with its fine-tuned network; None where that was not kept."""
    grid = context.config.grid
    pairs = min((row.pairs for row in grid.finetune if row.split == concept.split), default=0)
    task = FinetuneTask(str(context.out_dir), concept.split, pairs, "full", init, (concept.id,), 0, 0.0)
    network = task.network_path(concept.id)
    if not (network.exists() and task.cell_path(concept.id).exists()):
        return None
    picture = folder / f"after-{init}.png"
    if not picture.exists():
        apply_to_photo(network, folder / "source.png", picture)
    cell = read_json(task.cell_path(concept.id))
    return Picture(picture, f"{init}, {plural(cell['steps'][-1], 'step')}: L1 {number(cell['l1'][-1])}")


def photograph(context: EvaluationContext, concept: Concept, folder: Path) -> tuple[Path, Path] | None:
    """Return (source, target) of at least `SMALLEST` pixels: a larger picture, else a test pair, enlarged."""
    given = context.config.pictures_dir
    roots = [Path(given) / concept.id] if given else []
    roots.append(context.held_out.folders[concept.id] / "test")
    for root in roots:
        there = (root / "source").is_dir()
        found = find_pairs(root).files if there else []
        if not found:
            continue
        # spread the photographs over the concepts
        chosen = found[int(hashlib.sha256(concept.id.encode()).hexdigest(), 16) % len(found)]
        pair = folder / "source.png", folder / "target.png"
        if all(path.exists() for path in pair):
            return pair
        for path, image in zip(pair, decode_pair(chosen)[1:], strict=True):
            scale = max(1.0, SMALLEST / min(image.size))
            size = (round(image.width * scale), round(image.height * scale))
            with atomic_path(path) as temporary:
                image.resize(size, Image.Resampling.LANCZOS).save(temporary)
        return pair
    return None


MOSAIC_COLUMNS = (
    ("source", "photograph"), ("target", "teacher's edit"), ("zero-nearest", "nearest, 0 steps"),
    ("zero-polished", "polished, 0 steps"), ("after-scratch", "scratch, trained"), ("after-polished",
    "polished, trained"),
)  # fmt: skip


def write_mosaic(stories: Sequence[Story], path: PathLike, rows: int = 3, cell: int = 256) -> Path:
    """Write one picture for a README: a row per story, a column per method; the wording stands above each row."""
    chosen = [story for story in stories if story.after][:rows] or list(stories)[:rows]
    columns = [c for c in MOSAIC_COLUMNS if any((story.source.parent / f"{c[0]}.png").exists() for story in chosen)]
    gap, head, line = 6, 26, 30
    canvas = Image.new("RGB", (len(columns) * (cell + gap) + gap, head + len(chosen) * (cell + line)), "white")
    draw = ImageDraw.Draw(canvas)
    font, small = ImageFont.load_default(16), ImageFont.load_default(15)
    for j, (_, title) in enumerate(columns):
        draw.text((gap + j * (cell + gap) + cell / 2, 5), title, fill="#5b6675", font=small, anchor="ma")
    for i, story in enumerate(chosen):
        top = head + i * (cell + line)
        draw.text((gap + 2, top + 5), f"“{story.words}”", fill="#1c2430", font=font)
        for j, (name, _) in enumerate(columns):
            file = story.source.parent / f"{name}.png"
            if file.exists():
                with Image.open(file) as image:
                    square = ImageOps.fit(image.convert("RGB"), (cell, cell), Image.Resampling.LANCZOS)
                    canvas.paste(square, (gap + j * (cell + gap), top + line - 2))
    path = Path(path)
    with atomic_path(path) as temporary:
        canvas.save(temporary, quality=88)
    return path

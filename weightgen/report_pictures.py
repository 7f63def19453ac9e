"""The pictures of the report: photographs edited at their own size by every method, through `zoo.apply`.

    stories = make_pictures(bench)          # OUT/pictures/<concept>/<stage>-<init>.png, made once
    write_mosaic(stories, "docs/images/demo.jpg")

A story is one held-out concept: the photograph, the teacher's edit, every method at 0 steps and, where the
concept was fine-tuned, after it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from weightgen.bench import Bench
from weightgen.cells import FinetuneTask
from weightgen.heldout import wordings
from zoo.apply import apply_to_photo
from zoo.concepts import Concept
from zoo.files import PathLike, atomic_path, read_json
from zoo.lora import merge, save_base
from zoo.pair_layouts import find_pairs
from zoo.pairs import decode_pair
from zoo.progress import track

SHOWN = ("base", "nearest", "kernel_ridge", "generated", "polished")
FINETUNED = ("scratch", *SHOWN)
SMALLEST = 384  # pixels; what is smaller is enlarged before it is edited
CONCEPTS_OF_A_SPLIT = 2  # without fine-tuning


@dataclass(frozen=True)
class Story:
    """One concept in pictures.

    Args:
        zero, after: (init, picture) at 0 steps and after fine-tuning.
        steps: how many steps each fine-tuning took, by init.
        l1: test L1 of the same networks, by ("zero" or "after", init).
    """

    concept: Concept
    source: Path
    target: Path
    zero: list[tuple[str, Path]] = field(default_factory=list)
    after: list[tuple[str, Path]] = field(default_factory=list)
    steps: dict[str, int] = field(default_factory=dict)
    l1: dict[tuple[str, str], float] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """What the concept was asked for with."""
        return wordings(self.concept, 1)[0]


def make_pictures(bench: Bench) -> list[Story]:
    """Edits one photograph per concept with every method; fine-tuned concepts come first."""
    grid = bench.config.grid
    chosen: list[Concept] = []
    for split in grid.splits:
        tuned = any(row.split == split and row.mode == "full" for row in grid.finetune)
        count = grid.picture_concepts if tuned else min(CONCEPTS_OF_A_SPLIT, grid.picture_concepts)
        chosen += [
            c
            for c in bench.held_out.concepts(split, grid.concepts_per_split)
            if c.id not in bench.near_duplicates
        ][:count]
    told = (tell(bench, concept) for concept in track(chosen, "rendering pictures", "concepts"))
    stories = [story for story in told if story is not None]
    return sorted(stories, key=lambda story: not story.after)


def tell(bench: Bench, concept: Concept) -> Story | None:
    """The story of one concept; None when there is no picture of it."""
    folder = bench.out_dir / "pictures" / concept.id
    pair = photograph(bench, concept, folder)
    if pair is None:
        return None
    story = Story(concept, *pair)
    for init in SHOWN:
        if not (bench.out_dir / "starts" / f"{init}-1.safetensors").exists():
            continue
        picture = folder / f"zero-{init}.png"
        if not picture.exists():
            weights = folder / f"zero-{init}.safetensors"
            adapter = {name: value[0] for name, value in bench.start(init, [concept.id]).items()}
            save_base(weights, merge(bench.base, adapter))
            apply_to_photo(weights, story.source, picture)
            weights.unlink()
        story.zero.append((init, picture))
        path = bench.cell(f"zero-{concept.split}-{init}-1")
        cell = read_json(path) if path.exists() else {"concepts": []}  # it failed: a line of the report says so
        if concept.id in cell["concepts"]:
            story.l1["zero", init] = cell["l1"][cell["concepts"].index(concept.id)]
    pairs = min((row.pairs for row in bench.config.grid.finetune if row.split == concept.split), default=0)
    for init in FINETUNED:
        task = FinetuneTask(str(bench.out_dir), concept.split, pairs, "full", init, (concept.id,), 0, 0.0)
        network = bench.out_dir / "networks" / f"{task.cell_name(concept.id)}.safetensors"
        if network.exists() and task.cell_path(concept.id).exists():
            picture = folder / f"after-{init}.png"
            if not picture.exists():
                apply_to_photo(network, story.source, picture)
            cell = read_json(task.cell_path(concept.id))
            story.after.append((init, picture))
            story.steps[init] = cell["steps"][-1]
            story.l1["after", init] = cell["l1"][-1]
    return story


def photograph(bench: Bench, concept: Concept, folder: Path) -> tuple[Path, Path] | None:
    """(source, target) of at least `SMALLEST` pixels: a larger picture, else a test pair, enlarged."""
    given = bench.config.pictures_dir
    roots = [Path(given) / concept.id] if given else []
    roots.append(bench.held_out.folders[concept.id] / "test")
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
    """One picture for a README: a row per story, a column per method; the wording stands above each row."""
    chosen = [story for story in stories if story.after][:rows] or list(stories)[:rows]
    columns = [
        c for c in MOSAIC_COLUMNS if any((story.source.parent / f"{c[0]}.png").exists() for story in chosen)
    ]
    gap, head, line = 6, 26, 30
    canvas = Image.new(
        "RGB", (len(columns) * (cell + gap) + gap, head + len(chosen) * (cell + line)), "white"
    )
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
                    canvas.paste(_square(image, cell), (gap + j * (cell + gap), top + line - 2))
    path = Path(path)
    with atomic_path(path) as temporary:
        canvas.save(temporary, quality=88)
    return path


def _square(image: Image.Image, side: int) -> Image.Image:
    """The centre square, `side` pixels."""
    short = min(image.size)
    left, top = (image.width - short) // 2, (image.height - short) // 2
    box = (left, top, left + short, top + short)
    return image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS, box=box)

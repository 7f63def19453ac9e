"""Pairs of the external edits, for an evaluation.

    folder = write_external_pairs("runs/evaluation/pairs/external")
    write_external_pictures("runs/evaluation/pairs/pictures", concepts)

`edits.json` lists the edits (prompt, paraphrases, tool, exact arguments). `photos/` holds six photographs that are
used nowhere else. `targets/<photo>/<edit id>.webp` are the tools' results, so that an evaluation needs no tool;
`run_tools.py` makes them anew. All edits share their source crops, squares of 256 px: 16 train pairs
from four photographs and 16 test pairs from the two others.
"""

import json
import shutil
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zoo.concepts import Concept, read_concepts, write_concepts
from zoo.files import PathLike, atomic_path
from zoo.pictures.pair_squares import random_boxes
from zoo.pictures.pairs import write_pairs
from zoo.progress import track

HERE = Path(__file__).resolve().parent
SPLITS = {"train": ("bridge", "kleiber", "rocket", "seeding"), "test": ("flower", "friends")}
PREFIX = "external-"
PAIRS_PER_SPLIT = 16
CROP_SIZE = 256
PICTURE_SIZE = 512  # pixels of the short side
SMALLEST_CROP = 2 / 3  # share of the short side, so that no crop is enlarged; the largest is all of it


def read_edits() -> list[dict[str, Any]]:
    """Return the edits, in their committed order."""
    return json.loads((HERE / "edits.json").read_text(encoding="utf-8"))


def external_concepts() -> list[Concept]:
    """Return the edits as concepts, in their committed order."""
    return [concept_of(edit) for edit in read_edits()]


def write_external_pairs(
    out: PathLike, concepts: Sequence[Concept] | None = None, num_test: int = PAIRS_PER_SPLIT
) -> Path:
    """Write `out/<concept id>/{train,test}/{source,target}/<name>.png` and `out/concepts.jsonl`. Return `out`.

    What is there already is kept. The photographs take turns, so that the first few pairs show all of them.

    Args:
        concepts: of :func:`external_concepts`; None takes all.
        num_test: test pairs of each, `PAIRS_PER_SPLIT` at most.
    """
    out, path = Path(out), Path(out) / "concepts.jsonl"
    concepts = external_concepts() if concepts is None else concepts
    counts = {"train": PAIRS_PER_SPLIT, "test": min(num_test, PAIRS_PER_SPLIT)}
    earlier = {concept.id: concept for concept in read_concepts(path)} if path.exists() else {}
    for concept in track(concepts, "cutting external pairs", "concepts"):
        for split, photos in SPLITS.items():
            _write_crops(out / concept.id / split, photos, edit_id(concept), counts[split])
    write_concepts(path, (earlier | {concept.id: concept for concept in concepts}).values())
    return out


def write_external_pictures(out: PathLike, concepts: Iterable[Concept]) -> None:
    """Write larger test pairs of `concepts` as `out/<concept id>/{source,target}/<photo>.png`."""
    for concept in concepts:
        for photo in SPLITS["test"]:
            target = target_path(photo, edit_id(concept))
            for half, file in (("source", photo_path(photo)), ("target", target)):
                path = Path(out) / concept.id / half / f"{photo}.png"
                if path.exists():
                    continue
                with Image.open(file) as image, atomic_path(path) as temporary:
                    scale = PICTURE_SIZE / min(image.size)
                    size = (round(image.width * scale), round(image.height * scale))
                    image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(temporary)


def photo_path(photo: str) -> Path:
    """Return the file of a photograph."""
    return HERE / "photos" / f"{photo}.jpg"


def target_path(photo: str, edit_id: str) -> Path:
    """Return the file that a tool made of a photograph."""
    return HERE / "targets" / photo / f"{edit_id}.webp"


def concept_id(edit: dict[str, Any]) -> str:
    """Return the edit's id as a concept. The catalogue has names of its own, some of them the same."""
    return f"{PREFIX}{edit['id']}"


def edit_id(concept: Concept) -> str:
    """Return the id of the edit that a concept was made of."""
    return concept.id.removeprefix(PREFIX)


def concept_of(edit: dict[str, Any]) -> Concept:
    """Return the edit as a concept. Its first paraphrase is the prompt as typed: evaluations never use `prompt`."""
    wordings = (edit["prompt"], *edit["paraphrases"])
    return Concept(concept_id(edit), edit["prompt"], wordings, {}, "external")


def _write_crops(folder: Path, photos: Sequence[str], edit: str, count: int) -> None:
    """Write `count` squares of the photographs and of what a tool made of them, unless there are as many already."""
    if folder.exists() and len(list((folder / "target").glob("*.png"))) >= count:
        return
    files = {photo: (photo_path(photo), target_path(photo, edit)) for photo in photos}
    crops = {photo: [_crops(file, photo, -(-count // len(photos))) for file in pair] for photo, pair in files.items()}
    chosen = [(number, photo) for number in range(count) for photo in photos][:count]
    halves = [torch.stack([crops[photo][half][number] for number, photo in chosen]) for half in (0, 1)]
    shutil.rmtree(folder, ignore_errors=True)
    write_pairs(folder, [f"{number:02d}_{photo}" for number, photo in chosen], *halves)


@lru_cache(maxsize=32)
def _crops(file: Path, photo: str, count: int) -> Tensor:
    """Return squares of a picture, [count, 3, CROP_SIZE, CROP_SIZE]; of an edit where they are in its photograph."""
    with Image.open(file) as opened:
        image = opened.convert("RGB")
    boxes = random_boxes(image.size, count, f"external/{photo}", SMALLEST_CROP)
    crops = [image.resize((CROP_SIZE, CROP_SIZE), Image.Resampling.LANCZOS, box=box) for box in boxes]
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255

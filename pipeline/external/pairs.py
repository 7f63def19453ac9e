"""Pairs of the external edits, for an evaluation.

    folder = write_external_pairs("runs/evaluation/pairs/external")
    write_external_pictures("runs/evaluation/pairs/pictures", concepts)

`edits.json` lists the edits (prompt, paraphrases, tool, exact arguments). `photos/` holds six photographs that are
used nowhere else. `targets/<photo>/<edit id>.webp` are the tools' results, so that an evaluation needs no tool;
`run_tools.py` makes them anew. All edits share their source crops: 16 train pairs from four photographs and 16
test pairs from the two others.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from zoo.concepts import Concept, write_concepts
from zoo.files import PathLike, atomic_path
from zoo.pictures.pairs import random_boxes

HERE = Path(__file__).resolve().parent
SPLITS = {"train": ("bridge", "kleiber", "rocket", "seeding"), "test": ("flower", "friends")}
PAIRS_PER_SPLIT = 16
CROP_SIZE = 96
PICTURE_SIZE = 512  # pixels of the short side
SMALLEST_CROP = 0.35  # share of the short side; the largest is all of it


def read_edits() -> list[dict[str, Any]]:
    """Return the edits, in their committed order."""
    return json.loads((HERE / "edits.json").read_text(encoding="utf-8"))


def write_external_pairs(out: PathLike) -> Path:
    """Write `out/<concept id>/{train,test}/{source,target}/<name>.png` of every edit. Return `out`.

    `concepts.jsonl` comes last and marks the folder as complete; a complete one is left as it is.
    """
    out = Path(out)
    if (out / "concepts.jsonl").is_file():
        return out
    edits = read_edits()
    for edit in edits:
        for split, photos in SPLITS.items():
            folder = out / concept_id(edit) / split
            for photo in photos:
                count = PAIRS_PER_SPLIT // len(photos)
                _write_crops(photo_path(photo), folder / "source", photo, count)
                _write_crops(target_path(photo, edit["id"]), folder / "target", photo, count)
    write_concepts(out / "concepts.jsonl", [concept_of(edit) for edit in edits])
    return out


def write_external_pictures(out: PathLike, concepts: Iterable[Concept]) -> None:
    """Write larger test pairs of `concepts` as `out/<concept id>/{source,target}/<photo>.png`."""
    for concept in concepts:
        for photo in SPLITS["test"]:
            target = target_path(photo, concept.id.removeprefix("external-"))
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
    return f"external-{edit['id']}"


def concept_of(edit: dict[str, Any]) -> Concept:
    """Return the edit as a concept. Its first paraphrase is the prompt as typed: evaluations never use `prompt`."""
    wordings = (edit["prompt"], *edit["paraphrases"])
    return Concept(concept_id(edit), edit["prompt"], wordings, {}, "external")


def _write_crops(image_path: Path, folder: Path, photo: str, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with Image.open(image_path) as opened:
        image = opened.convert("RGB")
        for number, box in enumerate(random_boxes(image.size, count, f"external/{photo}", SMALLEST_CROP)):
            crop = image.resize((CROP_SIZE, CROP_SIZE), Image.Resampling.LANCZOS, box=box)
            crop.save(folder / f"{photo}_{number:02d}.png")

"""How often the checks of example pairs are right: pairs of many edits, photographs that are no pairs, shifted pairs.

    python -m benchmarks.pair_checks                    # about four minutes on one core
    python -m benchmarks.pair_checks --concepts 20      # a look

Edits are those of the catalogue, drawn at random, and the ones that other tools made (`tests/external`). What is no
pair are the halves of photographs, and the source of one pair beside the target of another.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pipeline.concepts.catalogue import catalogue
from pipeline.sources import load_photos
from pipeline.teachers.filters import FiltersTeacher
from zoo.concepts import Concept
from zoo.pictures.pair_checks import Likeness, offset, set_likeness
from zoo.pictures.photo_file import open_image

EXTERNAL = Path(__file__).parents[1] / "pipeline" / "external"
LONG_SIDE = 256  # of the photographs that are edited here
SHIFTS = (1, 2, 3, 5, 8)
Picture = Image.Image
Pairs = list[tuple[Picture, Picture]]


def main() -> None:
    """Run all measurements and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--concepts", type=int, default=150)
    parser.add_argument("--pairs", type=int, default=5, help="pairs of each edit")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    photos = [*load_photos("train"), *load_photos("test")]
    edits = {**external_edits(), **catalogue_edits(photos, options.concepts, options.pairs, rng)}
    others = photos + [open_image(path) for path in sorted((EXTERNAL / "photos").glob("*.jpg"))]
    halves = [random_halves(others, options.pairs, rng) for _ in edits]
    shuffled = [shuffle(pairs) for pairs in edits.values()]
    result = {
        "pairs taken": rates(list(edits.values())),
        "halves of photographs taken": rates(halves),
        "shuffled pairs taken": rates(shuffled),
        "shifts": shifts([pair for pairs in edits.values() for pair in pairs]),
    }
    print(json.dumps(result, indent=2))


def external_edits() -> dict[str, Pairs]:
    """Return the edits of other tools, each on the same six photographs."""
    found: dict[str, Pairs] = {}
    for path in sorted((EXTERNAL / "photos").glob("*.jpg")):
        for target in sorted((EXTERNAL / "targets" / path.stem).glob("*.webp")):
            found.setdefault(target.stem, []).append((open_image(path), open_image(target)))
    return found


def catalogue_edits(photos: list[Picture], concepts: int, pairs: int, rng: np.random.Generator) -> dict[str, Pairs]:
    """Return concepts of the catalogue, each on photographs of its own choice."""
    teacher, everything = FiltersTeacher(), catalogue()
    found = {}
    for index in rng.permutation(len(everything))[:concepts]:
        concept = everything[index]
        chosen = [reduced(photos[i]) for i in rng.choice(len(photos), pairs, replace=False)]
        found[concept.prompt] = [(photo, edited(teacher, concept, photo)) for photo in chosen]
    return found


def shuffle(pairs: Pairs) -> Pairs:
    """Return every source beside the target of the pair before."""
    return [(source, pairs[i - 1][1].resize(source.size)) for i, (source, _) in enumerate(pairs)]


def reduced(photo: Picture) -> Picture:
    """Return a photograph with a long side of at most `LONG_SIDE`."""
    scale = LONG_SIDE / max(photo.size)
    return photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.BOX)


def edited(teacher: FiltersTeacher, concept: Concept, photo: Picture) -> Picture:
    """Return the teacher's edit of one photograph."""
    pixels = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None].float() / 255
    result = teacher.edit(concept, pixels)[0].clamp(0, 1)
    return Image.fromarray((result * 255).round().byte().permute(1, 2, 0).numpy())


def random_halves(photos: list[Picture], count: int, rng: np.random.Generator) -> Pairs:
    """Return the left and right halves of photographs, every other one cropped to a random part."""
    found = []
    for number, index in enumerate(rng.choice(len(photos), count, replace=False)):
        photo = photos[index]
        if number % 2:
            width, height = (int(side * rng.uniform(0.5, 1)) for side in photo.size)
            left, top = (int(rng.integers(0, most + 1)) for most in (photo.width - width, photo.height - height))
            photo = photo.crop((left, top, left + width, top + height))
        middle = photo.width // 2
        found.append((photo.crop((0, 0, middle, photo.height)), photo.crop((middle, 0, 2 * middle, photo.height))))
    return found


def rates(sets: list[Pairs]) -> dict[str, str]:
    """Return how many sets are taken for pairs, by the number of pictures in a set."""
    result = {}
    for size in (len(sets[-1]), 3, 2, 1):
        found = [set_likeness(pairs[:size]) for pairs in sets]
        known = [likeness for likeness in found if likeness is not None]
        result[f"sets of {size}"] = f"{sum(map(Likeness.is_related, known))} of {len(known)}"
        if size == len(sets[-1]):
            result["likeness, and beyond chance"] = spread(known)
    return result


def spread(known: list[Likeness]) -> str:
    """Return the range of the likeness, and of its excess over chance, in one line."""
    own, over = (sorted(values) for values in zip(*((x.own, x.own - x.chance) for x in known), strict=True))
    return f"{own[0]:.3f} to {own[-1]:.3f}, {over[0]:.3f} to {over[-1]:.3f}"


def shifts(pairs: Pairs) -> dict[str, str]:
    """Return how often a shift is found exactly, within a pixel, not at all, or wrongly."""
    counts = {"0": f"{sum(offset(*pair) != (0, 0) for pair in pairs)} of {len(pairs)} wrong"}
    for shift in SHIFTS:
        found = [shift_error(*pair, shift) for pair in pairs]
        silent = sum(error is None for error in found)
        exact, near = (sum(error == wanted for error in found) for wanted in (0, 1))
        wrong = len(found) - silent - exact - near
        counts[str(shift)] = f"{exact} exact, {near} within 1, {silent} silent, {wrong} wrong of {len(found)}"
    return counts


def shift_error(source: Picture, target: Picture, shift: int) -> int | None:
    """Return the pixels between a diagonal shift and the one that is found; None where nothing is said."""
    width, height = source.size
    found = offset(source.crop((shift, shift, width, height)), target.crop((0, 0, width - shift, height - shift)))
    return None if found == (0, 0) else max(abs(found[0] - shift), abs(found[1] - shift))


if __name__ == "__main__":
    main()

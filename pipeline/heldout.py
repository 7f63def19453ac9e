"""Pairs of held-out concepts as folders of PNG: all that evaluation sees of photographs and teachers.

    write_held_out("pairs/heldout", config, [(concept, 16) for concept in test_concepts("value")])

gives ``<out>/<concept_id>/{train,test}/{source,target}/0000.png`` and ``<out>/concepts.jsonl`` (last).
Train crops come from the train photographs; test crops come from the others and are those that the build
measures on. A concept with more train pairs begins with those of one with fewer. Folders appear complete or
not at all: the same call goes on where it stopped.
"""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from pipeline.build_config import BuildConfig
from pipeline.catalogue import near_duplicates
from pipeline.sources import crops, cut, draw_cuts, photo_sizes
from pipeline.teachers import Teacher
from pipeline.workbench import make_teacher, photographs, source_crops
from zoo.concepts import Concept, concepts_text, read_concepts, write_concepts
from zoo.config import config_diff
from zoo.errors import WeightzooError
from zoo.files import PathLike, read_json, remove_stale_temporaries, write_json
from zoo.pairs import write_pairs
from zoo.progress import track
from zoo.words import plural

SETTINGS_FILE = "settings.json"
CROPS_PER_DRAW = 16
NEAR_DUPLICATE_CROPS = 8
PICTURE_SIZE = 512
PICTURES_PER_CONCEPT = 3


def write_held_out(
    out: PathLike, config: BuildConfig, wanted: Sequence[tuple[Concept, int]], num_test: int = 32
) -> Path:
    """Write the pairs of every wanted concept; what is there already is kept. Returns ``out``.

    Args:
        config: of the zoo; its teacher, photographs, image size and seed are used.
        wanted: concepts with their numbers of train pairs.
        num_test: test pairs of each, at most ``config.num_test_crops``.

    Raises:
        WeightzooError: the folder was made with other settings, or the teacher cannot do a concept.
    """
    out = _open(Path(out), config, {"num_test": num_test})
    teacher = make_teacher(config.teacher, config.teacher_options)
    train = _train_crops(config, max((count for _, count in wanted), default=0))
    test = source_crops(config)[1][:num_test]
    if len(test) < num_test:
        raise WeightzooError(f"{plural(num_test, 'test pair')} requested, but the zoo has {len(test)}; request fewer")
    for concept, num_train in track(wanted, "rendering held-out pairs", "concepts"):
        _write(out / concept.id / "train", concept, teacher, train[:num_train])
        _write(out / concept.id / "test", concept, teacher, test)
    _add_concepts(out / "concepts.jsonl", [concept for concept, _ in wanted])
    return out


def write_pictures(out: PathLike, config: BuildConfig, concepts: Sequence[Concept]) -> Path:
    """Write larger test pairs (``<concept_id>/{source,target}/``) for a report. Returns ``out``."""
    out = _open(Path(out), config, {"size": PICTURE_SIZE})
    teacher = make_teacher(config.teacher, config.teacher_options)
    # whole short sides of the first photographs: what a person would edit
    photos = photographs(config, "test")[:PICTURES_PER_CONCEPT]
    sources = torch.cat([crops([photo], 1, PICTURE_SIZE, config.seed) for photo in photos])
    for concept in track(concepts, "rendering pictures", "concepts"):
        _write(out / concept.id, concept, teacher, sources)
    return out


def write_near_duplicates(
    path: PathLike, config: BuildConfig, concepts: Sequence[Concept], zoo: Sequence[Concept]
) -> Path:
    """Write which ``concepts`` have targets nearer than L1 .03 to those of a concept of the ``zoo``."""
    path = Path(path)
    marker = path.with_name(f"{path.stem}-of.json")  # what the list was made for: a zoo may have been extended
    made_for = {
        "concepts": sorted(concept.id for concept in concepts),
        "zoo_sha256": hashlib.sha256(concepts_text(zoo).encode()).hexdigest(),
    }
    if not path.exists() or not marker.exists() or read_json(marker) != made_for:
        teacher = make_teacher(config.teacher, config.teacher_options)
        sources = source_crops(config)[1][:NEAR_DUPLICATE_CROPS]
        _, near = near_duplicates(list(concepts), list(zoo), teacher, sources)
        write_json(
            path, {item.concept_id: {"nearest": item.zoo_id, "l1": round(item.l1, 5)} for item in near}
        )
        write_json(marker, made_for)
    return path


def _open(out: Path, config: BuildConfig, more: dict[str, int]) -> Path:
    """Check that ``out`` was made with the same settings, or note them."""
    remove_stale_temporaries(out)
    settings = {
        "teacher": config.teacher,
        "image_size": config.image_size,
        "seed": config.seed,
        "train_photos": config.train_photos,
        "test_photos": config.test_photos,
        **more,
    }
    if config.train_photos == config.test_photos:  # folders of earlier versions had test photographs to train on
        settings["split"] = "by photograph"
    path = out / SETTINGS_FILE
    if not path.exists():
        write_json(path, settings)
    elif difference := config_diff(read_json(path), settings):
        raise WeightzooError(f"{out} was made with other settings ({difference}); choose another folder")
    return out


def _train_crops(config: BuildConfig, count: int) -> Tensor:
    """``count`` train crops; more crops begin with the same ones."""
    photos, size = photographs(config, "train"), config.image_size
    sizes = photo_sizes(photos)
    cuts = [
        item
        for start in range(0, count, CROPS_PER_DRAW)
        for item in draw_cuts(sizes, CROPS_PER_DRAW, size, _draw_seed(config.seed, start))
    ]
    return cut(photos, cuts[:count], size)


def _draw_seed(seed: int, start: int) -> int:
    return 1_000_003 * (seed + 1) + start


def _write(folder: Path, concept: Concept, teacher: Teacher, sources: Tensor) -> None:
    """Edit and write ``sources``, unless the folder has at least as many pairs."""
    stored = len(list((folder / "target").glob("*.png"))) if folder.exists() else 0
    if stored >= len(sources):
        return
    targets = teacher.edit(concept, sources)
    shutil.rmtree(folder, ignore_errors=True)
    write_pairs(folder, [f"{i:04d}" for i in range(len(sources))], sources, targets)


def _add_concepts(path: Path, concepts: Sequence[Concept]) -> None:
    earlier = {concept.id: concept for concept in read_concepts(path)} if path.exists() else {}
    write_concepts(path, (earlier | {concept.id: concept for concept in concepts}).values())

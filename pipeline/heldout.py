"""Pairs of held-out concepts as folders of PNG: all that evaluation sees of photographs and teachers.

    pairs = held_out_pairs("evaluation/pairs", zoo, HeldOutRequest({"value": 16}, pairs_needed))

leaves `heldout/<concept_id>/{train,test}/{source,target}/0000.png` with `heldout/concepts.jsonl` (last), the same
for `external/`, larger pictures for a report in `pictures/<concept_id>/{source,target}/`, and
`near-duplicates.json`, which names the concepts that are reported apart.
Train crops come from the train photographs; test crops come from the others and are those that the build
measures on. A concept with more train pairs begins with those of one with fewer. Folders appear complete or
not at all: the same call goes on where it stopped.
"""

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline.build_config import BuildConfig
from pipeline.concepts.catalogue import TEST_SPLITS, near_duplicates, test_concepts
from pipeline.external.pairs import external_concepts, write_external_pairs, write_external_pictures
from pipeline.fleets.shared import make_teacher, photographs, source_crops
from pipeline.run_folder.private_paths import read_config
from pipeline.sources import crops, cut, draw_cuts, photo_sizes
from pipeline.teachers import OwnFiles, Teacher
from zoo.concepts import Concept, concepts_text, evaluation_order, read_concepts, write_concepts
from zoo.config import config_diff
from zoo.errors import WeightzooError
from zoo.files import PathLike, read_json, remove_stale_temporaries, write_json
from zoo.pictures.pairs import write_pairs
from zoo.progress import track
from zoo.run import open_zoo
from zoo.words import plural

SETTINGS_FILE = "settings.json"
SETTINGS = ("teacher", "image_size", "seed", "train_photos", "test_photos")
CROPS_PER_DRAW = 16
NEAR_DUPLICATE_CROPS = 8
PICTURE_SIZE = 512
PICTURES_PER_CONCEPT = 3


@dataclass(frozen=True)
class HeldOutRequest:
    """What an evaluation needs.

    Attributes:
        limits: by split (`external` and `validation` included) how many concepts; `None` takes all.
        pairs_needed: a function of (split, position in the split, train crops of the zoo) that gives the number of
            train pairs of a concept.
        num_test: test pairs of each concept; a small zoo measures on fewer.
        picture_concepts: how many concepts of each split a report shows larger pictures of.
    """

    limits: Mapping[str, int | None]
    pairs_needed: Callable[[str, int, int], int]
    num_test: int = 32
    picture_concepts: int = 0


@dataclass(frozen=True)
class HeldOutPairs:
    """The folders that an evaluation reads."""

    folders: tuple[Path, ...]
    near_duplicates: Path | None = None
    pictures: Path | None = None


def held_out_pairs(folder: PathLike, zoo: PathLike, request: HeldOutRequest) -> HeldOutPairs:
    """Make what is requested of the catalogue's held-out concepts and of the external edits; keep what is there.

    Args:
        zoo: its config says which teacher, photographs and image size.

    Raises:
        WeightzooError: the zoo's teacher edits no other photographs, or the pairs could not be made.
    """
    folder, config = Path(folder), read_config(zoo)
    if isinstance(make_teacher(config.teacher, config.teacher_options), OwnFiles):
        raise WeightzooError(
            f"the teacher {config.teacher!r} of {zoo} makes no pairs of other concepts than its own; give --pairs DIR"
        )
    opened = open_zoo(zoo)
    chosen = {
        split: _first(opened.concepts(split) if split == "validation" else test_concepts(split), limit)
        for split, limit in request.limits.items()
        if split in (*TEST_SPLITS, "validation")
    }
    near, apart = None, frozenset[str]()
    if tested := [concept for split in chosen if split != "validation" for concept in chosen[split]]:
        near = write_near_duplicates(folder / "near-duplicates.json", config, tested, opened.concepts("train"))
        apart = frozenset(read_json(near))
    wanted, shown = [], []
    for split, concepts in chosen.items():
        order = sorted(concepts, key=lambda concept: concept.id in apart)  # near duplicates last
        wanted += [
            (concept, request.pairs_needed(split, position, config.num_train_crops))
            for position, concept in enumerate(order)
        ]
        if split != "validation":
            shown += [c for c in order if c.id not in apart][: request.picture_concepts]
    num_test = min(request.num_test, config.num_test_crops)
    folders = [write_held_out(folder / "heldout", config, wanted, num_test)]
    pictures = write_pictures(folder / "pictures", config, shown)
    if "external" in request.limits:
        external = _first(external_concepts(), request.limits["external"])
        folders.append(write_external_pairs(folder / "external", external, request.num_test))
        write_external_pictures(pictures, external[: request.picture_concepts])
    return HeldOutPairs(tuple(folders), near, pictures)


def _first(concepts: Sequence[Concept], count: int | None) -> list[Concept]:
    return sorted(concepts, key=lambda concept: evaluation_order(concept.id))[:count]


def write_held_out(
    out: PathLike, config: BuildConfig, wanted: Sequence[tuple[Concept, int]], num_test: int = 32
) -> Path:
    """Write the pairs of every wanted concept; what is there already is kept. Returns `out`.

    Args:
        config: of the zoo; its teacher, photographs, image size and seed are used.
        wanted: concepts with their numbers of train pairs.
        num_test: test pairs of each, at most `config.num_test_crops`.

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
    """Write larger test pairs (`<concept_id>/{source,target}/`) for a report. Returns `out`."""
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
    """Write which `concepts` have targets nearer than L1 0.03 to those of a concept of the `zoo`."""
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
        write_json(path, {item.concept_id: {"nearest": item.zoo_id, "l1": round(item.l1, 5)} for item in near})
        write_json(marker, made_for)
    return path


def _open(out: Path, config: BuildConfig, more: dict[str, int]) -> Path:
    """Check that `out` was made with the same settings, or note them."""
    remove_stale_temporaries(out)
    settings = {key: getattr(config, key) for key in SETTINGS} | more
    if config.train_photos == config.test_photos:  # folders of earlier versions had test photographs to train on
        settings["split"] = "by photograph"
    path = out / SETTINGS_FILE
    if not path.exists():
        write_json(path, settings)
    elif difference := config_diff(read_json(path), settings):
        raise WeightzooError(f"{out} was made with other settings ({difference}); choose another folder")
    return out


def _train_crops(config: BuildConfig, count: int) -> Tensor:
    """Return `count` train crops; more crops begin with the same ones."""
    photos, size = photographs(config, "train"), config.image_size
    sizes = photo_sizes(photos)
    cuts = [
        item
        for start in range(0, count, CROPS_PER_DRAW)
        for item in draw_cuts(sizes, CROPS_PER_DRAW, size, 1_000_003 * (config.seed + 1) + start)
    ]
    return cut(photos, cuts[:count], size)


def _write(folder: Path, concept: Concept, teacher: Teacher, sources: Tensor) -> None:
    """Edit and write `sources`, unless the folder has at least as many pairs."""
    stored = len(list((folder / "target").glob("*.png"))) if folder.exists() else 0
    if stored >= len(sources):
        return
    targets = teacher.edit(concept, sources)
    shutil.rmtree(folder, ignore_errors=True)
    write_pairs(folder, [f"{i:04d}" for i in range(len(sources))], sources, targets)


def _add_concepts(path: Path, concepts: Sequence[Concept]) -> None:
    earlier = {concept.id: concept for concept in read_concepts(path)} if path.exists() else {}
    write_concepts(path, (earlier | {concept.id: concept for concept in concepts}).values())

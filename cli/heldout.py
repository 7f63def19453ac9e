"""The pairs that an evaluation is done on, made when they are absent: ``pipeline`` wired to ``weightgen``.

DIR/heldout/<concept_id>/{train,test}/{source,target}/     the catalogue's held-out concepts
DIR/external/<edit_id>/{train,test}/{source,target}/       edits made by other tools (in a checkout only)
DIR/pictures/<concept_id>/{source,target}/                 larger ones, for the report
DIR/near-duplicates.json                                   concepts that are reported apart
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EXTERNAL_SCRIPT = Path(__file__).resolve().parent.parent / "tests" / "external" / "make_edits.py"
FEWEST_PAIRS = 16
EXTERNAL_PICTURE_SIZE = 512  # pixels of the short side


@dataclass(frozen=True)
class HeldOutPairs:
    """What ``weightgen.evaluation.evaluate`` reads."""

    folders: tuple[Path, ...]
    near_duplicates: Path | None = None
    pictures: Path | None = None


def held_out_pairs(folder: Path, zoo: Path, grid: Any) -> HeldOutPairs:
    """Make what a grid needs of the catalogue's held-out concepts and of the external edits.

    Args:
        zoo: its config says which teacher, photographs and image size.
        grid: a ``weightgen.evaluation.grid.Grid``.

    Raises:
        WeightzooError: the zoo's teacher edits no other photographs, or the pairs could not be made.
    """
    from pipeline.concepts.catalogue import TEST_SPLITS, test_concepts
    from pipeline.fleets.shared import make_teacher
    from pipeline.heldout import write_held_out, write_near_duplicates, write_pictures
    from pipeline.run_folder.private_paths import read_config
    from pipeline.teachers import OwnPairs
    from weightgen.evaluation.held_out_pairs import read_ids, stable_order
    from zoo.errors import WeightzooError
    from zoo.run import open_zoo

    opened = open_zoo(zoo)
    config = read_config(zoo)
    if isinstance(make_teacher(config.teacher, config.teacher_options), OwnPairs):
        raise WeightzooError(
            f"{zoo} was built from pairs, and its teacher cannot make more; give held-out pairs with --pairs DIR"
        )
    limits = {split: grid.concepts_per_split for split in grid.splits if split in TEST_SPLITS}
    members = {split: test_concepts(split) for split in limits}
    members["validation"], limits["validation"] = opened.concepts("validation"), grid.validation_concepts
    chosen = {
        split: sorted(concepts, key=lambda concept: stable_order(concept.id))[: limits[split]]
        for split, concepts in members.items()
    }
    tested = [concept for split in limits if split != "validation" for concept in chosen[split]]
    near = None
    if tested:
        near = write_near_duplicates(
            folder / "near-duplicates.json", config, tested, opened.concepts("train")
        )
    apart = read_ids(near)
    wanted, shown = [], []
    for split, concepts in chosen.items():
        counted = [concept for concept in concepts if concept.id not in apart]
        order = counted + [concept for concept in concepts if concept.id in apart]
        wanted += [
            (concept, pairs_needed(grid, split, position, config.num_train_crops))
            for position, concept in enumerate(order)
        ]
        if split != "validation":
            shown += counted[: grid.picture_concepts]
    num_test = min(grid.test_images, config.num_test_crops)  # a small zoo measures on fewer
    folders = [write_held_out(folder / "heldout", config, wanted, num_test)]
    pictures = write_pictures(folder / "pictures", config, shown)
    external = external_pairs(folder / "external") if "external" in grid.splits else None
    if external:
        folders.append(external)
        write_external_pictures(pictures, external, grid.picture_concepts)
    return HeldOutPairs(tuple(folders), near, pictures)


def pairs_needed(grid: Any, split: str, position: int, own_pairs: int) -> int:
    """Return how many train pairs the concept at ``position`` of a split takes part with."""
    if split == "validation":
        modes = {row.mode for row in grid.finetune}  # rates are chosen with the fewest pairs of each mode
        fewest = [min(row.pairs for row in grid.finetune if row.mode == mode) for mode in modes]
        return max([FEWEST_PAIRS, *fewest])
    rows = [row.pairs for row in grid.finetune if row.split == split and position < row.concepts]
    own = split in grid.own_splits and (grid.own_concepts is None or position < grid.own_concepts)
    return max([FEWEST_PAIRS, *rows, *([own_pairs] if own else [])])


def external_pairs(folder: Path) -> Path | None:
    """Return the folder with the pairs of the external edits, ``None`` where there is no checkout.

    Raises:
        WeightzooError: the script that crops them failed.
    """
    if (folder / "concepts.jsonl").is_file():
        return folder
    if not EXTERNAL_SCRIPT.is_file():
        return None
    command = [sys.executable, str(EXTERNAL_SCRIPT), "--crops", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        from zoo.errors import WeightzooError

        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise WeightzooError(f"cannot make the external pairs in {folder}: {reason}; remove it and try again")
    return folder


def write_external_pictures(out: Path, pairs: Path, count: int) -> None:
    """Write larger pairs of the first ``count`` external edits: a test photograph and the tool's result."""
    from PIL import Image

    from weightgen.evaluation.held_out_pairs import HeldOut
    from zoo.files import atomic_path

    home = EXTERNAL_SCRIPT.parent
    for concept in HeldOut.open([pairs]).concepts("external", count):
        for target in sorted((home / "targets").glob(f"*/{concept.id.removeprefix('external-')}.webp")):
            name = target.parent.name
            if not any((pairs / concept.id / "test" / "source").glob(f"{name}_*")):
                continue  # a photograph that is trained on
            for half, file in (("source", home / "photos" / f"{name}.jpg"), ("target", target)):
                path = out / concept.id / half / f"{name}.png"
                if path.exists():
                    continue
                with Image.open(file) as image, atomic_path(path) as temporary:
                    scale = EXTERNAL_PICTURE_SIZE / min(image.size)
                    size = (round(image.width * scale), round(image.height * scale))
                    image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(temporary)

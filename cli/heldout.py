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


@dataclass(frozen=True)
class HeldOutPairs:
    """What ``weightgen.evaluate`` reads."""

    folders: tuple[Path, ...]
    near_duplicates: Path | None = None
    pictures: Path | None = None


def held_out_pairs(folder: Path, zoo: Path, grid: Any) -> HeldOutPairs:
    """Make what a grid needs of the catalogue's held-out concepts and of the external edits.

    Args:
        zoo: its config says which teacher, photographs and image size.
        grid: a ``weightgen.grid.Grid``.
    """
    from pipeline.build_config import BuildConfig
    from pipeline.catalogue import TEST_SPLITS, test_concepts
    from pipeline.heldout import write_held_out, write_near_duplicates, write_pictures
    from weightgen.heldout import stable_order
    from zoo.config import load_config
    from zoo.run import open_zoo

    opened = open_zoo(zoo)
    config = load_config(BuildConfig, zoo / "config.json")
    limits = {split: grid.concepts_per_split for split in grid.splits if split in TEST_SPLITS}
    members = {split: test_concepts(split) for split in limits}
    members["validation"], limits["validation"] = opened.concepts("validation"), grid.validation_concepts
    wanted, shown = [], []
    for split, concepts in members.items():
        chosen = sorted(concepts, key=lambda concept: stable_order(concept.id))[: limits[split]]
        wanted += [
            (concept, pairs_needed(grid, split, position, config.num_train_crops))
            for position, concept in enumerate(chosen)
        ]
        if split != "validation":
            shown += chosen[: grid.picture_concepts]
    test_members = [concept for concept, _ in wanted if concept.split != "validation"]
    folders = [write_held_out(folder / "heldout", config, wanted, grid.test_images)]
    external = external_pairs(folder / "external") if "external" in grid.splits else None
    return HeldOutPairs(
        folders=(*folders, external) if external else tuple(folders),
        near_duplicates=write_near_duplicates(
            folder / "near-duplicates.json", config, test_members, opened.concepts("train")
        )
        if test_members
        else None,
        pictures=write_pictures(folder / "pictures", config, shown),
    )


def pairs_needed(grid: Any, split: str, position: int, own_pairs: int) -> int:
    """Return how many train pairs the concept at ``position`` of a split takes part with."""
    rows = [row.pairs for row in grid.finetune if row.split == split and position < row.concepts]
    if split == "validation":
        rows = [row.pairs for row in grid.finetune]
    own = grid.own_concepts is None or position < grid.own_concepts
    return max([FEWEST_PAIRS, *rows, *([own_pairs] if own and split != "validation" else [])])


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

"""Pairs of held-out concepts as folders of PNG: what evaluation reads.

    materialize_heldout("pairs/heldout", test_concepts("value"), make_teacher("filters"), num_train=16)

gives ``<out>/<concept_id>/{train,test}/{source,target}/0000.png`` and ``<out>/concepts.jsonl``. Train crops come from the
train photographs, test crops from the others. A folder appears complete or not at all, so the call can be repeated.
"""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from pipeline.sources import crops, load_photos
from pipeline.teachers import Teacher
from zoo.concepts import Concept, read_concepts, write_concepts
from zoo.errors import WeightzooError
from zoo.files import PathLike, read_json, remove_stale_temporaries, write_json
from zoo.pairs import write_pairs
from zoo.progress import track

SETTINGS_FILE = "settings.json"


def materialize_heldout(
    out: PathLike,
    concepts: Sequence[Concept],
    teacher: Teacher,
    num_train: int = 16,
    num_test: int = 32,
    image_size: int = 64,
    seed: int = 0,
    train_photos: str = "train",
    test_photos: str = "test",
) -> list[Concept]:
    """Write train and test pairs of every concept; what is there already is kept.

    Args:
        out: a folder; concepts of an earlier call with the same settings stay in it.
        seed: of the crops; test crops are those that a build with the same seed measures on.

    Returns:
        All concepts in the folder.

    Raises:
        WeightzooError: the folder was made with other settings, or the teacher cannot do a concept.
    """
    out = Path(out)
    remove_stale_temporaries(out)
    settings = {
        "teacher": teacher.name,
        "num_train": num_train,
        "num_test": num_test,
        "image_size": image_size,
        "seed": seed,
        "train_photos": train_photos,
        "test_photos": test_photos,
    }
    if not (out / SETTINGS_FILE).exists():
        write_json(out / SETTINGS_FILE, settings)
    elif read_json(out / SETTINGS_FILE) != settings:
        raise WeightzooError(
            f"{out} was made with other settings (see {out / SETTINGS_FILE}); choose another folder"
        )
    sources: dict[str, Tensor] = {}
    for concept in track(concepts, "held-out pairs"):
        for half, where, count, half_seed in (
            ("train", train_photos, num_train, seed),
            ("test", test_photos, num_test, seed + 1),
        ):
            folder = out / concept.id / half
            if folder.exists():
                continue
            if half not in sources:
                sources[half] = crops(load_photos(where), count, image_size, half_seed)
            targets = teacher.edit(concept, sources[half])
            write_pairs(folder, [f"{i:04d}" for i in range(count)], sources[half], targets)
    index = out / "concepts.jsonl"
    earlier = {concept.id: concept for concept in read_concepts(index)} if index.exists() else {}
    together = list((earlier | {concept.id: concept for concept in concepts}).values())
    write_concepts(index, together)
    return together

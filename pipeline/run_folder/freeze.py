"""Freezing a run folder: what decides the bytes of a zoo is written once, and later launches are held against it.

freeze(run_dir, config, concepts)         # the first launch, or one that goes on
freeze_extension(run_dir, more)           # a further generation of concepts on the same base and config
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.build_config import BuildConfig
from pipeline.concepts.catalogue import zoo_concepts
from pipeline.executors.attempts import first_line
from pipeline.fleets.shared import (
    PHOTOGRAPHS_FILE,
    check_own_files,
    check_photographs,
    make_teacher,
    own_hashes,
    photograph_hashes,
    photographs,
    warn_of_pairs,
)
from pipeline.run_folder.private_paths import PLACES_FILE, read_config, split_places, with_places
from pipeline.run_folder.shard_plan import (
    GENERATIONS_FILE,
    check_limits,
    plan_fleets,
    plan_run,
    read_generation_sizes,
    record_bytes,
    record_size,
)
from pipeline.sources import photo_sizes
from pipeline.teachers import OwnFiles
from zoo.concepts import Concept, check_concepts, concepts_text, read_concepts, write_concepts
from zoo.config import config_diff, load_config, save_config
from zoo.errors import WeightzooError
from zoo.files import read_json, remove_stale_temporaries, write_json
from zoo.layout import WeightLayout
from zoo.manifest import MANIFEST_FILE, load_manifest
from zoo.pictures.features import FEATURE_NETWORKS
from zoo.results import ZOO, check_kind
from zoo.words import plural

CONCEPTS_FILE, LAYOUT_FILE = "concepts.jsonl", "layout.json"
FROZEN_FILES = (CONCEPTS_FILE, LAYOUT_FILE, PHOTOGRAPHS_FILE, PLACES_FILE)
FIX = "build into another folder, or complete it as it was begun with `weightzoo repair`"


def freeze(run_dir: Path, config: BuildConfig, concepts: Sequence[Concept] | None = None) -> list[Concept]:
    """Check a build, then write config, concepts and layout of a new run folder; a frozen one is held against them.

    Args:
        concepts: of the first generation; default: the catalogue's zoo concepts.

    Raises:
        WeightzooError: naming every difference, or what makes the build impossible; nothing is written then.
    """
    check_kind(run_dir, ZOO)
    remove_stale_temporaries(run_dir)
    concepts = list(zoo_concepts(config.num_concepts) if concepts is None else concepts)
    check_concepts(concepts)
    if not concepts:
        raise WeightzooError("no concepts to train; give at least one")
    labelled, places = split_places(config)
    if (run_dir / "config.json").exists():
        # read as a config: keys that a later version has added have their defaults
        frozen = split_places(load_config(BuildConfig, run_dir / "config.json"))[0]
        if difference := config_diff(frozen, labelled):
            raise WeightzooError(f"{run_dir} is frozen with another config ({one_line(difference)}); {FIX}")
    # what lies there without any of these is of a launch that was stopped before it began
    has_begun = any((run_dir / name).exists() for name in ("config.json", "base", "weights"))
    known = {name for name in FROZEN_FILES if has_begun and (run_dir / name).exists()}
    if (run_dir / CONCEPTS_FILE).exists() and not (run_dir / LAYOUT_FILE).exists():
        known.add(CONCEPTS_FILE)  # a person's own: a launch writes the layout first
    there = read_json(run_dir / PLACES_FILE) if PLACES_FILE in known else {}
    config = with_places(labelled, places or there)
    # everything is checked before anything is written: a launch that cannot begin freezes nothing
    if CONCEPTS_FILE in known:
        _check_concepts(run_dir, concepts)
    hashes = _check_sources(run_dir, config, concepts, PHOTOGRAPHS_FILE in known)
    layout = _check_generator(config)
    if LAYOUT_FILE in known and WeightLayout.load(run_dir / LAYOUT_FILE).id != layout.id:
        raise WeightzooError(f"{run_dir / LAYOUT_FILE} is frozen with another layout than this version makes; {FIX}")
    check_limits(len(plan_fleets(run_dir, config, concepts)), config.fleet_size, record_size(layout))
    if places:  # may change: what lies there may not
        write_json(run_dir / PLACES_FILE, places)
    elif PLACES_FILE not in known:
        (run_dir / PLACES_FILE).unlink(missing_ok=True)
    if PHOTOGRAPHS_FILE not in known:
        write_json(run_dir / PHOTOGRAPHS_FILE, hashes)
    if LAYOUT_FILE not in known:
        layout.save(run_dir / LAYOUT_FILE)
    if CONCEPTS_FILE not in known:
        write_concepts(run_dir / CONCEPTS_FILE, concepts)
    if not (run_dir / "config.json").exists():
        save_config(run_dir / "config.json", labelled)  # last: from now on the folder is frozen
    return concepts


def _check_sources(run_dir: Path, config: BuildConfig, concepts: Sequence[Concept], are_frozen: bool) -> dict[str, Any]:
    """Return the hashes of what the teacher reads, checked against the frozen ones where there are any."""
    teacher = make_teacher(config.teacher, config.teacher_options)
    if are_frozen:
        check_photographs(run_dir, config)
        check_own_files(run_dir, teacher, concepts)
        return {}
    if isinstance(teacher, OwnFiles):
        teacher.prepare("cpu")  # they are there
    reasons = (teacher.refusal(concept) for concept in concepts)
    if (first := next(reasons)) and all(reasons):
        raise WeightzooError(
            f"the teacher {config.teacher!r} can edit none of the concepts ({first}); choose another teacher"
        )
    for part in ("train", "test"):
        photo_sizes(photographs(config, part))  # what is no picture is named while it can still be removed
    warn_of_pairs(teacher, concepts)
    return photograph_hashes(config) | own_hashes(teacher, concepts)


def _check_generator(config: BuildConfig) -> WeightLayout:
    """Return the layout of the networks that the config describes.

    Raises:
        WeightzooError: there are no such networks.
    """
    if (name := config.feature_network.partition(":")[0]) not in FEATURE_NETWORKS:
        known = ", ".join(FEATURE_NETWORKS)
        raise WeightzooError(f"feature_network {name!r} is unknown; use one of {known}")
    try:
        config.discriminator.build()
        generator = config.generator_config().build()
    except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        raise WeightzooError(
            f"no networks of this config can be made ({first_line(error)}); change its generator or discriminator"
        ) from error
    return WeightLayout.for_generator(generator, config.block_size, config.grouping)


def freeze_extension(run_dir: Path, more: Sequence[Concept]) -> None:
    """Add `more` as a further generation, unless they are the last one already (an interrupted extension).

    Then the folder is an unfinished run: its manifest goes before the concepts change.

    Raises:
        WeightzooError: no finished first generation, or concepts that the run already has.
    """
    if not (run_dir / "config.json").exists():
        raise WeightzooError(f"{run_dir} is no run folder (no config.json); build one first, then extend it")
    refuse_part(run_dir)
    remove_stale_temporaries(run_dir)
    config = read_config(run_dir)
    check_photographs(run_dir, config)
    frozen, more = read_concepts(run_dir / "concepts.jsonl"), list(more)
    check_own_files(run_dir, make_teacher(config.teacher, config.teacher_options), frozen)
    if not more:
        raise WeightzooError("no concepts to add; give at least one")
    sizes = read_generation_sizes(run_dir, len(frozen))
    earlier = frozen[: sum(sizes[:-1])]
    if len(sizes) > 1 and len(more) == sizes[-1]:
        if frozen == [*earlier, *more]:
            return
        if frozen == earlier:  # interrupted before the concepts were written
            return _write_generation(run_dir, sizes, [*earlier, *more])
    if sum(sizes) != len(frozen):
        raise WeightzooError(f"an extension of {run_dir} was interrupted; run it again before another one")
    if not (run_dir / MANIFEST_FILE).exists():
        raise WeightzooError(f"{run_dir} is unfinished; complete it with `weightzoo build`, then extend it")
    check_concepts([*frozen, *more])
    fleets = len(plan_run(run_dir)) + len(plan_fleets(run_dir, config, more))
    check_limits(fleets, config.fleet_size, record_bytes(run_dir))
    warn_of_pairs(make_teacher(config.teacher, config.teacher_options), more)
    _write_generation(run_dir, [*sizes, len(more)], [*frozen, *more])


def _write_generation(run_dir: Path, sizes: list[int], concepts: list[Concept]) -> None:
    write_json(run_dir / GENERATIONS_FILE, sizes)
    (run_dir / MANIFEST_FILE).unlink(missing_ok=True)
    config = read_config(run_dir)
    hashes = read_json(run_dir / PHOTOGRAPHS_FILE)
    added = own_hashes(make_teacher(config.teacher, config.teacher_options), concepts[-sizes[-1] :])
    for key, more in added.items():
        hashes[key] = hashes.get(key, {}) | more
    if added:
        write_json(run_dir / PHOTOGRAPHS_FILE, hashes)
    write_concepts(run_dir / "concepts.jsonl", concepts)


def refuse_part(run_dir: Path) -> None:
    """Raise `WeightzooError` for a downloaded part of a zoo: it does not tell what its other shards hold."""
    if (run_dir / MANIFEST_FILE).exists() and (part := load_manifest(run_dir).subset):
        raise WeightzooError(
            f"{run_dir} is a part of {part.get('repo', 'a zoo')}, which cannot be built on; download all of its shards"
        )


def one_line(difference: str) -> str:
    """Return the lines of a difference as one."""
    return "; ".join(difference.splitlines())


def _check_concepts(run_dir: Path, concepts: list[Concept]) -> None:
    path = run_dir / CONCEPTS_FILE
    first = read_generation_sizes(run_dir, len(concepts))[0]
    if first == len(concepts) and _begins_with(path, concepts, whole=not (run_dir / GENERATIONS_FILE).exists()):
        return
    frozen = read_concepts(path)
    frozen = frozen[: read_generation_sizes(run_dir, len(frozen))[0]]
    if frozen != concepts:
        pairs = zip(frozen, concepts, strict=False)
        index = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(frozen), len(concepts)))
        names = [group[index].id if index < len(group) else "(none)" for group in (frozen, concepts)]
        raise WeightzooError(
            f"{path} is frozen with {plural(len(frozen), 'concept')}, this build has {len(concepts)}; "
            f"the first difference is line {index + 1} ({names[0]} -> {names[1]}); {FIX}"
        )


def _begins_with(path: Path, concepts: list[Concept], whole: bool) -> bool:
    """Return whether a concept file begins with `concepts` as we write them, without parsing it."""
    data, expected = path.read_bytes(), concepts_text(concepts).encode()
    return data == expected if whole else data.startswith(expected)

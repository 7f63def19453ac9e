"""A person's own teacher, photographs and concepts in a build's config, as options of the command line name them.

config = with_own_teacher(small(), "command", run="magick {source} -modulate {light} {target}")
config = with_own_photographs(config, Path("photos"))
concepts, notes = own_concepts(config, Path("ours.jsonl"))
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.build_config import OWN_CODE, BuildConfig
from pipeline.teachers.cube import cube_concepts
from zoo.concepts import Concept, read_concepts
from zoo.errors import WeightzooError

WORKS_WITH = {"callable": "function", "cube": "folder"}  # the option of a teacher that stands behind its name
LACKS = {
    "callable": "--teacher callable needs a function; write --teacher callable package.module:function",
    "command": '--teacher command needs a command; give --run "PROGRAM {source} {target}", with attributes of the '
    "concepts as placeholders",
    "cube": "--teacher cube needs look-up tables; write --teacher cube DIR, with .cube files in DIR",
}
NEEDS_CONCEPTS = (
    "--teacher {} needs --concepts, a JSONL file with a line for each edit, such as "
    '{{"id": "bright", "prompt": "a bright photograph", "attributes": {{"light": 120}}}}'
)


def with_own_teacher(
    config: BuildConfig,
    teacher: str | None = None,
    works_with: str | None = None,
    run: str | None = None,
    time_limit: float | None = None,
) -> BuildConfig:
    """Return `config` with a teacher and what it works with.

    Args:
        teacher: a key of `TEACHERS`; default: that of the config.
        works_with: `package.module:function` of `callable`, the folder of `cube`.
        run, time_limit: the command of `command`, and the seconds that a launch of it may take.

    Raises:
        WeightzooError: something that the teacher lacks, or has no use for.
    """
    config = replace(config, teacher=teacher or config.teacher)
    name, options = config.teacher, dict[str, Any](config.teacher_options)
    if works_with is not None:
        if name not in WORKS_WITH:
            raise WeightzooError(f"the teacher {name!r} takes no {works_with!r}; leave it out")
        options[WORKS_WITH[name]] = str(Path(works_with).resolve()) if name == "cube" else works_with
    for key, value in (("run", run), ("time_limit", time_limit)):
        if value is not None and name != "command":
            raise WeightzooError(
                f"--{key.replace('_', '-')} is an option of --teacher command; add it, or leave it out"
            )
        if value is not None:
            options[key] = value
    if name == "command":
        seconds = options.get("time_limit", 60.0)
        if not isinstance(options.get("run", ""), str):
            raise WeightzooError("teacher_options.run of the config is no text; write the command as one text")
        if not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
            raise WeightzooError(f"the time limit {seconds!r} is no number of seconds above 0; give one")
    if name in OWN_CODE:
        options["folder"] = str(Path.cwd())
    if name in WORKS_WITH and not options.get(WORKS_WITH[name]):
        raise WeightzooError(LACKS[name])
    return replace(config, teacher_options=options)


def with_own_photographs(config: BuildConfig, photos: Path | None) -> BuildConfig:
    """Return `config` with a team's own photographs; for the teacher `pairs`, `photos` holds the pairs.

    Raises:
        WeightzooError: pairs without a folder.
    """
    if config.teacher == "pairs" and photos is None and "folder" not in config.teacher_options:
        raise WeightzooError(
            "--teacher pairs needs pairs; name their folder, with CONCEPT_ID/{source,target} in it, with --photos"
        )
    if photos is None:
        return config
    folder = photos.resolve()
    if config.teacher == "pairs":
        return replace(config, teacher_options=config.teacher_options | {"folder": str(folder)})
    halves = [folder / "train", folder / "test"]
    train, test = halves if all(half.is_dir() for half in halves) else (folder, folder)
    return replace(config, train_photos=str(train), test_photos=str(test))


def own_concepts(config: BuildConfig, path: Path | None) -> tuple[list[Concept] | None, list[str]]:
    """Return the concepts of a build, None for the catalogue's, and lines that say what they were taken for.

    Args:
        path: a JSONL file of concepts.

    Raises:
        WeightzooError: the file cannot be read, or the teacher needs one and there is none.
    """
    if path is not None:
        concepts = read_concepts(path)
        has_commands = any("run" in concept.attributes for concept in concepts)
        if config.teacher == "command" and not config.teacher_options.get("run") and not has_commands:
            raise WeightzooError(LACKS["command"])
        return concepts, []
    if config.teacher in OWN_CODE:
        raise WeightzooError(NEEDS_CONCEPTS.format(config.teacher))
    return cube_concepts(Path(config.teacher_options["folder"])) if config.teacher == "cube" else (None, [])

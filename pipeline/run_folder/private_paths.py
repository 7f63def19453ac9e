"""Where a team's own photographs, pairs and models lie, kept apart from what a zoo tells the world.

`config.json` has a label for each (`own:train`); `places.json` says what is there on these machines. No manifest
lists it and nothing publishes it. What was read from these places is frozen by hash, so that they may move.

    config, places = split_places(config)     # labels, and the folders behind them
    config = read_config(run_dir)             # of a frozen run folder, with the folders in place of labels
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.build_config import OWN_CODE, BuildConfig
from pipeline.sources import EMBEDDED
from zoo.config import load_config
from zoo.errors import WeightzooError
from zoo.files import PathLike, read_json
from zoo.manifest import PLACES_FILE, load_manifest

OWN = "own:"
COMMANDS = {"run"}  # teachers' options that are command lines: told as they are, without the folders in them
TEXTS = (".json", ".jsonl", ".md")
# an absolute path, or one in somebody's home; its last part is kept
_PATH = re.compile(r"(?<![\w/.:~])(?:~?/(?:[^\s/:;,'\"()]+/)+|[A-Za-z]:\\(?:[^\s\\:;,'\"()]+\\)*)")


def split_places(config: BuildConfig) -> tuple[BuildConfig, dict[str, Any]]:
    """Return `config` with labels for what is a team's own, and where that is, by the same keys."""
    train, test = config.train_photos, config.test_photos
    labels: dict[str, Any] = {}
    places: dict[str, Any] = {}
    for key, where, label in (("train_photos", train, "train"), ("test_photos", test, "test")):
        if where not in EMBEDDED and not where.startswith(OWN):
            labels[key] = OWN + ("photographs" if train == test else label)
            places[key] = str(Path(where).expanduser().resolve())
    options = config.teacher_options
    local = {key: value for key, value in options.items() if _is_local(value) and key not in COMMANDS}
    kept = {key: str(Path(where).expanduser().resolve()) for key, where in local.items()}
    told = {key: OWN + key for key in local}
    for key in COMMANDS & options.keys():
        if (text := without_places(options[key])) != options[key]:
            told[key], kept[key] = text, options[key]
    if kept:
        labels["teacher_options"] = options | told
        places["teacher_options"] = kept
    return replace(config, **labels), places


def read_config(run_dir: PathLike) -> BuildConfig:
    """Return the config of a frozen run folder; what is not on this machine keeps its label."""
    run_dir = Path(run_dir)
    config = load_config(BuildConfig, run_dir / "config.json")
    if config.teacher in OWN_CODE:  # only where it was built is anything there to be run
        config = replace(config, teacher_options=config.teacher_options | {"folder": OWN + "folder"})
    if not (run_dir / PLACES_FILE).exists():
        return config
    return with_places(config, read_json(run_dir / PLACES_FILE))


def with_places(config: BuildConfig, places: dict[str, Any]) -> BuildConfig:
    """Return `config` with the folders in place of labels: what :func:`split_places` has taken apart."""
    found = {key: places[key] for key in ("train_photos", "test_photos") if key in places}
    options = config.teacher_options | places.get("teacher_options", {})
    return replace(config, **found, teacher_options=options)


def without_places(text: str) -> str:
    """Return `text` with the folders of local paths left out: it will be published."""
    return _PATH.sub("", text.replace(str(Path.home()) + "/", "~/"))


def check_private(run_dir: PathLike, folder: PathLike) -> None:
    """Refuse to publish `folder`, made from `run_dir`, if a text of it names a place of this machine.

    Raises:
        WeightzooError: naming the file.
    """
    run_dir, folder = Path(run_dir), Path(folder)
    secret = [str(path) for path in (Path.home(), run_dir.resolve()) if len(path.parts) > 1]
    if (run_dir / PLACES_FILE).exists():
        places = read_json(run_dir / PLACES_FILE)
        secret += [*places.pop("teacher_options", {}).values(), *places.values()]
    for name in load_manifest(folder).files:
        if name.endswith(TEXTS):
            text = (folder / name).read_text(encoding="utf-8", errors="replace")
            if found := [place for place in secret if f"{place}/" in text or f'{place}"' in text]:
                raise WeightzooError(
                    f"{name} of {run_dir} names {found[0]}, a place on your machine, and would be published; "
                    "build the zoo again with this version of weightzoo"
                )


def _is_local(value: Any) -> bool:
    """Return whether a teacher's option is a path of this machine: relative names stay what they are."""
    return isinstance(value, str) and (Path(value).is_absolute() or value.startswith(("~", "./", "../")))

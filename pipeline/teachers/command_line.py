"""A concept's command line: `--run` with its {placeholders} filled from the concept.

    words = command_words("magick {source} -modulate {light} {target}", concept)
    # ["magick", "{source}", "-modulate", "110", "{target}"]: where the pictures lie is filled in at each launch

Words are split as a shell splits them, and no shell runs: a value is one word however it is written, and a list is
several words.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

from zoo.concepts import Concept
from zoo.errors import WeightzooError

PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}")
EACH, ALL = ("source", "target"), ("sources", "targets")
RUN = "run"  # a concept's attribute with a command line of its own
EXAMPLE = 'for example --run "magick {source} -modulate {light} {target}"'


def command_words(run: str, concept: Concept) -> list[str]:
    """Return the words of a concept's command line, with pictures' places left as they are.

    Raises:
        WeightzooError: there is no command, it names no pictures, it is the same for every concept, or the concept
            lacks an attribute.
    """
    own = concept.attributes.get(RUN)
    template = run if own is None else own
    if not isinstance(template, str) or not template.strip():
        raise WeightzooError(f"there is no command to run for {concept.id!r}; {EXAMPLE}")
    try:
        words = shlex.split(template)
    except ValueError as error:
        raise WeightzooError(
            f"the command {template!r} cannot be split into words ({error}); check its quotes"
        ) from None
    if own is not None:
        for word in words:
            _check_public(word, concept)
    names = set(PLACEHOLDER.findall(" ".join(words)))
    if not (names >= set(EACH) or names >= set(ALL)) or names & set(EACH) and names & set(ALL):
        raise WeightzooError(
            f"the command {template!r} must name both {{source}} and {{target}}, or both {{sources}} and {{targets}}"
        )
    if own is None and not names - {*EACH, *ALL}:
        raise WeightzooError(
            "the command is the same for every concept; put a placeholder of the concepts' attributes into it, "
            f"or give each concept a {RUN!r} of its own; {EXAMPLE}"
        )
    return [filled for word in words for filled in _fill(word, concept)]


def works_on_all(words: list[str]) -> bool:
    """Return whether one launch edits all pictures of a concept."""
    return any(f"{{{ALL[0]}}}" in word for word in words)


def with_pictures(words: list[str], places: dict[str, Path]) -> list[str]:
    """Return the words of a launch: `places` says where the pictures lie, by placeholder."""
    for name, place in places.items():
        words = [word.replace(f"{{{name}}}", str(place)) for word in words]
    return words


def located(words: list[str], folder: Path) -> list[str]:
    """Return the words with absolute paths for what lies in `folder`: the program runs elsewhere.

    A word, or what follows its `=`, is a path where it has a dot or a slash and such a file or folder exists.
    """
    found = []
    for word in words:
        before, sign, last = word.rpartition("=")
        is_path = re.search(r"\w", last) and ("." in last or "/" in last) and (folder / last).exists()
        found.append(f"{before}{sign}{folder / last}" if is_path else word)
    return found


def files_of(words: list[str], folder: Path) -> dict[str, Path]:
    """Return the program and the files that words name, by position and name: no key tells where they lie."""
    places = [Path(word.rpartition("=")[2]) for word in located(words, folder)]
    if program := find_program(words, folder):
        places[0] = program
    files = {f"{i} {place.name}": place for i, place in enumerate(places) if place.is_absolute()}
    return {name: place for name, place in files.items() if place.is_file()}


def find_program(words: list[str], folder: Path) -> Path | None:
    """Return where the program of a command line lies; None where there is none that can be run."""
    found = shutil.which(located(words[:1], folder)[0])
    return Path(found) if found else None


def _fill(word: str, concept: Concept) -> list[str]:
    names = [name for name in PLACEHOLDER.findall(word) if name not in (*EACH, *ALL)]
    values = {name: _value(name, concept) for name in names}
    whole = PLACEHOLDER.fullmatch(word)
    if whole and isinstance(several := values.get(whole[1]), list):
        return [_text(item, whole[1], concept) for item in several]
    return [
        PLACEHOLDER.sub(
            lambda match: _text(values[match[1]], match[1], concept) if match[1] in values else match[0], word
        )
    ]


def _value(name: str, concept: Concept) -> Any:
    known = {"id": concept.id, "prompt": concept.prompt}
    if name in known:
        return known[name]
    if name not in concept.attributes:
        raise WeightzooError(f"concept {concept.id!r} has no attribute {name!r}, which the command needs; add it")
    return concept.attributes[name]


def _text(value: Any, name: str, concept: Concept) -> str:
    if isinstance(value, dict | list | None):
        raise WeightzooError(
            f"attribute {name!r} of concept {concept.id!r} is no text or number; a list must be a word of its own"
        )
    text = value if isinstance(value, str) else json.dumps(value)
    if PLACEHOLDER.search(text):
        raise WeightzooError(f"attribute {name!r} of concept {concept.id!r} has a placeholder in it; write it out")
    _check_public(text, concept)
    return text


def _check_public(word: str, concept: Concept) -> None:
    if word.rpartition("=")[2].startswith(("/", "~")):
        raise WeightzooError(
            f"concept {concept.id!r} names the absolute path {Path(word).name!r}, and concepts are published; "
            "name it relative to the folder that the build is started in"
        )

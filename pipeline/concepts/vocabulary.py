"""The catalogue's words, read from `vocabulary.json`: looks with their recipes, colours, strengths, sentence templates.

Wordings are of two speakers: those of `train` are used for train concepts, those of `evaluation` for all others, and
never the other way round. A look has tags (short names, as in a list of filters) and phrases that fit its slot: media
are noun phrases ("a pencil sketch"), all else follows a picture ("at night"). The first of each is the plain one. "$1"
and "$2" in recipes and wordings stand for colours, "{}" for the words around which something is put.

`media`, `treatments` (which take one or two colours) and `moods` are what train concepts are made of; the looks of
`held_out` are the families of the `family` split. Their order decides the catalogue: add a look at the end of its list.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.config import from_dict
from zoo.files import read_json

SLOTS = ("medium", "colour", "film", "weather", "light", "lens")


@dataclass(frozen=True)
class Look:
    """One nameable effect. `slot` decides its place in a combination; a combination takes one look a slot."""

    key: str
    family: str
    slot: str
    recipe: tuple[dict[str, Any], ...]
    train_tags: tuple[str, ...]
    train_phrases: tuple[str, ...]
    evaluation_tags: tuple[str, ...]
    evaluation_phrases: tuple[str, ...]
    colours: int = 0
    held_out: bool = False

    def tags(self, speaker: str) -> tuple[str, ...]:
        return self.train_tags if speaker == "train" else self.evaluation_tags

    def phrases(self, speaker: str) -> tuple[str, ...]:
        return self.train_phrases if speaker == "train" else self.evaluation_phrases


@dataclass(frozen=True)
class ColourName:
    """A colour and its names; the first of each speaker is the plain one."""

    key: str
    rgb: tuple[float, float, float]
    train: tuple[str, ...]
    evaluation: tuple[str, ...]
    held_out: bool = False

    def names(self, speaker: str) -> tuple[str, ...]:
        return self.train if speaker == "train" else self.evaluation


@dataclass(frozen=True)
class Strength:
    """How much of the edit is mixed in; `{}` in a wording stands for the request."""

    key: str
    amount: float
    train: tuple[str, ...]
    evaluation: tuple[str, ...]
    held_out: bool = False

    def wraps(self, speaker: str) -> tuple[str, ...]:
        return self.train if speaker == "train" else self.evaluation


def _rows(cls: type[Any], name: str) -> tuple[Any, ...]:
    return tuple(from_dict(cls, row, f"{name}[{i}]") for i, row in enumerate(VOCABULARY[name]))


VOCABULARY: dict[str, Any] = read_json(Path(__file__).parent / "vocabulary.json")
MEDIA, TREATMENTS, MOODS, HELD_OUT = (_rows(Look, name) for name in ("media", "treatments", "moods", "held_out"))
COLOURS: tuple[ColourName, ...] = _rows(ColourName, "colours")
STRENGTHS: tuple[Strength, ...] = _rows(Strength, "strengths")
# by kind of sentence, then by speaker
TEMPLATES: dict[str, dict[str, list[str]]] = VOCABULARY["templates"]

"""The catalogue's words: looks with their recipes, colours, strengths, and how people name them.

A look's `train` and `evaluation` strings hold wordings separated by " | "; the first is a short tag, the
others fit its slot: media are noun phrases ("a pencil sketch"), all else follows a picture ("at night").
`wordings.json` has more train wordings of the same looks, colours and strengths, written by someone who had not seen
an evaluation wording. None of those is ever used for a train concept. "$1" and "$2" in recipes and wordings stand
for colours.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.files import read_json

Step = dict[str, Any]
MORE: dict[str, Any] = read_json(Path(__file__).parent / "wordings.json")


@dataclass(frozen=True)
class Look:
    """One nameable effect. `slot` decides its place in a combination; a combination takes one look a slot."""

    key: str
    family: str
    slot: str
    recipe: tuple[Step, ...]
    train: tuple[str, ...]
    evaluation: tuple[str, ...]
    colours: int = 0
    held_out: bool = False

    def tags(self, speaker: str) -> tuple[str, ...]:
        """Return short names, as in a list of filters."""
        more = MORE["looks"].get(self.key, {}).get("tags", ()) if speaker == "train" else ()
        return (getattr(self, speaker)[0], *more)

    def phrases(self, speaker: str) -> tuple[str, ...]:
        """Return wordings that fit the look's slot; the first is the plain one."""
        more = MORE["looks"].get(self.key, {}).get("phrases", ()) if speaker == "train" else ()
        return (*getattr(self, speaker)[1:], *more)


@dataclass(frozen=True)
class ColourName:
    """A colour and its names; the first of each is the plain one."""

    key: str
    rgb: tuple[float, float, float]
    train: tuple[str, ...]
    evaluation: tuple[str, ...]
    held_out: bool = False

    def names(self, speaker: str) -> tuple[str, ...]:
        more = MORE["colours"].get(self.key, ()) if speaker == "train" else ()
        return (*getattr(self, speaker), *more)


@dataclass(frozen=True)
class Strength:
    """How much of the edit is mixed in; `{}` in a wording stands for the request."""

    key: str
    amount: float
    train: tuple[str, ...]
    evaluation: tuple[str, ...]
    held_out: bool = False

    def wraps(self, speaker: str) -> tuple[str, ...]:
        more = MORE["strengths"].get(self.key, ()) if speaker == "train" else ()
        return (*getattr(self, speaker), *more)


SLOTS = ("medium", "colour", "film", "weather", "light", "lens")


def step(op: str, **parameters: Any) -> Step:
    """Return one recipe step."""
    return {"op": op, **parameters}


def words(text: str) -> tuple[str, ...]:
    """Split a " | " list."""
    return tuple(part.strip() for part in text.split("|"))


def colour(key: str, rgb: str, train: str, evaluation: str, held_out: bool = False) -> ColourName:
    """Return a colour from a hex code."""
    values = tuple(round(int(rgb[i:i + 2], 16) / 255, 3) for i in (0, 2, 4))
    return ColourName(key, (values[0], values[1], values[2]), words(train), words(evaluation), held_out)


COLOURS = (
    colour("red", "d9201e", "red | bright red", "vivid red | a strong red"),
    colour("crimson", "a3102f", "crimson | deep crimson", "blood red | a dark crimson"),
    colour("coral", "ff7355", "coral | soft coral", "coral pink-orange | a coral shade"),
    colour("orange", "f58a1f", "orange | bright orange", "tangerine orange | a juicy orange"),
    colour("amber", "ffb000", "amber | warm amber", "honey amber | an amber glow colour"),
    colour("gold", "d4a72c", "gold | golden", "old gold | a metallic gold"),
    colour("yellow", "f7e02b", "yellow | lemon yellow", "sunny yellow | a clear yellow"),
    colour("lime", "a8e02a", "lime green | lime", "acid green | a zesty lime"),
    colour("green", "2e9e3f", "green | grass green", "leafy green | a fresh green"),
    colour("forest", "1d5c32", "forest green | dark green", "pine green | a deep woodland green"),
    colour("olive", "7f7f32", "olive green | olive", "khaki green | an army olive"),
    colour("teal", "14807f", "teal | dark teal", "petrol green | a teal shade"),
    colour("cyan", "29d3e6", "cyan | bright cyan", "electric cyan | a light aqua cyan"),
    colour("sky", "7fbfee", "sky blue | light blue", "pale blue | a clear-sky blue"),
    colour("blue", "2456d6", "blue | strong blue", "pure blue | a vivid blue"),
    colour("navy", "18265c", "navy blue | dark blue", "midnight blue | a deep marine blue"),
    colour("violet", "6a3fc4", "violet | blue-violet", "a rich violet | deep violet"),
    colour("purple", "8a2f9e", "purple | deep purple", "royal purple | a strong purple"),
    colour("magenta", "e0269a", "magenta | bright magenta", "fuchsia | a hot magenta"),
    colour("pink", "f59ac0", "pink | soft pink", "candy pink | a light pink"),
    colour("rose", "c95a72", "rose | dusty rose", "rose petal red | an old rose"),
    colour("brown", "7a4a25", "brown | dark brown", "coffee brown | an earthy brown"),
    colour("beige", "d9c3a0", "beige | sand", "cream beige | a sandy beige"),
    colour("slate", "5a6b7f", "slate grey | blue-grey", "steel grey | a cold slate"),
    colour("white", "f5f5f2", "white | plain white", "snow white | a clean white"),
    colour("black", "101012", "black | deep black", "jet black | a solid black"),
    colour("turquoise", "2ed0b8", "turquoise | bright turquoise", "turquoise | a turquoise shade", True),
    colour("maroon", "6b1420", "maroon | dark maroon", "maroon | a dark wine red", True),
    colour("lavender", "b9a3e3", "lavender | pale lavender", "lavender | a light lavender purple", True),
    colour("peach", "ffbe98", "peach | pale peach", "peach | a soft peach", True),
    colour("mint", "a6ecc4", "mint | mint green", "mint green | a pale mint", True),
    colour("indigo", "3a2a9b", "indigo | deep indigo", "indigo | an indigo blue", True),
    colour("mustard", "c99a1e", "mustard | mustard yellow", "mustard yellow | a mustard shade", True),
    colour("rust", "a8461c", "rust | rust red", "rusty orange | a rust brown", True),
)

STRENGTHS = (
    Strength("full", 1.0, words("{} | {} | {} | {}, full effect | {} | {}, completely | {} | {}"),
             words("{} | {} | {} | {}, all the way | {} | {}")),
    Strength("strong", 0.75,
             words("{}, fairly strong | {}, strong but not full | {}, three quarters of the way | {}, mostly | {}, at 75 percent"),
             words("{}, quite pronounced | {}, clearly visible yet not complete | {}, dialled to 75 % | {}, rather strongly")),
    Strength("half", 0.5,
             words("{}, at half strength | {}, halfway | {}, medium strength | {}, keep half of the original | {}, only half of the effect | {}, at 50 percent"),
             words("{}, blended fifty-fifty with the original | {}, in moderation | {}, dialled to 50 % | {}, a middling amount")),
    Strength("hint", 0.25,
             words("{}, just a hint | {}, very subtle | {}, slightly | {}, a quarter strength | a touch of this: {} | {}, at 25 percent"),
             words("{}, with a light hand | {}, barely noticeable | {}, dialled to 25 % | only a trace of this: {}")),
    Strength("third", 0.35, words("{}, about a third"),
             words("{}, about a third of the full strength | {}, dialled to 35 % | {}, on the light side | {}, roughly a third", ), True),
    Strength("sixty", 0.6, words("{}, a bit over half"),
             words("{}, a bit over half strength | {}, dialled to 60 % | {}, a little more than medium | {}, slightly above the middle"), True),
)


def look(key: str, family: str, slot: str, recipe: list[Step], train: str, evaluation: str,
         colours: int = 0, held_out: bool = False) -> Look:
    """Return a look from " | " lists of wordings."""
    return Look(key, family, slot, tuple(recipe), words(train), words(evaluation), colours, held_out)

"""How people word a request: sentence templates around looks, for train concepts and, apart, for evaluation."""

from __future__ import annotations

import random
import re

from pipeline.concepts.vocabulary import TEMPLATES, ColourName, Look, Strength


def voice(split: str) -> str:
    """Return the wordings of a split: "train" or "evaluation"."""
    return "train" if split == "train" else "evaluation"


def paint(text: str, colours: tuple[ColourName, ...], speaker: str, rng: random.Random, plain: bool = False) -> str:
    """Put colour names for "$1" and "$2" and mend "a orange"."""
    for index, colour in enumerate(colours, start=1):
        names = colour.names(speaker)
        short = [n for n in names if not n.startswith(("a ", "an "))] or names
        name = short[0] if plain else rng.choice(short)
        text = text.replace(f"${index}", name)
    return mend_articles(text)


def mend_articles(text: str) -> str:
    """Return `text` with "a" and "an" put right: "a orange wash" -> "an orange wash"."""
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)


def tag(look: Look, speaker: str, rng: random.Random) -> str:
    """Return the look as a speaker would tag it."""
    options = look.tags(speaker)
    return rng.choice(options) if len(options) > 1 else options[0]


def phrase(parts: list[tuple[Look, tuple[ColourName, ...]]], speaker: str, rng: random.Random, first: bool) -> str:
    """Return the parts in one phrase: "a pencil sketch in blue tones, at night"."""
    texts = []
    for look, colours in parts:
        options = look.phrases(speaker)
        texts.append(paint(options[0] if first else rng.choice(options), colours, speaker, rng, plain=first))
    text = texts[0]
    for index, other in enumerate(texts[1:]):
        medium = parts[0][0].slot == "medium"
        if first:
            join = (
                " "
                if medium and index == 0 and speaker == "train"
                else (", " if index == 0 and len(texts) > 2 else " and ")
            )
        else:
            join = rng.choice(TEMPLATES["join"][speaker])
            if join == " " and not (medium and index == 0):
                join = ", "
        text += join + other
    return text


def sentences(
    parts: list[tuple[Look, tuple[ColourName, ...]]], strength: Strength, speaker: str, rng: random.Random, count: int
) -> list[str]:
    """Return `count` different requests; the first is plain (the concept's prompt)."""
    templates = TEMPLATES["medium" if parts[0][0].slot == "medium" else "mood"][speaker]
    wraps = strength.wraps(speaker)
    result: list[str] = []
    while len(result) < count:
        first = not result
        if not first and rng.random() < 0.2:
            tags = ", ".join(paint(tag(look, speaker, rng), colours, speaker, rng) for look, colours in parts)
            text = mend_articles(rng.choice(TEMPLATES["tag"][speaker]).format(tags))
        else:
            inner = phrase(parts, speaker, rng, first)
            text = templates[0].format(inner) if first else rng.choice(templates).format(inner)
        text = (wraps[0] if first else rng.choice(wraps)).format(text)
        if text not in result:
            result.append(text)
    return result

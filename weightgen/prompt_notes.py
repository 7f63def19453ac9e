"""What a person should know about a prompt: the words of it that the model does not read or does not understand.

    notes(["not a charcoal drawing"], encoder, model.ood_score)
    # ['"not" is not understood: ...']

The commands, the API and the page all show these notes. A prompt with a note is used all the same.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from weightgen.colour_names import CODE, coded_colours

if TYPE_CHECKING:
    from weightgen.ood import OutOfDistributionScore
    from weightgen.text import TextEncoder

# Words that are frequent in a language and rare in an English request.
FOREIGN = {
    "German": "der das dem ein eine einen mit und auf wie im ist aus zu zum zur für von nicht bitte als ohne mach",
    "French": "le la les un une des du de avec et dans comme sur en au aux pour ce cette sans",
    "Spanish": "el la los las un una con y en como del al de sin para por haz",
    "Italian": "il lo la gli un una con di e come del della nel senza per",
    "Portuguese": "o os um uma com em e como na da de para sem",
    "Dutch": "de het een met en op van als maak naar voor niet",
    "Polish": "na jak się jest nie ze dla jako przez",
    "Swedish": "en ett och med som på av den det",
    "Turkish": "bir ve gibi ile olarak",
}
FOREIGN_WORDS = {language: frozenset(words.split()) for language, words in FOREIGN.items()}
ENGLISH_WORDS = frozenset(
    "the of with and like by from for at its make look looks this that picture my into style effect photograph "
    "but through shot turn give some feel colour colours color colors white black painting drawing".split()
)
WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")

NEGATION = re.compile(
    r"\b(?:not|no|without|don'?t|do not|never|avoid|except|keep(?: the| my| all| every)|leave (?:the|my|all|every))\b"
)
# Wordings with such words that the zoo itself has: strengths, mostly.
LEARNED_NEGATION = re.compile(
    r"not (?:all the way|quite|full|so|completely|complete)\b|nothing held back|none of the original"
    r"|keep (?:half|about|most|a quarter)|no colou?rs? (?:besides|but|except|apart)|without (?:any )?colou?r"
)
NUMBER = r"\d+(?:[.,]\d+)?"
UNIT = r"\s?(?:%|°|(?:percent|px|pixels?|degrees?|stops?|kelvin|dpi|times)\b)"
QUANTITY = re.compile(
    rf"(?<![\w.])[-+\u2212]\s?{NUMBER}(?:{UNIT})?"  # +20 %
    rf"|\b{NUMBER}{UNIT}"  # 5 px
    r"|\b(?:brightness|contrast|saturation|exposure|gamma|hue|sharpness|temperature|radius|opacity|blur)"
    rf"(?: (?:of|to|by|at))?[ =:]+{NUMBER}(?:{UNIT})?",  # contrast 12
    re.IGNORECASE,
)
LEARNED_STRENGTH = re.compile(r"(?<![-+\u2212.\d])(?<![-+\u2212] )(?:25|35|50|60|75|100)\s?(?:%|percent)")
SHOWN = 80  # characters of a text that a note repeats


def has_words(text: str) -> bool:
    """Return whether a text has a letter, a digit or a pictograph, so that there is something to read."""
    return any(character.isalnum() or unicodedata.category(character) == "So" for character in text)


def notes(texts: Sequence[str], encoder: TextEncoder, ood_score: OutOfDistributionScore | None = None) -> list[str]:
    """Return the notes on a prompt, one sentence each; the list is empty where all is well.

    Args:
        texts: the wordings of one concept.
        encoder: of the model, which says how far it reads.
        ood_score: what the model has learned; without it no prompt counts as unfamiliar.
    """
    strange = ood_score is not None and ood_score.is_unfamiliar([texts])[0]
    found = [unread(text, encoder) for text in texts]
    foreign = [text for text in texts if foreign_evidence(text) > (0 if strange else 1)]
    found += [f"{shown(text)} does not look like English; the model reads English prompts only" for text in foreign]
    found += [note(text) for text in texts for note in (coded, negated, measured)]
    if strange and not foreign and ood_score is not None:
        [score], [known] = ood_score.score([texts]).tolist(), ood_score.nearest([texts])
        found.append(
            f"{shown(texts[0])} is unlike the English prompts that the model has learned (out-of-distribution score "
            f"{score:.1f}, above 1 is unusual); the nearest that it knows is {shown(known)}"
        )
    return list(dict.fromkeys(note for note in found if note))


def unread(text: str, encoder: TextEncoder) -> str | None:
    """Return a note on the end of a prompt that is longer than the text encoder reads."""
    rest = encoder.unread(text)
    return f"the prompt is too long, so its end was not read: {shown(rest)}; use fewer words" if rest else None


def foreign_evidence(text: str) -> int:
    """Return how many words speak for another language than English, less those that speak for English."""
    letters = [character for character in text if character.isalpha()]
    other_script = sum(not unicodedata.name(character, "").startswith("LATIN") for character in letters)
    if 2 * other_script > len(letters):
        return len(letters)
    words = WORD.findall(unicodedata.normalize("NFC", text.lower()))
    accented = {word for word in words if not word.isascii()}
    most = max(len(accented | (known & set(words))) for known in FOREIGN_WORDS.values())
    return most - len(ENGLISH_WORDS & set(words))


def coded(text: str) -> str | None:
    """Return a note on colours that are written as numbers."""
    read = " and ".join(f'"{code}" was read as "{name}"' for code, name in coded_colours(text).items())
    return f"{read}: the model knows colours by their names" if read else None


def negated(text: str) -> str | None:
    """Return a note on words that exclude something."""
    found = dict.fromkeys(NEGATION.findall(LEARNED_NEGATION.sub(" ", text.lower())))
    if not found:
        return None
    said = " and ".join(f'"{words}"' for words in found) + (" is" if len(found) == 1 else " are")
    return f"{said} not understood: the model follows the other words; say only what the picture should show"


def measured(text: str) -> str | None:
    """Return a note on numbers; the percentages that are strengths of the zoo are understood."""
    rest = LEARNED_STRENGTH.sub(" ", CODE.sub(" ", text.lower()))
    found = QUANTITY.search(rest)
    if found is None:
        return None
    said = f'numbers such as "{found[0].strip()}" are not understood'
    return f'{said}; use words such as "slightly" or "at half strength"'


def shown(text: str) -> str:
    """Return a text in quotation marks, cut where it is long."""
    text = " ".join(text.split())
    return f'"{text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."}"'

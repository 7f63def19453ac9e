"""Concepts: what a zoo member was trained to do, in words, and which split it belongs to.

A concept file is JSONL, one concept a line, in the order that decides the shards::

    {"attributes": {...}, "id": "charcoal-hint", "paraphrases": ["..."], "prompt": "...", "split": "train"}
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.config import from_dict, to_dict
from zoo.errors import WeightzooError
from zoo.files import PathLike, json_lines, write_text

SPLITS = ("train", "validation", "combination", "value", "family", "external")
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")


@dataclass(frozen=True)
class Concept:
    """One edit that a person could request.

    Attributes:
        id: unique slug of lower-case letters, digits and hyphens.
        prompt: the edit in words.
        paraphrases: other everyday wordings of it.
        attributes: anything JSON can hold; `recipe` is read by the `filters` teacher.
        split: one of :data:`SPLITS`.
    """

    id: str
    prompt: str
    paraphrases: tuple[str, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    split: str = "train"


def evaluation_order(concept_id: str) -> str:
    """Return a hash of the id: evaluations take the first concepts of a split in the order of these hashes."""
    return hashlib.sha256(f"evaluation/{concept_id}".encode()).hexdigest()


def check_concept(concept: Concept) -> None:
    """Raise `WeightzooError` when a field of `concept` is unusable."""
    if not _SLUG.fullmatch(concept.id) or len(concept.id) > 120:
        raise WeightzooError(
            f"concept id {concept.id!r} is not a slug; use up to 120 lower-case letters, digits and hyphens"
        )
    if not concept.prompt.strip():
        raise WeightzooError(f"concept {concept.id!r} has an empty prompt; say in words what the edit does")
    if any(not text.strip() for text in concept.paraphrases):
        raise WeightzooError(f"concept {concept.id!r} has an empty paraphrase; remove it")
    if concept.split not in SPLITS:
        known = ", ".join(SPLITS)
        raise WeightzooError(f"concept {concept.id!r} has split {concept.split!r}; use one of {known}")
    try:
        texts = [concept.prompt, concept.paraphrases, concept.attributes]
        json.dumps(texts, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError) as error:  # NaN, half a surrogate pair
        raise WeightzooError(f"concept {concept.id!r} cannot be written as JSON ({error}); correct it") from None


def check_concepts(concepts: Iterable[Concept]) -> None:
    """Check every concept, and that no id occurs twice."""
    counts: Counter[str] = Counter()
    for concept in concepts:
        check_concept(concept)
        counts[concept.id] += 1
    repeated = [name for name, count in counts.items() if count > 1]
    if repeated:
        times = counts[repeated[0]]
        raise WeightzooError(f"concept id {repeated[0]!r} occurs {times} times; ids must be unique")


def concept_line(concept: Concept) -> str:
    """Return the canonical JSON line of a concept (without the newline)."""
    return json.dumps(to_dict(concept), sort_keys=True, ensure_ascii=False, allow_nan=False)


def concepts_text(concepts: Iterable[Concept]) -> str:
    """Return the JSONL text of `concepts`."""
    return "".join(f"{concept_line(concept)}\n" for concept in concepts)


def write_concepts(path: PathLike, concepts: Iterable[Concept]) -> None:
    """Write `concepts` as JSONL, atomically and in order."""
    concepts = list(concepts)
    check_concepts(concepts)
    write_text(path, concepts_text(concepts))


def read_concepts(path: PathLike) -> list[Concept]:
    """Read a JSONL file of concepts.

    Raises:
        WeightzooError: naming file and line, for anything that is not a usable, unique concept.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise WeightzooError(f"cannot read the concepts of {path} ({error}); check the path") from None
    concepts: list[Concept] = []
    first_line: dict[str, int] = {}
    for number, line in json_lines(text):
        concept = _parse(line, f"{path}, line {number}")
        if concept.id in first_line:
            raise WeightzooError(
                f"{path}, line {number}: id {concept.id!r} is already on line {first_line[concept.id]}; rename one"
            )
        first_line[concept.id] = number
        concepts.append(concept)
    return concepts


def _parse(line: str, where: str) -> Concept:
    try:
        concept = from_dict(Concept, json.loads(line))
        check_concept(concept)
    except (ValueError, RecursionError) as error:  # also numbers of too many digits, too deep a nesting
        raise WeightzooError(f"{where}: not valid JSON ({error}); write one JSON object on each line") from None
    except WeightzooError as error:
        raise WeightzooError(f"{where}: {error}") from None
    return concept

"""The concept catalogue: some thousand edits as people would ask for them, in a fixed order.

    catalogue()              every concept of every split
    zoo_concepts(640)        the zoo: train and validation concepts; any prefix is diverse
    test_concepts("value")   the held-out splits: combination, value, family
    polish_concepts()        all train concepts, the zoo's and those beyond it
    more_concepts(8000)      train concepts beyond the catalogue

A concept is one to three looks, their colours and a strength (`vocabulary.json`), combined by `combinations.py`,
ordered by `coverage.py` and worded by `wording.py`.
Nothing is random but by a fixed seed or a hash of the concept's id, and no decision hangs on a float's last bits:

- `combination`: parts that train concepts have, but never together;
- `value`: colours and strengths that no train concept has;  - `family`: whole families likewise;
- `validation`: 5 % of the zoo, by a hash of the id.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from pipeline.concepts.combinations import Plan, combined_plans, family_plans, single_plans, stable_hash, value_plans
from pipeline.concepts.coverage import coverage_order, listed_ids
from pipeline.concepts.vocabulary import COLOURS, ColourName
from pipeline.concepts.wording import sentences, voice
from zoo.concepts import Concept
from zoo.errors import WeightzooError
from zoo.pictures.metrics import decisive
from zoo.words import plural

SEED = 20261121
ZOO_POOL = 1000  # the first concepts of the order, among which validation is chosen
TRAIN_PARAPHRASES, EVALUATION_PARAPHRASES = 12, 6
TEST_SPLITS = ("combination", "value", "family")
MEMBERS_AT_ONCE = 256  # zoo concepts whose targets are in memory while near duplicates are looked for


def _concept(plan: Plan, split: str) -> Concept:
    """Return the concept of a plan, with its words and its recipe."""
    parts = [(p.look, p.colours) for p in plan.parts]
    speaker = voice(split)
    count = 1 + (TRAIN_PARAPHRASES if speaker == "train" else EVALUATION_PARAPHRASES)
    texts = sentences(parts, plan.strength, speaker, random.Random(stable_hash(plan.id)), count)
    attributes = {
        "recipe": [_resolve(step, p.colours) for p in plan.parts for step in p.look.recipe],
        "strength": plan.strength.amount,
        "families": sorted({p.look.family for p in plan.parts}),
        "values": {
            "looks": [p.look.key for p in plan.parts],
            "parts": [p.key for p in plan.parts],
            "colours": sorted({c.key for p in plan.parts for c in p.colours}),
            "strength": plan.strength.key,
        },
    }
    return Concept(plan.id, texts[0], tuple(texts[1:]), attributes, split)


def _resolve(step: dict[str, Any], colours: tuple[ColourName, ...]) -> dict[str, Any]:
    """Put the colours in for "$1" and "$2"."""
    named = {f"${i}": list(c.rgb) for i, c in enumerate(colours, start=1)}
    return {name: named.get(value, value) if isinstance(value, str) else value for name, value in step.items()}


@lru_cache(maxsize=1)
def catalogue() -> tuple[Concept, ...]:
    """Return every concept: train and validation in zoo order, then combination, value, family."""
    rng = random.Random(SEED)
    palette = [c for c in COLOURS if not c.held_out]
    singles, combined = single_plans(rng, palette), combined_plans(rng, palette)
    value, family = value_plans(rng, palette), family_plans(rng)
    held = [p for p in combined if p.strength.key == "full" and stable_hash("combination " + p.id) % 50 == 0]
    together = [p.part_keys for p in held]
    pool = [p for p in singles + combined if not any(keys <= p.part_keys for keys in together)]
    seen = {key for p in pool for key in p.part_keys}
    held = [p for p in held if p.part_keys <= seen]
    order = coverage_order(pool, ZOO_POOL, listed_ids())
    concepts = []
    for position, plan in enumerate(order):
        validation = position < ZOO_POOL and stable_hash("validation " + plan.id) % 20 == 0
        concepts.append(_concept(plan, "validation" if validation else "train"))
    for split, plans in zip(TEST_SPLITS, (held, value, family), strict=True):
        concepts += [_concept(plan, split) for plan in plans]
    return tuple(concepts)


def zoo_concepts(n: int = 640) -> list[Concept]:
    """Return the first `n` train and validation concepts.

    Raises:
        WeightzooError: `n` is below 1 or the catalogue has fewer.
    """
    pool = [c for c in catalogue() if c.split in ("train", "validation")]
    if not 1 <= n <= len(pool):
        raise WeightzooError(f"a zoo of {plural(n, 'concept')} is not possible; the catalogue has 1 to {len(pool)}")
    return pool[:n]


def test_concepts(split: str) -> list[Concept]:
    """Return the held-out concepts of `split`: combination, value or family.

    Raises:
        WeightzooError: another name.
    """
    if split not in TEST_SPLITS:
        raise WeightzooError(f"no test split {split!r} in the catalogue; known: {', '.join(TEST_SPLITS)}")
    return [c for c in catalogue() if c.split == split]


def polish_concepts() -> list[Concept]:
    """Return all train concepts, the zoo's first; no validation or test concept."""
    return [c for c in catalogue() if c.split == "train"]


@lru_cache(maxsize=1)
def more_concepts(n: int) -> tuple[Concept, ...]:
    """Return about `n` train concepts beyond the catalogue: new combinations of its looks, by its own rules.

    A teacher edits them like any other; none holds the parts of a validation or `combination` concept, or a colour,
    strength or family that the test splits keep for themselves. Fewer than `n` by those that are left out.
    """
    held = [
        frozenset(c.attributes["values"]["parts"])
        for c in catalogue()
        if c.split in ("validation", "combination") and len(c.attributes["values"]["parts"]) > 1
    ]
    known = {c.id for c in catalogue()}
    palette = [c for c in COLOURS if not c.held_out]
    drawn = combined_plans(random.Random(SEED + 1), palette, n // 2, n - n // 2)
    plans = [p for p in drawn if p.id not in known and not any(parts <= p.part_keys for parts in held)]
    return tuple(_concept(plan, "train") for plan in plans)


@dataclass(frozen=True)
class Neighbour:
    """A test concept's nearest zoo concept by mean L1 between their target images."""

    concept_id: str
    zoo_id: str
    l1: float


def near_duplicates(
    concepts: list[Concept], zoo: list[Concept], teacher: Any, sources: torch.Tensor, limit: float = 0.03
) -> tuple[list[Neighbour], list[Neighbour]]:
    """Return all nearest neighbours of the concepts on sources [N, 3, H, W], and those nearer than `limit`.

    Distances have 4 decimals, so that the last bits of a sum decide nothing. The first of equally near concepts wins.
    """
    wanted = torch.stack([teacher.edit(c, sources).flatten() for c in concepts])
    chunks = [zoo[start : start + MEMBERS_AT_ONCE] for start in range(0, len(zoo), MEMBERS_AT_ONCE)]
    edited = (torch.stack([teacher.edit(c, sources).flatten() for c in chunk]) for chunk in chunks)
    distances = torch.cat([torch.cdist(wanted, members, p=1) for members in edited], 1) / wanted.shape[1]
    nearest = []
    for concept, row in zip(concepts, distances.tolist(), strict=True):
        least, index = min((decisive(distance), index) for index, distance in enumerate(row))
        nearest.append(Neighbour(concept.id, zoo[index].id, least))
    return nearest, [n for n in nearest if n.l1 < limit]


test_concepts.__test__ = False  # type: ignore[attr-defined]  # not a test, whatever pytest thinks of its name

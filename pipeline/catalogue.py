"""The concept catalogue: some thousand edits as people would ask for them, in a fixed order.

    catalogue()              every concept of every split
    zoo_concepts(640)        the zoo: train and validation concepts; any prefix is diverse
    test_concepts("value")   the held-out splits: combination, value, family
    polish_concepts()        all train concepts, the zoo's and those beyond it

A concept is one to three looks (`looks.py`, `moods.py`), their colours and a strength (`vocabulary.py`),
worded by `wording.py`. Nothing is random but by a fixed seed or a hash of the concept's id:

- `combination`: parts that train concepts have, but never together;
- `value`: colours and strengths that no train concept has;  - `family`: whole families likewise;
- `validation`: 5 % of the zoo, by a hash of the id.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from pipeline.looks import MEDIA, TREATMENTS
from pipeline.moods import HELD_OUT, MOODS
from pipeline.vocabulary import COLOURS, SLOTS, STRENGTHS, ColourName, Look, Strength
from pipeline.wording import sentences, voice
from zoo.concepts import Concept
from zoo.errors import WeightzooError

SEED = 20261121
PAIRS, TRIPLES = 1900, 900          # combinations drawn, before splits
ZOO_POOL = 1000                     # the first concepts of the order, among which validation is chosen
TRAIN_PARAPHRASES, EVALUATION_PARAPHRASES = 8, 6
TEST_SPLITS = ("combination", "value", "family")
PLAIN_LOOKS = MEDIA + MOODS
STRENGTH = {s.key: s for s in STRENGTHS}

# Looks without own colours: what only changes colours does nothing after them.
GREY_LOOKS = frozenset((
    "pencil", "soft-pencil", "charcoal", "ink-lines", "brush-ink", "outline", "hatching", "manga", "stencil", "emboss",
    "marble", "chalkboard", "blueprint", "gameboy", "black-and-white", "high-contrast-bw", "infrared-bw", "sepia",
    "cyanotype", "daguerreotype", "selenium", "newspaper", "silent-film", "security-camera", "mono", "duotone",
    "colour-ink", "colour-paper", "colour-neon", "colour-stencil", "snow"))
NEEDS_COLOUR = frozenset((
    "black-and-white", "high-contrast-bw", "infrared-bw", "pop-red", "pop-blue", "pop-green", "pop-yellow",
    "green-to-autumn", "spring", "vivid", "muted", "swap-red-blue", "hue-60", "hue-180", "infrared-colour",
    "two-strip", "technicolor", "selenium", "posterised", "posterised-fine", "silent-film", "security-camera"))
# Looks that change so much that unseen strengths differ visibly from the seen ones.
DRASTIC = frozenset(("outline", "chalkboard", "blueprint", "neon-outline", "pencil", "hatching", "emboss", "marble", "negative",
                     "lightness-flip", "solarized", "psychedelic", "pop-art", "brush-ink", "stencil", "renaissance", "low-key"))
# Two of a kind in one concept would leave a black or a white frame.
DARK = frozenset(("renaissance", "low-key", "night", "darker", "spotlight", "candlelight", "storm", "dusk", "blue-hour",
                  "daguerreotype", "neon-outline", "colour-neon", "chalkboard", "vignette", "lomo", "shadow-below"))
BRIGHT = frozenset(("high-key", "brighter", "noon", "summer", "watercolour", "pastel-colours", "white-vignette", "light-above",
                    "frost", "snow", "backlit", "dreamy", "winter", "outline", "marble", "spring"))
NEUTRAL = frozenset(("white", "black"))
TAKES_NEUTRAL = {"colour-ink": {"black"}, "haze-colour": {"white", "black"}, "edges-colour": {"white", "black"}}


@dataclass(frozen=True)
class Part:
    """A look with its colours."""

    look: Look
    colours: tuple[ColourName, ...] = ()

    @property
    def key(self) -> str:
        return "-".join((self.look.key, *(c.key for c in self.colours)))


@dataclass(frozen=True)
class Plan:
    """What a concept will be, before it has a split and words."""

    parts: tuple[Part, ...]
    strength: Strength

    @property
    def id(self) -> str:
        return "--".join(part.key for part in self.parts) + ("" if self.strength.key == "full" else f"--{self.strength.key}")

    @property
    def part_keys(self) -> frozenset[str]:
        return frozenset(part.key for part in self.parts)


def stable_hash(text: str) -> int:
    """The same number for the same text, everywhere."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _plan(parts: Iterable[Part], strength: str = "full") -> Plan:
    return Plan(tuple(sorted(parts, key=lambda p: SLOTS.index(_slot(p)))), STRENGTH[strength])


def _slot(part: Part) -> str:
    return "medium" if part.look.slot == "medium" else part.look.slot


def _brightness(colour: ColourName) -> float:
    return float(np.dot((0.299, 0.587, 0.114), colour.rgb))


def _suits(look: Look, colours: tuple[ColourName, ...]) -> bool:
    """Whether a treatment shows something with these colours."""
    if look.colours == 2:
        first, second = colours
        gap = _brightness(second) - _brightness(first)
        if look.key in ("duotone", "split"):
            return gap > (0.3 if look.key == "duotone" else 0.1) and not (look.key == "split" and NEUTRAL & {first.key, second.key})
        if look.key == "colour-stencil":
            return abs(gap) > 0.35
        return first.key != second.key and not NEUTRAL & {first.key, second.key}
    only = colours[0]
    if only.key in NEUTRAL:
        return only.key in TAKES_NEUTRAL.get(look.key, ())
    light = _brightness(only)
    if look.key == "colour-ink":
        return light < 0.6
    if look.key == "colour-paper":
        return light > 0.3
    if look.key in ("colour-neon", "leak-colour", "leak-colour-right", "glow-colour"):
        return light > 0.25
    return True


def _treated(look: Look, rng: random.Random, palette: list[ColourName], other: list[ColourName] | None = None) -> Part:
    """The treatment with random fitting colours; the first of `palette`, the second of `other`."""
    while True:
        colours = (rng.choice(palette),) if look.colours == 1 else (rng.choice(palette), rng.choice(other or palette))
        if look.colours == 2 and rng.random() < 0.5:
            colours = colours[::-1]
        if _suits(look, colours):
            return Part(look, colours)


def _fits_together(parts: list[Part]) -> bool:
    if len({p.look.slot for p in parts}) < len(parts) or len({p.look.family for p in parts}) < len(parts):
        return False
    keys = {p.look.key for p in parts}
    if len(keys & DARK) > 1 or len(keys & BRIGHT) > 1:
        return False
    return not any(a in GREY_LOOKS and b in NEEDS_COLOUR for a in keys for b in keys - {a})


def _single_plans(rng: random.Random, palette: list[ColourName]) -> list[Plan]:
    plans = [_plan([Part(look)], s) for look in PLAIN_LOOKS for s in ("full", "strong", "half", "hint")]
    for look in TREATMENTS:
        if look.colours == 1:
            parts = [Part(look, (c,)) for c in palette if _suits(look, (c,))]
        else:
            parts = list({p.key: p for p in (_treated(look, rng, palette) for _ in range(45))}.values())
        for part in parts:
            plans.append(_plan([part]))
            if rng.random() < 0.5:
                plans.append(_plan([part], rng.choice(("strong", "half", "hint"))))
    return plans


def _combined_plans(rng: random.Random, palette: list[ColourName]) -> list[Plan]:
    looks = [*PLAIN_LOOKS, *TREATMENTS, *TREATMENTS]
    plans: dict[frozenset[str], Plan] = {}
    queue: list[Look] = []
    while len(plans) < PAIRS + TRIPLES:
        queue = queue or rng.sample(looks, len(looks))
        chosen = [queue.pop(), *rng.sample(looks, 1 if len(plans) < PAIRS else 2)]
        parts = [_treated(look, rng, palette) if look.colours else Part(look) for look in chosen]
        if _fits_together(parts):
            strength = rng.choices(("full", "strong", "half", "hint"), (70, 12, 12, 6))[0]
            plan = _plan(parts, strength)
            plans.setdefault(plan.part_keys, plan)
    return list(plans.values())


def _value_plans(rng: random.Random, palette: list[ColourName]) -> list[Plan]:
    """Unseen colours in known treatments, alone and combined; unseen strengths of known looks."""
    plans: dict[str, Plan] = {}
    useful = [t for t in TREATMENTS if t.key not in ("shadows", "highlights", "split", "edges-colour", "leak-colour-right")]
    for colour in (c for c in COLOURS if c.held_out):
        looks = rng.sample(useful, len(useful))
        made: list[Part] = []
        for look in looks:
            choices = [(colour,)] if look.colours == 1 else [(colour, c) for c in palette] + [(c, colour) for c in palette]
            fitting = [c for c in choices if _suits(look, c)]
            if fitting and len(made) < 4:
                made.append(Part(look, rng.choice(fitting)))
        for part in made[:3]:
            plans[part.key] = _plan([part])
        while True:
            pair = [made[-1], Part(rng.choice(PLAIN_LOOKS))]
            if _fits_together(pair):
                plans[pair[0].key + pair[1].key] = _plan(pair)
                break
    drastic = [look for look in PLAIN_LOOKS if look.key in DRASTIC]
    for strength in ("third", "sixty"):
        for look in rng.sample(drastic, 8):
            plan = _plan([Part(look)], strength)
            plans[plan.id] = plan
    return list(plans.values())


def _family_plans(rng: random.Random) -> list[Plan]:
    plans = [_plan([Part(look)]) for look in HELD_OUT]
    plans += [_plan([Part(look)], "half") for look in rng.sample(HELD_OUT, 7)]
    for look in HELD_OUT:
        while True:
            pair = [Part(look), Part(rng.choice([m for m in MOODS if m.slot in ("light", "weather", "lens")]))]
            if _fits_together(pair) and pair[1].look.key not in NEEDS_COLOUR:
                plans.append(_plan(pair))
                break
    return plans


def _concept(plan: Plan, split: str) -> Concept:
    """Words and recipe for a plan."""
    parts = [(p.look, p.colours) for p in plan.parts]
    speaker = voice(split)
    count = 1 + (TRAIN_PARAPHRASES if speaker == "train" else EVALUATION_PARAPHRASES)
    texts = sentences(parts, plan.strength, speaker, random.Random(stable_hash(plan.id)), count)
    attributes = {
        "recipe": [_resolve(step, p.colours) for p in plan.parts for step in p.look.recipe],
        "strength": plan.strength.amount,
        "families": sorted({p.look.family for p in plan.parts}),
        "values": {"looks": [p.look.key for p in plan.parts], "parts": [p.key for p in plan.parts],
                   "colours": sorted({c.key for p in plan.parts for c in p.colours}), "strength": plan.strength.key},
    }
    return Concept(plan.id, texts[0], tuple(texts[1:]), attributes, split)


def _resolve(step: dict[str, Any], colours: tuple[ColourName, ...]) -> dict[str, Any]:
    """Put the colours in for "$1" and "$2"."""
    named = {f"${i}": list(c.rgb) for i, c in enumerate(colours, start=1)}
    return {name: named.get(value, value) if isinstance(value, str) else value for name, value in step.items()}


def value_names(concept: Concept) -> list[str]:
    """The attribute values that a zoo must cover: looks, colours, strength."""
    values = concept.attributes["values"]
    return [*(f"look:{k}" for k in values["looks"]), *(f"colour:{k}" for k in values["colours"]), f"strength:{values['strength']}"]


def _coverage_order(plans: list[Plan], first: int) -> list[Plan]:
    """The plans so that any prefix spreads over looks, colours, strengths, families and part counts.

    Greedy for the first `first`; the rest follow by a hash of the id.
    """
    plans = sorted(plans, key=lambda p: stable_hash("order " + p.id))
    target: dict[str, float] = {}
    rows: list[list[str]] = []
    for plan in plans:
        row = {f"strength:{plan.strength.key}": 60.0 if plan.strength.key == "full" else 8.0, f"parts:{len(plan.parts)}": (0.0, 30.0, 40.0, 12.0)[len(plan.parts)]}
        for part in plan.parts:
            row |= {f"look:{part.look.key}": 1.0, f"family:{part.look.family}": 3.0}
            row |= {f"colour:{c.key}": 1.0 for c in part.colours}
        target |= row
        rows.append(list(row))
    index = {name: i for i, name in enumerate(sorted(target))}
    has = np.zeros((len(plans), len(index)), np.float32)
    for i, row in enumerate(rows):
        has[i, [index[name] for name in row]] = 1
    per_value = np.array([target[name] for name in sorted(target)], np.float32)
    size = has.sum(1) ** 0.9
    counts = np.zeros(len(index), np.float32)
    left = np.ones(len(plans), bool)
    chosen = []
    for _ in range(min(first, len(plans))):
        score = has @ (1 + counts / per_value) ** -1.5 / size
        best = int(np.argmax(np.where(left, score, -1)))
        left[best] = False
        counts += has[best]
        chosen.append(best)
    return [plans[i] for i in chosen] + [p for i, p in enumerate(plans) if left[i]]


@lru_cache(maxsize=1)
def catalogue() -> tuple[Concept, ...]:
    """Every concept: train and validation in zoo order, then combination, value, family."""
    rng = random.Random(SEED)
    palette = [c for c in COLOURS if not c.held_out]
    singles, combined = _single_plans(rng, palette), _combined_plans(rng, palette)
    value, family = _value_plans(rng, palette), _family_plans(rng)
    held = [p for p in combined if p.strength.key == "full" and stable_hash("combination " + p.id) % 50 == 0]
    together = [p.part_keys for p in held]
    pool = [p for p in singles + combined if not any(keys <= p.part_keys for keys in together)]
    seen = {key for p in pool for key in p.part_keys}
    held = [p for p in held if p.part_keys <= seen]
    order = _coverage_order(pool, ZOO_POOL)
    concepts = []
    for position, plan in enumerate(order):
        validation = position < ZOO_POOL and stable_hash("validation " + plan.id) % 20 == 0
        concepts.append(_concept(plan, "validation" if validation else "train"))
    for split, plans in zip(TEST_SPLITS, (held, value, family), strict=True):
        concepts += [_concept(plan, split) for plan in plans]
    return tuple(concepts)


def zoo_concepts(n: int = 640) -> list[Concept]:
    """The first `n` train and validation concepts.

    Raises:
        WeightzooError: `n` is below 1 or the catalogue has fewer.
    """
    pool = [c for c in catalogue() if c.split in ("train", "validation")]
    if not 1 <= n <= len(pool):
        raise WeightzooError(f"a zoo of {n} concepts is not possible; the catalogue has 1 to {len(pool)}")
    return pool[:n]


def test_concepts(split: str) -> list[Concept]:
    """The held-out concepts of `split`: combination, value or family.

    Raises:
        WeightzooError: another name.
    """
    if split not in TEST_SPLITS:
        raise WeightzooError(f"no test split {split!r} in the catalogue; known: {', '.join(TEST_SPLITS)}")
    return [c for c in catalogue() if c.split == split]


def polish_concepts() -> list[Concept]:
    """All train concepts, the zoo's first; no validation or test concept."""
    return [c for c in catalogue() if c.split == "train"]


@dataclass(frozen=True)
class Neighbour:
    """A test concept's nearest zoo concept by mean L1 between their target images."""

    concept_id: str
    zoo_id: str
    l1: float


def near_duplicates(concepts: list[Concept], zoo: list[Concept], teacher: Any, sources: torch.Tensor,
                    limit: float = 0.03) -> tuple[list[Neighbour], list[Neighbour]]:
    """(all nearest neighbours, those nearer than `limit`) of the concepts on sources [N, 3, H, W]."""
    wanted = torch.stack([teacher.edit(c, sources).flatten() for c in concepts])
    members = torch.stack([teacher.edit(c, sources).flatten() for c in zoo])
    distances = torch.cdist(wanted, members, p=1) / wanted.shape[1]
    least, index = distances.min(1)
    nearest = [Neighbour(c.id, zoo[int(i)].id, float(d)) for c, i, d in zip(concepts, index, least, strict=True)]
    return nearest, [n for n in nearest if n.l1 < limit]


test_concepts.__test__ = False  # type: ignore[attr-defined]  # not a test, whatever pytest thinks of its name

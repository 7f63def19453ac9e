"""What the catalogue's concepts are made of: looks, colours and strengths that show something together.

Each function draws the plans of one kind; `catalogue.py` gives them splits, an order and words.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.concepts.vocabulary import (
    COLOURS,
    HELD_OUT,
    MEDIA,
    MOODS,
    SLOTS,
    STRENGTHS,
    TREATMENTS,
    ColourName,
    Look,
    Strength,
)

PAIRS, TRIPLES = 1900, 900  # combinations drawn, before splits
PLAIN_LOOKS = MEDIA + MOODS
STRENGTH = {s.key: s for s in STRENGTHS}

# Looks without own colours: what only changes colours does nothing after them.
GREY_LOOKS = frozenset(
    """
    pencil soft-pencil charcoal ink-lines brush-ink outline hatching manga stencil emboss marble
    chalkboard blueprint gameboy black-and-white high-contrast-bw infrared-bw sepia cyanotype
    daguerreotype selenium newspaper silent-film security-camera mono duotone colour-ink
    colour-paper colour-neon colour-stencil snow
    """.split()
)
NEEDS_COLOUR = frozenset(
    """
    black-and-white high-contrast-bw infrared-bw pop-red pop-blue pop-green pop-yellow
    green-to-autumn spring vivid muted swap-red-blue hue-60 hue-180 infrared-colour two-strip
    technicolor selenium posterised posterised-fine silent-film security-camera
    """.split()
)
# Looks that change so much that unseen strengths differ visibly from the seen ones.
DRASTIC = frozenset(
    """
    outline chalkboard blueprint neon-outline pencil hatching emboss marble negative lightness-flip
    solarized psychedelic pop-art brush-ink stencil renaissance low-key
    """.split()
)
# Two of a kind in one concept would leave a black or a white frame.
DARK = frozenset(
    """
    renaissance low-key night darker spotlight candlelight storm dusk blue-hour daguerreotype
    neon-outline colour-neon chalkboard vignette lomo shadow-below
    """.split()
)
BRIGHT = frozenset(
    """
    high-key brighter noon summer watercolour pastel-colours white-vignette light-above frost snow
    backlit dreamy winter outline marble spring
    """.split()
)
NEUTRAL = frozenset(("white", "black"))
TAKES_NEUTRAL = {"colour-ink": {"black"}, "haze-colour": {"white", "black"}, "edges-colour": {"white", "black"}}


@dataclass(frozen=True)
class Part:
    """A look with its colours."""

    look: Look
    colours: tuple[ColourName, ...] = ()

    @property
    def key(self) -> str:
        """The look and its colours, as in ids."""
        return "-".join((self.look.key, *(c.key for c in self.colours)))


@dataclass(frozen=True)
class Plan:
    """What a concept will be, before it has a split and words."""

    parts: tuple[Part, ...]
    strength: Strength

    @property
    def id(self) -> str:
        """The concept's id."""
        strength = () if self.strength.key == "full" else (self.strength.key,)
        return "--".join((*(part.key for part in self.parts), *strength))

    @property
    def part_keys(self) -> frozenset[str]:
        """The parts that are combined, whatever the strength."""
        return frozenset(part.key for part in self.parts)


def stable_hash(text: str) -> int:
    """Return the same number for the same text, everywhere."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _plan(parts: Iterable[Part], strength: str = "full") -> Plan:
    """Return the parts in the order in which they are applied."""
    return Plan(tuple(sorted(parts, key=lambda p: SLOTS.index(p.look.slot))), STRENGTH[strength])


def _brightness(colour: ColourName) -> int:
    """Return the luma in millionths, 0 to 1,000,000: whole numbers, so that no limit below hangs on a last bit."""
    red, green, blue = (round(1000 * value) for value in colour.rgb)
    return 299 * red + 587 * green + 114 * blue


def _suits(look: Look, colours: tuple[ColourName, ...]) -> bool:
    """Return whether a treatment shows something with these colours."""
    if look.colours == 2:
        first, second = colours
        gap = _brightness(second) - _brightness(first)
        if look.key in ("duotone", "split"):
            neutral = look.key == "split" and bool(NEUTRAL & {first.key, second.key})
            return gap > (300_000 if look.key == "duotone" else 100_000) and not neutral
        if look.key == "colour-stencil":
            return abs(gap) > 350_000
        return first.key != second.key and not NEUTRAL & {first.key, second.key}
    only = colours[0]
    if only.key in NEUTRAL:
        return only.key in TAKES_NEUTRAL.get(look.key, ())
    light = _brightness(only)
    if look.key == "colour-ink":
        return light < 600_000
    if look.key == "colour-paper":
        return light > 300_000
    if look.key in ("colour-neon", "leak-colour", "leak-colour-right", "glow-colour"):
        return light > 250_000
    return True


def _treated(look: Look, rng: random.Random, palette: list[ColourName]) -> Part:
    """Return the treatment with random fitting colours of the palette."""
    while True:
        colours = tuple(rng.choice(palette) for _ in range(look.colours))
        if look.colours == 2 and rng.random() < 0.5:
            colours = colours[::-1]
        if _suits(look, colours):
            return Part(look, colours)


def _fits_together(parts: list[Part]) -> bool:
    """Return one look a slot and a family, each of which still shows beside the others."""
    if len({p.look.slot for p in parts}) < len(parts) or len({p.look.family for p in parts}) < len(parts):
        return False
    keys = {p.look.key for p in parts}
    if len(keys & DARK) > 1 or len(keys & BRIGHT) > 1:
        return False
    return not any(a in GREY_LOOKS and b in NEEDS_COLOUR for a in keys for b in keys - {a})


def single_plans(rng: random.Random, palette: list[ColourName]) -> list[Plan]:
    """Return each look alone: the plain ones at four strengths, the treatments in many colours."""
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


def combined_plans(
    rng: random.Random, palette: list[ColourName], pairs: int = PAIRS, triples: int = TRIPLES
) -> list[Plan]:
    """Return two or three looks; every look takes the first place equally often."""
    looks = [*PLAIN_LOOKS, *TREATMENTS, *TREATMENTS]
    plans: dict[frozenset[str], Plan] = {}
    queue: list[Look] = []
    while len(plans) < pairs + triples:
        queue = queue or rng.sample(looks, len(looks))
        chosen = [queue.pop(), *rng.sample(looks, 1 if len(plans) < pairs else 2)]
        parts = [_treated(look, rng, palette) if look.colours else Part(look) for look in chosen]
        if _fits_together(parts):
            strength = rng.choices(("full", "strong", "half", "hint"), (70, 12, 12, 6))[0]
            plan = _plan(parts, strength)
            plans.setdefault(plan.part_keys, plan)
    return list(plans.values())


def value_plans(rng: random.Random, palette: list[ColourName]) -> list[Plan]:
    """Return unseen colours in known treatments, alone and combined, and unseen strengths of known looks."""
    plans: dict[str, Plan] = {}
    faint = ("shadows", "highlights", "split", "edges-colour", "leak-colour-right")
    useful = [t for t in TREATMENTS if t.key not in faint]
    for colour in (c for c in COLOURS if c.held_out):
        looks = rng.sample(useful, len(useful))
        made: list[Part] = []
        for look in looks:
            both = [(colour, c) for c in palette] + [(c, colour) for c in palette]
            choices: list[tuple[ColourName, ...]] = [(colour,)] if look.colours == 1 else [*both]
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


def family_plans(rng: random.Random) -> list[Plan]:
    """Return the held-out looks alone, halfway, and with a known look."""
    plans = [_plan([Part(look)]) for look in HELD_OUT]
    outer = [m for m in MOODS if m.slot in ("light", "weather", "lens")]
    plans += [_plan([Part(look)], "half") for look in rng.sample(HELD_OUT, 7)]
    for look in HELD_OUT:
        while True:
            pair = [Part(look), Part(rng.choice(outer))]
            if _fits_together(pair) and pair[1].look.key not in NEEDS_COLOUR:
                plans.append(_plan(pair))
                break
    return plans

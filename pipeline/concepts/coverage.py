"""The order of the catalogue, of which any prefix spreads over looks, colours, strengths, families and part counts.

    coverage_order(plans, 1000, listed_ids())     the plans, the embedded zoo's first and in its order
    coverage_order(plans, 1000, ())               the order by the rule alone

The order decides which concepts are in a zoo and in which shard of it. `zoo_order.json` holds it as data for the
concepts that zoos were built from, so a change of the rule or of the catalogue's words moves none of them. The rule
orders what the list lacks. It is computed in integers: equal scores are frequent, and the last bits of a float would
break the ties differently on each processor.
"""

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pipeline.concepts.combinations import Plan, stable_hash
from zoo.files import read_json

PART_COUNTS = {1: 30, 2: 40, 3: 12}  # how often concepts of one, two and three looks are wanted
STRENGTH_COUNTS = {"full": 60}  # and of each strength; of the others 8
ONE = 1 << 30  # the weight of a value that no chosen plan has yet


def listed_ids() -> tuple[str, ...]:
    """Return the ids of `zoo_order.json`, in order."""
    return tuple(read_json(Path(__file__).parent / "zoo_order.json"))


def coverage_order(plans: Iterable[Plan], first: int, listed: Iterable[str]) -> list[Plan]:
    """Return all `plans`: up to `first` that are listed or chosen by the rule, then the rest by a hash of the id.

    Args:
        plans: in any order, each id once.
        first: how many plans the list and the rule put in order.
        listed: ids that come first, in this order; those without a plan are passed over.
    """
    rest = {p.id: p for p in sorted(plans, key=lambda p: stable_hash("order " + p.id))}
    chosen = [rest.pop(i) for i in listed if i in rest][:first]
    missing = min(first - len(chosen), len(rest))
    if missing > 0:
        chosen += [rest.pop(p.id) for p in _spread(chosen, list(rest.values()), missing)]
    return chosen + list(rest.values())


def _wanted(plan: Plan) -> dict[str, int]:
    """Return the plan's values, and how often each is wanted in proportion to the others."""
    wanted = {
        f"strength:{plan.strength.key}": STRENGTH_COUNTS.get(plan.strength.key, 8),
        f"parts:{len(plan.parts)}": PART_COUNTS[len(plan.parts)],
    }
    for part in plan.parts:
        wanted |= {f"look:{part.look.key}": 1, f"family:{part.look.family}": 3}
        wanted |= {f"colour:{c.key}": 1 for c in part.colours}
    return wanted


def _spread(chosen: list[Plan], left: list[Plan], count: int) -> list[Plan]:
    """Return `count` of the plans that are left: each time the one whose values are rarest among those chosen.

    A plan's score is the mean of (1 + n / wanted) ** -1.5 over its values, where n of the chosen plans have the value.
    The first plan wins a tie.
    """
    target = {name: wanted for plan in [*chosen, *left] for name, wanted in _wanted(plan).items()}
    index = {name: i for i, name in enumerate(target)}
    has = np.zeros((len(left), len(target)), np.int64)
    for row, plan in zip(has, left, strict=True):
        row[[index[name] for name in _wanted(plan)]] = 1
    used = np.zeros(len(target), np.int64)
    for plan in chosen:
        used[[index[name] for name in _wanted(plan)]] += 1
    sizes = has.sum(1)
    per_value = math.lcm(*sizes.tolist()) // sizes  # scores over one common denominator
    found = []
    for _ in range(count):
        weights = np.array([_weight(int(n), wanted) for n, wanted in zip(used, target.values(), strict=True)])
        best = int((has @ weights * per_value).argmax())
        found.append(left[best])
        used += has[best]
        per_value[best] = 0
    return found


def _weight(used: int, wanted: int) -> int:
    """Return (1 + used / wanted) ** -1.5 in units of 1 / ONE, rounded down."""
    return math.isqrt(ONE**2 * wanted**3 // (wanted + used) ** 3)

"""Everything that weightzoo decides before it computes, as one digest per decision.

    python -m tests.decisions        # one JSON object: {"catalogue": "4a83...", ...}

`tests/test_same_on_every_machine.py` runs it under the settings that choose among the code paths of a processor.
"""

import hashlib
import json
import random
from collections.abc import Callable
from itertools import islice
from typing import Any

import torch

from pipeline.concepts.catalogue import catalogue, more_concepts, near_duplicates, zoo_concepts
from pipeline.concepts.combinations import combined_plans
from pipeline.concepts.coverage import coverage_order
from pipeline.concepts.vocabulary import COLOURS
from pipeline.presets import PRESETS
from pipeline.run_folder.shard_plan import plan_fleets
from pipeline.sources import crops, draw_cuts, load_photos
from pipeline.teachers.filters import FiltersTeacher
from weightgen.evaluation.held_out_pairs import shuffled
from weightgen.finetuning import baselines
from weightgen.objective import ObjectiveConfig, draw
from weightgen.text import TextEncoder
from weightgen.training.data import WeightDataset, batches, hold_out, load_zoo
from weightgen.training.optim import step_seed
from weightgen.training.stream import ShardStream
from zoo.concepts import concept_line
from zoo.files import EMBEDDED_DIR
from zoo.layout import GROUPINGS, WeightLayout
from zoo.pictures.pair_squares import pairs_to_tensors
from zoo.pictures.pairs import split_pairs
from zoo.run import open_zoo
from zoo.training.batches import batch_indices

NAMES = [f"pair {i}" for i in range(50)]


def zoo_data() -> WeightDataset:
    return load_zoo(EMBEDDED_DIR / "weightzoo-small")


def order_by_the_rule() -> list[str]:
    plans = combined_plans(random.Random(1), [c for c in COLOURS if not c.held_out], 60, 30)
    return [plan.id for plan in coverage_order(plans, 40, [plans[7].id, "gone"])]


def shard_plans() -> list[Any]:
    config = PRESETS["small"]()
    tasks = plan_fleets("run", config, zoo_concepts(528))
    return [(task.stem, [concept.id for concept in task.concepts]) for task in tasks]


def layouts() -> list[str]:
    found = []
    for preset in PRESETS.values():
        with torch.device("meta"):
            generator = preset().generator_config().build()
        found += [WeightLayout.for_generator(generator, grouping=g).id for g in GROUPINGS]
    return found


def near() -> list[Any]:
    sources = crops(load_photos("test"), 2, 16, seed=0)
    found, _ = near_duplicates(zoo_concepts(40)[30:], zoo_concepts(30), FiltersTeacher(), sources)
    return [(item.concept_id, item.zoo_id, item.l1) for item in found]


def splits() -> list[Any]:
    return [split_pairs(NAMES), hold_out(zoo_data())[1].concept_ids, [c.id for c in shuffled(zoo_concepts(60))]]


def batch_orders() -> list[Any]:
    indices = [batch.tolist() for batch in islice(batch_indices(50, 8, seed=3), 20)]
    loaded = zoo_data()
    in_memory = [batch.texts(loaded) for batch in islice(batches(loaded, 8, seed=3, start_step=60), 10)]
    stream = ShardStream.open(open_zoo(EMBEDDED_DIR / "weightzoo-small"), window=64)
    streamed = [batch.texts for batch in islice(stream.feed(8, seed=3, start_step=60), 3)]
    return [indices, in_memory, streamed]


def draws() -> list[Any]:
    torch.manual_seed(step_seed(0, 7))
    config = ObjectiveConfig(blocks_per_sample=5)
    drawn = draw(64, torch.ones(20, 16, dtype=torch.bool), config, independent_blocks=True)
    return [drawn.timesteps.tolist(), drawn.chosen.tolist(), (drawn.noise == 0).all((1, 2)).tolist()]


def crop_pixels() -> list[Any]:
    pairs = [(name, photo, photo) for name, photo in zip(NAMES, load_photos("test")[:2], strict=False)]
    sources, _ = pairs_to_tensors(pairs, 32, crops=3, seed=1)
    cuts = draw_cuts([(640, 480), (300, 900)], 20, 64, seed=5)
    return [(sources * 255).round().int().flatten().tolist(), [str(item) for item in cuts]]


def text_batches() -> list[list[str]]:
    """What is encoded side by side when prompts are known as a set."""
    read: list[list[str]] = []

    class Listener(TextEncoder):
        name, width = "listener", 2

        def _encode(self, prompts):
            read.append(prompts)
            states = torch.zeros(len(prompts), 1, 2)
            return states, states[..., 0] == 0, states[:, 0]

    Listener().prepare(c.prompt for c in zoo_concepts(200))
    return read


def hyperparameters() -> list[Any]:
    """What is chosen on validation for a small zoo of numbers from a fixed sequence."""
    generator = torch.Generator().manual_seed(0)
    text = baselines.unit(torch.rand(40, 8, generator=generator, dtype=torch.float64) - 0.5)
    weights = torch.tanh(3 * text @ torch.rand(8, 30, generator=generator, dtype=torch.float64))
    train, held = weights[:30] - weights[:30].mean(0), weights[30:] - weights[:30].mean(0)
    held_out = [(text[30:], train @ held.T, held.square().sum(1))]
    problem = baselines.Problem(text[:30], torch.arange(30), train @ train.T, held_out)
    chosen = {name: fit(problem)[1] for name, fit in baselines.FITS.items()}
    return [{key: round(v, 4) if isinstance(v, float) else v for key, v in c.items()} for c in chosen.values()]


DECISIONS: dict[str, Callable[[], Any]] = {
    "catalogue": lambda: [concept_line(concept) for concept in (*catalogue(), *more_concepts(300))],
    "order by the rule": order_by_the_rule,
    "shard plans": shard_plans,
    "layouts": layouts,
    "near duplicates": near,
    "splits": splits,
    "batch orders": batch_orders,
    "step seeds": lambda: [step_seed(seed, step, 1) for seed in (0, 1, -1, 2**40) for step in range(20)],
    "draws": draws,
    "crops": crop_pixels,
    "text batches": text_batches,
    "hyperparameters": hyperparameters,
}


def digests() -> dict[str, str]:
    """Return a sha256 of every decision."""
    return {
        name: hashlib.sha256(json.dumps(decide()).encode()).hexdigest() for name, decide in DECISIONS.items()
    }


if __name__ == "__main__":
    print(json.dumps(digests()))

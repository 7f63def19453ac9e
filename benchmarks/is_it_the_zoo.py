"""Is it the zoo? What each part of a weight generator that reads pairs is worth: the same training without it.

    python -m benchmarks.is_it_the_zoo RUNS [--groups 16] [--steps 550] [--seeds 0] [--variants full "without text"]

Every variant has as many steps of `weightgen.training.paired`, the same groups of edits, photographs, seeds and
learning rates:

- *full*: begins with a weight generator that was trained on the zoo's weights alone (`--first-steps`).
- *without weights*: begins with random weights, so it has seen no trained network.
- *without catalogue*: only the random edits of the groups, which no program made and which have no words.
- *without programs*: concepts of the catalogue and random edits only.
- *without text*: no step with text alone, and all words left out. Like the variant before the last, it therefore has
  pairs in every step, where the others have them in three steps of five.

Each is measured on the held-out groups, whose edits and photographs are in no other group: the logarithm of its error,
one grey level added, minus that of the closed form with the learned prior on the same pixels of the same pairs. Of
text alone the rival is the photograph as it is. Ratios are geometric means over edits, `over_full` those over the full
variant of the same seed, and intervals the middle 95 % of a bootstrap over edits. A concept that is in several groups
counts once. Trainings and measurements stay in RUNS: what is finished is not done again. Rows of trainings with other
numbers of steps stay in the results.
"""

import argparse
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness.machine import arguments_of, read_rows, write_result
from pipeline.edit_groups import KINDS, EditGroups, open_edit_groups
from pipeline.teachers.programs import COMMANDS, LIBRARIES
from weightgen.evaluation.intervals import mean_interval
from weightgen.model_folder import ModelFolder, denoiser_sha256, load_model_folder
from weightgen.pairs.description import Reading
from weightgen.pairs.shared_solve import SharedSolve
from weightgen.text import load_text_encoder
from weightgen.training.config import PRESETS, PairedConfig
from weightgen.training.data import load_zoo
from weightgen.training.pair_tasks import QUERIES, Task, drawn
from weightgen.training.paired import VALIDATION_PAIRS, PairStage, learn_pairs, log_errors
from weightgen.training.train import train
from zoo.adapters.lora import load_base
from zoo.files import read_json, write_json
from zoo.gans.solved import SolvedGenerator
from zoo.hub import find_zoo
from zoo.pictures.edit_groups import EditGroup

NAME = "is_it_the_zoo"
FULL = "full"
DRAWS = 2  # of photographs and pixels; an edit's error is the mean over them
DRAWN = 20261130  # no training draws with this seed
READ = {"concepts, with words": ("concept", "words"), "concepts": ("concept", "alone")}
READ |= {"programs": ("program", "alone"), "random": ("random", "alone")}
READ |= {f"{name}, shared features": (READ[name][0], "shared") for name in ("concepts", "programs", "random")}


@dataclass(frozen=True)
class Variant:
    """What a training lacks.

    Attributes:
        kinds: of the edits that it has, of `pipeline.edit_groups.KINDS`.
        changes: fields of PairedConfig that differ.
    """

    kinds: tuple[str, ...] = KINDS
    changes: dict[str, Any] = field(default_factory=dict)


VARIANTS = {
    FULL: Variant(),
    "without weights": Variant(changes={"random_init": True}),
    "without catalogue": Variant(kinds=("random",)),
    "without programs": Variant(kinds=("concept", "random")),
    "without text": Variant(changes={"text_alone": 0.0, "without_text": 1.0}),
}


@dataclass(frozen=True, eq=False)
class SomeKinds:
    """Groups with edits of some kinds only."""

    groups: EditGroups
    kinds: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, number: int) -> EditGroup:
        group = self.groups[number]
        kept = [k for k, edit in enumerate(self.groups.edits(number)) if edit.kind in self.kinds]
        return EditGroup(group.maps, group.targets[kept], tuple(group.prompts[k] for k in kept))


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and measure what is missing, and print what each part is worth."""
    options = parsed(arguments)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    zoo = find_zoo(options.zoo)
    groups = open_edit_groups(
        zoo, options.runs / "edits", options.groups, 0, options.more_concepts, tuple(options.programs)
    )
    groups.render()
    units = [units_of(groups, k) for k in range(len(groups.held_out()))]
    rows = rows_of_others(options)
    printed = len(rows)
    for path in options.model:
        rows += summary(
            {"variant": path.name}, measured(path, groups, options.runs / f"{path.name}-errors.json"), units
        )
    write_result(NAME, rows, printed=printed)
    printed = len(rows)
    for seed in options.seeds:
        full = None
        for name in options.variants:
            model = trained(name, seed, zoo, groups, options)
            errors = measured(model, groups, model.with_name(f"{model.name}-errors.json"))
            full = errors if name == FULL else full
            about = {"variant": name, "steps": options.steps, "seed": seed}
            rows += summary(about, errors, units, None if name == FULL else full)
            write_result(NAME, rows, printed=printed)
            printed = len(rows)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = arguments_of(__doc__)
    parser.add_argument("runs", type=Path, help="where groups, trainings and measurements are kept")
    parser.add_argument("--groups", type=int, default=16, help="to train on; those held out are beside them")
    parser.add_argument("--steps", type=int, default=550, help="of each variant")
    parser.add_argument("--preset", default="small", choices=PRESETS, help="of the training on weights")
    parser.add_argument("--first-steps", type=int, default=1100, help="of the training on weights")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=VARIANTS, help="none: only models")
    parser.add_argument("--model", type=Path, action="append", default=[], help="a further model to measure")
    parser.add_argument("--more-concepts", type=int, default=8000, help="beyond the catalogue")
    parser.add_argument("--programs", nargs="+", default=[*LIBRARIES, *COMMANDS], choices=[*LIBRARIES, *COMMANDS])
    parser.add_argument("--zoo", default="weightzoo-small")
    return parser.parse_args(arguments)


def rows_of_others(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rows of the results that this command does not measure again."""
    models = [model.name for model in options.model]
    return [row for row in read_rows(NAME) if row.get("steps") != options.steps and row["variant"] not in models]


def trained(name: str, seed: int, zoo: Path, groups: EditGroups, options: argparse.Namespace) -> Path:
    """Return the model folder of a variant, trained as far as it is not there yet."""
    first = replace(PRESETS[options.preset](), steps=options.first_steps, seed=seed)
    start = train(first, load_zoo(zoo), options.runs / f"generated-{seed}", load_zoo(zoo, "validation"))
    variant = VARIANTS[name]
    # validated at the end only, as no variant is stopped earlier
    config = PairedConfig(steps=options.steps, seed=seed, validate_every=options.steps)
    held_out, data = groups.held_out(), f"{groups.made_from} {len(groups)} {' '.join(variant.kinds)}"
    folder = options.runs / f"{name.replace(' ', '-')}-{seed}-{options.steps}"
    edits = SomeKinds(groups, variant.kinds)
    return learn_pairs(start, edits, held_out, replace(config, **variant.changes), folder, data=data)


def units_of(groups: EditGroups, number: int) -> list[tuple[str, str]]:
    """Return the kind of each edit of a held-out group, and the name that it has in all groups."""
    edits = groups.edits(len(groups) + number)
    names = [edit.wordings[0] if edit.kind == "concept" else f"{number} {k}" for k, edit in enumerate(edits)]
    return [(edit.kind, name) for edit, name in zip(edits, names, strict=True)]


def measured(path: Path, groups: EditGroups, errors: Path) -> list[dict[str, Any]]:
    """Return the rows of `held_out_errors` of a model, which are kept in a file."""
    identity = {"model": denoiser_sha256(path), "groups": groups.made_from, "draws": DRAWS}
    if errors.is_file() and (kept := read_json(errors))["of"] == identity:
        return kept["rows"]
    rows = held_out_errors(load_model_folder(path), groups.held_out())
    write_json(errors, {"of": identity, "rows": rows})
    return rows


@torch.no_grad()
def held_out_errors(model: ModelFolder, held_out: Sequence[EditGroup]) -> list[dict[str, Any]]:
    """Return a row for each group and number of pairs: logarithms of errors, one for each edit.

    `words` and `alone` are read with the words that there are and without; `shared` is what a model with branches that
    all edits share makes without a network of the edit's own. Beside pairs stands the `closed` form, beside text alone
    (0 pairs) the photograph as it is, `copy`.
    """
    base = load_base(model.base_generator_path)
    assert isinstance(base, SolvedGenerator)
    reading = Reading(base, model.layout, model.denoiser.pairs.root)
    stage = PairStage(model, PairedConfig(), (), load_text_encoder(model.text_encoder_name), reading)
    rows = []
    for number, group in enumerate(held_out):
        nothing = torch.zeros(len(group.prompts), dtype=torch.bool)
        for pairs in (0, *VALIDATION_PAIRS):
            if max(pairs, 1) + QUERIES > len(group.maps):
                continue
            found: dict[str, list[Tensor]] = defaultdict(list)
            for draw in range(DRAWS):
                task = drawn(reading, group, pairs, np.random.default_rng([DRAWN, number, pairs, draw]))
                found["words"].append(stage.errors(model.denoiser, task))
                if pairs:
                    alone = task._replace(told=nothing, further=(task.example_targets, task.query_targets))
                    own, shared = stage.edited(model.denoiser, alone)
                    found["alone"].append(log_errors(own, task.query_targets))
                    if len(model.denoiser.pairs.shared):
                        found["shared"].append(log_errors(shared, task.query_targets))
                    found["closed"].append(log_errors(closed_form(base, task), task.query_targets))
                else:
                    copied = (task.queries.features @ base.prior.source).expand_as(task.query_targets)
                    found["copy"].append(log_errors(copied, task.query_targets))
            means = {name: torch.stack(values).mean(0).tolist() for name, values in found.items()}
            rows.append({"group": number, "pairs": pairs, **means})
    return rows


def closed_form(base: SolvedGenerator, task: Task) -> Tensor:
    """Return what the closed form with the learned prior makes of the queries of a task, [E, n, 3]."""
    solve = SharedSolve(task.examples.features, base.prior.penalty(task.pairs))
    return task.queries.features @ solve.bank(task.example_targets, base.prior.mean)


def summary(
    about: dict[str, Any],
    rows: Sequence[dict[str, Any]],
    units: Sequence[Sequence[tuple[str, str]]],
    full: Sequence[dict[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Return what a variant's errors are over its rival's and over those of the full one.

    Args:
        about: what begins each row.
        rows, full: of `held_out_errors`; every variant has the same ones.
        units: of `units_of`, for each group.
    """
    found = []
    wanted = [(edits, *of, pairs, "closed") for edits, of in READ.items() for pairs in VALIDATION_PAIRS]
    for edits, kind, read, pairs, rival in [*wanted, ("concepts, text alone", "concept", "words", 0, "copy")]:
        gains: dict[str, dict[str, list[float]]] = {"ratio": defaultdict(list), "over_full": defaultdict(list)}
        for number, row in enumerate(rows):
            if row["pairs"] != pairs:
                continue
            for k, (own, unit) in enumerate(units[row["group"]]):
                if own == kind and read in row:
                    gains["ratio"][unit].append(row[read][k] - row[rival][k])
                    if full is not None:
                        gains["over_full"][unit].append(row[read][k] - full[number][read][k])
        if not gains["ratio"]:
            continue
        figures: dict[str, Any] = {"n": len(gains["ratio"])}
        for key, of_units in gains.items():
            if of_units:
                values = [fmean(logs) for logs in of_units.values()]
                figures[key] = math.exp(fmean(values))
                figures[f"{key}_low"], figures[f"{key}_high"] = (math.exp(bound) for bound in mean_interval(values))
        found.append({**about, "edits": edits, "pairs": pairs, "over": rival, **figures})
    return found


if __name__ == "__main__":
    main()

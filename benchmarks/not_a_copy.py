"""Not a copy: what is generated from pairs beside the zoo's members, and what it leaves beside its examples.

    python -m benchmarks.not_a_copy FOLDER [--edits 16] [--pairs 1 4 16] [--model MODEL]

The edits are held-out ones: concepts of the zoo's validation split, edits by programs, and random ones, in turn. The
examples are photographs that no group of edits to train on has; the photographs that are measured on are those of the
external edits, which are used nowhere else. Pairs are read without words.

- *weights*: distance and cosine of each generated network to the nearest member of the zoo, beside what members are to
  each other (`weightgen.evaluation.novelty`): `generated` as it comes, its `branch` alone, and `solved`, with the
  output layer that the pairs gave it.
- *pictures*: the difference between what a network and the member nearest to it make of photographs, over the
  difference from the edit's target, and over what the target has from its own nearest member. Members have theirs to
  each other.
- *content*: what a network leaves on a photograph, its picture minus the true target, is correlated at the same places
  with each example's target, and with what the edit changed in the example. The same is done with examples that the
  network has not seen: two disjoint sets of examples take turns, each with a network of its own, so every picture
  counts as often on one side as on the other. `difference` is 0 unless content of the examples comes through;
  `planted` is the difference if 2 % of an example's target were mixed into every picture. *Low* is a picture reduced
  to 16 x 16, *fine* its luminance minus the 5 x 5 mean.

Intervals are the middle 95 % of a bootstrap over edits. What was measured of an edit stays in FOLDER.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize

from benchmarks.harness.copies import GENERATED, SOLVED, content_rows, picture_rows, weight_rows
from benchmarks.harness.machine import EMBEDDED_MODEL, arguments_of, write_result
from pipeline.edit_groups import KINDS, EditGroups, GroupEdit, open_edit_groups
from pipeline.external import pairs as external
from pipeline.sources import crops, photo_paths
from pipeline.teachers.programs import COMMANDS, LIBRARIES
from weightgen.evaluation.novelty import nearest_pictures
from weightgen.model_folder import denoiser_sha256, load_model_folder
from weightgen.model_roles import PAIRED
from weightgen.pairs.closed_form import CLOSED_FORM, SOLVED_ON, sampled
from weightgen.pairs.generate import WAYS, PairReader
from weightgen.training.data import WeightDataset, load_zoo
from zoo.adapters.lora import Adapter
from zoo.errors import WeightzooError
from zoo.gans.solved import Seen, SolvedGenerator
from zoo.hub import find_zoo
from zoo.pictures.metrics import fine_band
from zoo.progress import track
from zoo.tensors import read_tensors, write_tensors
from zoo.training.batches import at
from zoo.training.solved_outputs import OUTPUT

NAME = "not_a_copy"
SETS = {1: 4, 4: 2}  # pairs of disjoint sets of examples; of other numbers of pairs there is one
PIXELS = 512  # of each photograph that networks are compared with members on
MEMBERS_AT_ONCE = 16
PLANTED = 0.02
LOW_SIDE = 16
BANDS: dict[str, Callable[[Tensor], Tensor]] = {
    "low": lambda pictures: adaptive_avg_pool2d(pictures, LOW_SIDE),
    "fine": fine_band,
}
DRAWN = 20261130  # no training draws with this seed


@dataclass(frozen=True, eq=False)
class Setting:
    """What all edits share.

    Attributes:
        pool: photographs that examples are taken from, [M, 3, S, S].
        queries: photographs that are measured on, [Q, 3, S, S].
        seen: all of their pixels.
        places: some of these, [Q, P], and `members` what each member of the zoo makes there, [N, Q * P, 3].
    """

    reader: PairReader
    pool: Tensor
    queries: Tensor
    seen: list[Seen]
    places: Tensor
    members: Tensor

    def there(self, pictures: Tensor) -> Tensor:
        """Return the colours of pictures [Q, 3, S, S] at the places, [Q * P, 3]."""
        return at(pictures[None], self.places)[0].flatten(0, 1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the edits that are missing, and print what there is of all of them."""
    options = parsed(arguments)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    zoo = find_zoo(options.zoo)
    groups = open_edit_groups(zoo, options.folder, 1, programs=tuple(options.programs))
    records = load_zoo(zoo)
    identity = f"{denoiser_sha256(options.model)} {groups.made_from} {options.pairs}"
    edits = held_out_edits(groups, options.edits)
    paths = [options.folder / f"edit-{number:02d}.safetensors" for number in range(len(edits))]
    missing = [number for number, path in enumerate(paths) if not is_measured(path, identity)]
    setting = open_setting(options.model, groups, records)
    for number in track(missing, "comparing with members and examples", "edits"):
        blocks, figures = measured(setting, edits[number], options.pairs, number)
        write_tensors(paths[number], blocks, {"of": identity, "figures": json.dumps(figures)})
    found = [read_tensors(path) for path in paths]
    blocks = [tensors for tensors, _ in found]
    figures = [json.loads(about["figures"]) for _, about in found]
    rows = [*weight_rows(blocks, records), *picture_rows(figures, setting.members), *content_rows(figures)]
    write_result(NAME, rows)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = arguments_of(__doc__)
    parser.add_argument("folder", type=Path, help="where measurements are kept")
    parser.add_argument("--edits", type=int, default=16)
    parser.add_argument("--pairs", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--model", type=Path, default=EMBEDDED_MODEL)
    parser.add_argument("--programs", nargs="+", default=[*LIBRARIES, *COMMANDS], choices=[*LIBRARIES, *COMMANDS])
    parser.add_argument("--zoo", default="weightzoo-small")
    return parser.parse_args(arguments)


def held_out_edits(groups: EditGroups, count: int) -> list[GroupEdit]:
    """Return edits of the first held-out group: the first of each kind, then the second of each, and so on."""
    edits = groups.edits(len(groups))
    by_kind = [[edit for edit in edits if edit.kind == kind] for kind in KINDS]
    turns = range(max(map(len, by_kind)))
    return [own[turn] for turn in turns for own in by_kind if turn < len(own)][:count]


def is_measured(path: Path, identity: str) -> bool:
    """Return whether an edit was measured with the same model, edits and numbers of pairs."""
    return path.is_file() and read_tensors(path)[1].get("of") == identity


def open_setting(model: Path, groups: EditGroups, records: WeightDataset) -> Setting:
    """Return the photographs, and what the zoo's members make of some pixels of those that are measured on."""
    reader = PairReader(load_model_folder(model))
    size = groups.image_size
    files = [*groups.held_out_photographs, *photo_paths("test")]
    pool = torch.cat([crops([file], 1, size, seed) for seed, file in enumerate(files)])
    shown = photo_paths(external.HERE / "photos")
    queries = torch.cat([crops([file], 1, size, seed) for seed, file in enumerate(shown)])
    everything = torch.arange(size * size)
    seen = [reader.base.see(reader.base.maps_of(query, everything)) for query in queries]
    draw = torch.Generator().manual_seed(0)
    places = torch.stack([torch.randperm(size * size, generator=draw)[:PIXELS] for _ in queries])
    members = pictures_of_members(reader, records, at_places(seen, places))
    return Setting(reader, pool, queries, seen, places, members)


def at_places(seen: Sequence[Seen], places: Tensor) -> Seen:
    """Return what is seen of some pixels of each photograph, one after the other."""
    parts = [(own.maps[chosen], own.features[chosen]) for own, chosen in zip(seen, places, strict=True)]
    return Seen(*(torch.cat(part) for part in zip(*parts, strict=True)))


@torch.no_grad()
def pictures_of_members(reader: PairReader, records: WeightDataset, seen: Seen) -> Tensor:
    """Return what each member of the zoo makes of n pixels, [N, n, 3] in [0, 1]."""
    edited = []
    for blocks in records.blocks.split(MEMBERS_AT_ONCE):
        adapters = records.layout.from_blocks(blocks)
        edited.append(reader.reading.edited(seen, adapters, adapters[OUTPUT].mT) / 2 + 0.5)
    return torch.cat(edited).clamp(0, 1)


@torch.no_grad()
def measured(
    setting: Setting, edit: GroupEdit, counts: Sequence[int], number: int
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the blocks of the first network of each number of pairs, and the figures of an edit."""
    reader, size = setting.reader, setting.pool.shape[-1]
    examples, targets = (edit.edit(photographs).clamp(0, 1) for photographs in (setting.pool, setting.queries))
    shown = {"target": examples, "change": examples - setting.pool}
    blocks: dict[str, Tensor] = {}
    pictures, content = [], []
    for count in counts:
        found: dict[tuple[str, str, str], list[dict[str, float]]] = defaultdict(list)
        for turn, (own, other) in enumerate(sets_of(len(examples), count, number)):
            pixels = sampled(reader.base, [(setting.pool[i], examples[i]) for i in own], 0, SOLVED_ON)
            ways = reader.ways(pixels, ())
            choices = ways.choices(ways.folds())
            layers = {by: ways.layers(choices, {by: 1.0})[by] for by in WAYS}
            made = reader.networks(ways, layers, size)
            edited = {
                GENERATED: edit_all(made[PAIRED], setting.seen, size),
                CLOSED_FORM: edit_all(made[CLOSED_FORM], setting.seen, size),
            }
            for (way, images), band, against in product(edited.items(), BANDS, shown):
                parts = (images, targets, shown[against][own], shown[against][other], examples[own])
                found[way, band, against].append(correlations(*map(BANDS[band], parts)))
            if turn == 0:
                blocks |= blocks_of(reader, reader.adapter(reader.read(pixels), ()), made[PAIRED], count)
                there = [setting.there(part)[None] for part in (edited[GENERATED], targets)]
                nearest = nearest_pictures(there[0], there[1], setting.members)
                pictures.append({"pairs": count} | {name: float(value) for name, value in nearest._asdict().items()})
        for (way, band, against), rows in found.items():
            means = {name: fmean(row[name] for row in rows) for name in rows[0]}
            content.append({"network": way, "pairs": count, "band": band, "against": against, **means})
    name = edit.wordings[0] if edit.wordings else ""
    return blocks, {"edit": name, "kind": edit.kind, "pictures": pictures, "content": content}


def blocks_of(reader: PairReader, adapter: Adapter, made: SolvedGenerator, count: int) -> dict[str, Tensor]:
    """Return the blocks of a generated network as it came and with its solved layer, [1, num_blocks, block_size].

    What the layer says of the branches that all edits share is left out: members have none.
    """
    bank, *_, own = made.layer_parts
    networks = {GENERATED: adapter, SOLVED: adapter | {OUTPUT: torch.cat([bank, own]).T.contiguous()}}
    return {
        f"{name} {count}": reader.model.layout.to_blocks({key: value[None] for key, value in own.items()})
        for name, own in networks.items()
    }


def sets_of(photographs: int, count: int, seed: int) -> list[tuple[list[int], list[int]]]:
    """Return sets of `count` photographs, each with a disjoint one; each of two such sets is in both places.

    Raises:
        WeightzooError: there are too few photographs.
    """
    if 2 * count > photographs:
        raise WeightzooError(
            f"{count} pairs need {2 * count} photographs and there are {photographs}; take fewer pairs"
        )
    order = np.random.default_rng([DRAWN, seed]).permutation(photographs).tolist()
    parts = [order[k : k + count] for k in range(0, 2 * count * SETS.get(count, 1), count)]
    both = [pair for pair in zip(parts[::2], parts[1::2], strict=True) if len(pair[1]) == count]
    return [turn for pair in both for turn in (pair, pair[::-1])]


@torch.no_grad()
def edit_all(generator: SolvedGenerator, seen: Sequence[Seen], size: int) -> Tensor:
    """Return what a generator makes of all pixels of some photographs, [Q, 3, size, size] in [0, 1]."""
    return torch.stack([generator(own).clamp(0, 1).T.unflatten(1, (size, size)) for own in seen])


def correlations(edited: Tensor, targets: Tensor, own: Tensor, other: Tensor, planted: Tensor) -> dict[str, float]:
    """Return how what a network leaves correlates with what its own examples show and others do, in the mean.

    Args:
        edited, targets: one band of pictures, [Q, ...].
        own, other: the same band of what examples show, [n, ...] each.
        planted: of the own examples' targets, [n, ...], one of which is mixed into every picture at a time.
    """
    left = edited - targets
    mixed = left[:, None] + PLANTED * (planted[None] - edited[:, None])
    return {
        "own": float((unit(left) @ unit(own).T).mean()),
        "control": float((unit(left) @ unit(other).T).mean()),
        "planted": float((unit(mixed.flatten(0, 1)).unflatten(0, mixed.shape[:2]) * unit(own)).sum(-1).mean()),
    }


def unit(pictures: Tensor) -> Tensor:
    """Return pictures [n, C, H, W] as rows of length 1, the mean of each channel removed."""
    return normalize((pictures - pictures.mean((-2, -1), keepdim=True)).flatten(1), dim=1)


if __name__ == "__main__":
    main()

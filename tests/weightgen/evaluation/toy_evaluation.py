"""A toy zoo with three models, held-out pairs and a grid: what the tests of evaluation and report share."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from tests.weightgen.tiny_world import make_model, make_zoo
from weightgen.evaluation import zero_step
from weightgen.evaluation.context import EvaluateConfig
from weightgen.evaluation.grid import GRIDS, FinetuneRow, Grid
from weightgen.model_roles import find_models
from zoo.concepts import Concept, write_concepts
from zoo.files import write_json
from zoo.pictures.pairs import write_pairs


class Thumbnail(torch.nn.Module):
    """A feature network that costs nothing."""

    def forward(self, images):
        return torch.nn.functional.adaptive_avg_pool2d(images, 4).flatten(1)


@contextmanager
def thumbnails():
    """Lets KID use thumbnails instead of a real feature network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zero_step, "load_features", lambda name: Thumbnail())
        yield


def make_heldout(root, split, names, train=8, test=4, size=16):
    concepts = []
    for i, name in enumerate(names):
        texts = tuple(f"{word} {name}" for word in ("please", "kindly", "now", "simply"))
        concepts.append(Concept(f"{split}-{name}", f"make it {name}", texts, split=split))
        generator = torch.Generator().manual_seed(7)
        for part, count in (("train", train), ("test", test)):
            sources = torch.rand(count, 3, size, size, generator=generator)
            folder = root / concepts[-1].id / part
            write_pairs(folder, [f"p{k:03d}" for k in range(count)], sources, sources * (0.4 + 0.1 * i))
    return concepts


def make_world(root):
    """The zoo, its models, and held-out pairs of four splits under `root`."""
    zoo = make_zoo(root / "zoo")
    write_json(zoo / "config.json", {"name": "toy", "training": {"steps": 3}, "num_train_crops": 8})
    for name, denoiser, stage in (
        ("polished", "transformer", "polished"),
        ("generated", "transformer", "generated"),
        ("generated_unet1d", "unet1d", "generated"),
    ):
        make_model(root / "models" / name, zoo, denoiser, stage)
    heldout = make_heldout(root / "heldout", "combination", ("blue", "pink", "teal"))
    heldout += make_heldout(root / "heldout", "value", ("tall", "flat"))
    heldout += make_heldout(root / "heldout", "validation", ("soft",))
    write_concepts(root / "heldout" / "concepts.jsonl", heldout)
    external = make_heldout(root / "external", "external", ("odd", "even"))
    write_concepts(root / "external" / "concepts.jsonl", external)
    return root


def toy_grid(**more):
    inits = [init for init in GRIDS["full"]().inits if init != "generated_few_steps"]
    rows = (
        FinetuneRow(
            "combination", 8, "full", ("scratch", "base", "polished", "own", "copy", "closed-form-plain"), 2, 6, 4
        ),
        FinetuneRow("combination", 8, "adapter", ("base", "polished"), 2, 6, 4),
        FinetuneRow("combination", 8, "full", ("scratch", "polished"), 2, 2, 2, budget=True),
        FinetuneRow("combination", 8, "adapter", ("scratch", "polished"), 2, 2, 2, budget=True),
        FinetuneRow("external", 500, "full", ("scratch", "base"), 2, 6, 4),  # nobody has that many pairs
    )
    grid = Grid(
        "toy",
        tuple(inits),
        ("polished", "ridge"),
        rows,
        test_images=3,
        kid_images=2,
        own_concepts=2,
        own_fleet=2,
        finetune_fleet=2,
        timed_steps=2,
        fleet_sizes=(1, 2),
        resamples=50,
        picture_concepts=1,
        validation_concepts=1,
        closed_form_pairs=(4,),
        closed_form_concepts=1,
    )
    return replace(grid, **more)


def config_of(world, **more):
    models = {name: str(path) for name, path in find_models(world / "models").items()}
    write_json(world / "near.json", ["combination-teal"])
    config = EvaluateConfig(
        str(world / "zoo"),
        (str(world / "heldout"), str(world / "external")),
        models,
        toy_grid(),
        near_duplicates=str(world / "near.json"),
    )
    return replace(config, **more)

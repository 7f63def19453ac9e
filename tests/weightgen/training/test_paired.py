"""Learning to read pairs: it learns, resumes exactly, and leaves a model folder of its own stage."""

import json
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.weightgen.tiny_world import SOLVED, make_model, make_zoo
from weightgen.model_folder import load_model_folder
from weightgen.model_roles import read_role
from weightgen.training.config import PairedConfig
from weightgen.training.pair_tasks import QUERIES, drawn
from weightgen.training.paired import learn_pairs, prepare, with_pairs
from zoo.adapters.lora import load_base
from zoo.errors import Interrupted, WeightzooError
from zoo.pictures.edit_groups import EditGroup

CONFIG = PairedConfig(
    steps=6, edits=4, pairs=(1, 2), learning_rate=3e-3, validate_every=3, checkpoint_every=2, device="cpu"
)
PHOTOGRAPHS, SIDE = 8, 12


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("paired")
    return make_model(folder / "model", make_zoo(folder / "zoo", SOLVED))


@pytest.fixture(scope="module")
def groups(model_dir):
    """Groups of edits that make photographs darker, or keep one channel."""
    base = load_base(load_model_folder(model_dir).base_generator_path)
    made = []
    for number in range(3):
        draw = torch.Generator().manual_seed(number)
        sources = torch.rand(PHOTOGRAPHS, 3, SIDE, SIDE, generator=draw)
        maps = torch.stack([base.maps_of(source, torch.arange(SIDE * SIDE)) for source in sources])
        factors = torch.rand(6, 3, generator=draw)
        colours = sources.flatten(2).mT
        targets = (colours * factors[:, None, None] * 255).round().to(torch.uint8)
        prompts = tuple(("make it dark", "a dark look") if k % 2 else () for k in range(6))
        made.append(EditGroup(maps.half(), targets, prompts))
    return made


def rows(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def test_learns_and_leaves_a_model_that_reads_pairs(model_dir, groups, tmp_path):
    config = replace(CONFIG, steps=40, learning_rate=1e-2)
    learn_pairs(model_dir, groups[:2], groups[2:], config, tmp_path / "out")
    curve = [row["log_l1"] for row in rows(tmp_path / "out")]
    assert min(curve) < curve[0] - 0.1
    assert read_role(tmp_path / "out") == "paired"
    assert load_model_folder(tmp_path / "out").denoiser.pairs is not None


def test_an_interrupted_training_ends_as_one_that_was_not(model_dir, groups, tmp_path, hears_ctrl_c):
    def interrupt(row):
        if row["step"] == 3:
            signal.raise_signal(signal.SIGINT)

    learn_pairs(model_dir, groups[:2], groups[2:], CONFIG, tmp_path / "whole")
    with pytest.raises(Interrupted):
        learn_pairs(model_dir, groups[:2], groups[2:], CONFIG, tmp_path / "parts", on_log=interrupt)
    learn_pairs(model_dir, groups[:2], groups[2:], CONFIG, tmp_path / "parts")
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")
    one, other = (load_model_folder(tmp_path / name).denoiser.state_dict() for name in ("parts", "whole"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_examples_and_queries_are_of_different_photographs(model_dir, groups):
    stage = prepare(load_model_folder(model_dir), groups, groups[2:], CONFIG, model_dir.parent / "run")
    group = groups[0]
    marked = EditGroup(
        torch.arange(PHOTOGRAPHS).half()[:, None, None].expand_as(group.maps).contiguous(), group.targets, group.prompts
    )
    reading = stage.stage.gradients.__self__.reading
    for seed in range(5):
        task = drawn(reading, marked, 3, np.random.default_rng(seed))
        examples, queries = (set(seen.maps.flatten().tolist()) for seen in (task.examples, task.queries))
        assert len(examples) == 3
        assert len(queries) == QUERIES
        assert not examples & queries


def test_what_a_model_has_learned_from_text_is_kept(model_dir):
    """Before its first step a network that reads pairs differs from the model by its null state alone."""
    model = load_model_folder(model_dir)
    network = with_pairs(model.denoiser, load_base(model.base_generator_path))
    torch.nn.init.zeros_(network.pairs.null)
    states = torch.randn(2, 5, 384), torch.ones(2, 5, dtype=torch.bool), torch.randn(2, 384)
    noisy = torch.randn(2, model.layout.num_blocks, model.layout.block_size)
    one, other = (each.eval()(noisy, torch.full((2,), 999), *states) for each in (network, model.denoiser))
    torch.testing.assert_close(one, other)


def test_shared_branches_can_be_added_to_a_model_that_reads_pairs(model_dir):
    """What it has learned of the bank's features and of its own ReLUs stays with these."""
    model = load_model_folder(model_dir)
    base = load_base(model.base_generator_path)
    bank, own = base.bank.num_features, base.config.hidden
    without = with_pairs(model.denoiser, base)
    torch.nn.init.normal_(without.pairs.log_penalty_step)
    network = with_pairs(without, base, ("colour", "local"))
    facts = torch.randn(2, 3)
    (shared, generated), (known, known_generated) = (each.pairs.log_penalties(facts, 3) for each in (network, without))
    assert len(shared) == bank + 2 * own and torch.equal(shared[:bank], known)
    assert torch.equal(generated, known_generated)
    again = with_pairs(network, base, ("whole",))
    assert [branch.name for branch in again.pairs.shared] == ["colour", "local"]
    assert torch.equal(again.pairs.shared[1].second.weight, network.pairs.shared[1].second.weight)


def test_all_edits_teach_the_shared_branches(model_dir, groups):
    """Of a step's edits some have networks of their own; the others are solved on what all edits share."""
    run = prepare(load_model_folder(model_dir), groups, groups[2:], CONFIG, model_dir.parent / "shared")
    stage = run.stage.gradients.__self__
    tasks = [stage.task(step, {}) for step in range(12)]
    assert all((task.further is None) == (task.pairs == 0) for task in tasks)
    task = next(task for task in tasks if task.pairs)
    assert len(task.texts) == CONFIG.edits and len(task.further[0]) == len(groups[0].prompts) - CONFIG.edits
    alone = task._replace(further=(task.example_targets, task.query_targets))
    edited, further = stage.edited(run.network, alone)
    assert edited.shape == further.shape and not torch.equal(edited, further)
    further.sum().backward()
    assert all(p.grad.any() for branch in run.network.pairs.shared for p in branch.parameters())


def test_a_base_without_a_layer_to_solve_is_refused(tmp_path, groups):
    model = make_model(tmp_path / "model", make_zoo(tmp_path / "zoo"))
    with pytest.raises(WeightzooError, match="cannot learn to read pairs"):
        learn_pairs(model, groups, groups[2:], CONFIG, tmp_path / "out")

"""What fleets are trained on: pixels and crops are those of the pictures, whoever shares the photographs."""

from __future__ import annotations

from itertools import islice

import pytest
import torch

from zoo.adapters.lora import initial_adapter
from zoo.gans.e2gan import E2ganConfig
from zoo.gans.solved import SolvedConfig
from zoo.training.batches import CROPS_OF_A_STEP, Pictures, Pixels, batch_indices, joined, look, material_of
from zoo.training.gan_objective import run_generators, run_on_batch
from zoo.training.solved_outputs import with_solved_outputs
from zoo.training.train_gan import stack

SMALL = SolvedConfig(8, 8, 8, 8, branches=("whole",), hidden=8, lora_rank=2)
WHOLE = E2ganConfig(channels=(4, 4, 8, 8), groups=2, heads=2)


@pytest.fixture(scope="module")
def generator():
    """A network that copies its source, whatever its branch does."""
    torch.manual_seed(0)
    return SMALL.build().requires_grad_(False)


@pytest.fixture(scope="module")
def photographs():
    return torch.rand(3, 3, 40, 48, generator=torch.Generator().manual_seed(1))


def copies(generator, count):
    params = stack(initial_adapter(generator), count)
    params["output.weight"][:, :, generator.bank.num_features :] = 0
    return params


def test_pixels_and_crops_are_those_of_the_pictures(generator, photographs):
    """A network that copies has no error on targets that are the sources, and its crops are the sources' crops."""
    material = material_of(generator, photographs, torch.stack([photographs, 1 - photographs]))
    for index in islice(material.indices(batch_size=4, seed=0), 3):
        batch = material.batch(index)
        outputs = run_on_batch(generator, copies(generator, 2), batch)
        torch.testing.assert_close(outputs[0], batch.targets[0])
        torch.testing.assert_close(1 - outputs[1], batch.targets[1])
        pictures = batch.pictures(outputs)
        assert pictures.shape == (2, CROPS_OF_A_STEP, 3, 32, 32)
        torch.testing.assert_close(pictures[0], batch.sources)
        torch.testing.assert_close(batch.pictures(batch.targets)[1], 1 - batch.sources)


def test_photographs_of_each_concept_give_what_shared_ones_give(generator, photographs):
    targets = torch.rand(2, *photographs.shape)
    shared = material_of(generator, photographs, targets, seed=3)
    looked = look(generator, torch.stack([photographs, photographs]), seed=3)
    assert looked.maps.shape[:2] == (2, 3)
    own = material_of(generator, photographs.expand(2, -1, -1, -1, -1), targets, seed=3)
    index = next(own.indices(4, 0))
    assert torch.equal(own.batch(index).inputs.maps[0], shared.batch(index).inputs.maps)
    assert torch.equal(own.batch(index).targets[0], shared.batch(index).targets[0])
    assert not torch.equal(own.batch(index).inputs.maps[0], own.batch(index).inputs.maps[1])  # other pixels


def test_some_concepts_are_those_of_the_whole_batch(generator, photographs):
    targets = torch.rand(3, *photographs.shape)
    chosen = torch.tensor([2, 0])
    for sources in (photographs, photographs.expand(3, -1, -1, -1, -1)):
        material = material_of(generator, sources, targets)
        index = next(material.indices(4, 0))
        some, every = material.batch(index, chosen), material.batch(index)
        assert torch.equal(some.targets, every.targets[chosen])
        torch.testing.assert_close(
            run_on_batch(generator, copies(generator, 2), some),
            run_on_batch(generator, copies(generator, 3), every)[chosen],
        )


def test_a_step_has_every_group_of_pixels_once_an_epoch(generator, photographs):
    material = material_of(generator, photographs, photographs[None])
    groups = torch.cat([index[:-CROPS_OF_A_STEP] for index in islice(material.indices(4, 0), material.num_groups)])
    assert sorted(groups.tolist()) == sorted(list(range(material.num_groups)) * (len(groups) // material.num_groups))


@pytest.mark.parametrize(
    ("config", "owned"),
    [(SMALL, False), (WHOLE, False), (WHOLE, True)],  # of own photographs fleets draw other pixels
)
def test_fleets_are_joined_as_if_they_were_one(config, owned, photographs):
    network, targets = config.build(), torch.rand(4, *photographs.shape)
    sources = torch.rand(4, *photographs.shape) if owned else photographs
    one = material_of(network, sources, targets)
    assert isinstance(one, Pixels if config is SMALL else Pictures)
    halves = [material_of(network, sources[k : k + 2] if owned else sources, targets[k : k + 2]) for k in (0, 2)]
    both = joined(halves, count=3)
    index = next(one.indices(4, 0))
    assert torch.equal(both.batch(index).targets, one.batch(index).targets[:3])


def test_whole_pictures_are_edited_as_the_network_edits_them(generator, photographs):
    params = copies(generator, 2)
    params["output.weight"] += 0.05 * torch.randn_like(params["output.weight"])
    edited = run_generators(generator, params, photographs)
    per_concept = run_generators(generator, params, photographs.expand(2, -1, -1, -1, -1))
    assert torch.equal(edited, per_concept)
    network = SMALL.build()
    network.load_state_dict(generator.state_dict() | {name: value[1] for name, value in params.items()})
    inside = edited[1].clamp(0, 1)
    torch.testing.assert_close(network(photographs).clamp(0, 1), inside, atol=1e-5, rtol=1e-4)


def test_a_solved_output_needs_no_training_for_what_the_features_can_do(generator, photographs):
    """Colours that are swapped are linear in the bank; each concept is solved as if it were alone."""
    targets = torch.stack([photographs.flip(1), 1 - photographs])
    material = material_of(generator, photographs, targets)
    start = stack(initial_adapter(generator), 2)
    params = with_solved_outputs(generator, start, material)
    edited = run_generators(generator, params, photographs)
    assert float((edited - targets).abs().mean()) < 0.05 * float((photographs - targets).abs().mean())
    alone = material_of(generator, photographs, targets[1:])
    again = with_solved_outputs(generator, {name: value[1:] for name, value in start.items()}, alone)
    torch.testing.assert_close(again["output.weight"][0], params["output.weight"][1], atol=1e-5, rtol=1e-4)
    assert all(torch.equal(params[name], value) for name, value in start.items() if name != "output.weight")


def test_targets_that_are_not_numbers_leave_the_prior(generator, photographs):
    material = material_of(generator, photographs, torch.full((1, *photographs.shape), torch.nan))
    params = with_solved_outputs(generator, stack(initial_adapter(generator), 1), material)
    layer = params["output.weight"][0].T
    assert torch.equal(layer[: len(generator.mean)], generator.mean) and not layer[len(generator.mean) :].any()


def test_networks_of_whole_pictures_keep_their_output(photographs):
    network = WHOLE.build()
    params = stack(initial_adapter(network), 1)
    material = material_of(network, photographs, photographs[None])
    assert with_solved_outputs(network, params, material) == params


def test_batches_cover_each_epoch_once_and_depend_on_the_seed_only():
    stream = batch_indices(6, 4, seed=3)
    drawn = torch.cat([next(stream) for _ in range(3)])
    assert sorted(drawn[:6].tolist()) == sorted(drawn[6:].tolist()) == list(range(6))
    again = batch_indices(6, 4, seed=3)
    assert torch.equal(torch.cat([next(again) for _ in range(3)]), drawn)

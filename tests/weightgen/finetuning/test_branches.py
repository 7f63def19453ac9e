"""Branches beside a solved layer: small networks of a pixel's surroundings, mixed in as far as they help elsewhere."""

import json
from dataclasses import replace

import pytest
import torch

from tests.weightgen.finetuning.test_solved import write_pairs
from weightgen.finetuning import solved as module
from weightgen.finetuning.branches import HIDDEN, TUNED, Learner, Rates, fresh, learners_of, seconds_of, steps_of, train
from weightgen.finetuning.mixture import blend, continued, mix_branches, part_of, step_schedules
from weightgen.finetuning.solved import picture, solve_pairs
from weightgen.pairs.closed_form import load_prior
from weightgen.pairs.means import layers_of, mean_network
from weightgen.pairs.pixels import Pixels, edited, joined, trials_of
from zoo.closed_form import POWER, shares_by_error
from zoo.errors import Interrupted, WeightzooError
from zoo.gans.branches import READS
from zoo.gans.feature_bank import CHANNELS
from zoo.gans.solved import SolvedConfig
from zoo.pictures.apply import load_network

STEPS = 600


def stepped(images: torch.Tensor) -> torch.Tensor:
    """Two levels of each colour, which nothing linear in smooth features gives."""
    return images.round()


@pytest.fixture(scope="module")
def poster(tmp_path_factory):
    """pairs/ and what was solved and trained on them, out/; read only."""
    folder = tmp_path_factory.mktemp("poster")
    summary = solve_pairs(write_pairs(folder / "pairs", stepped, 8, size=96), folder / "out", steps=STEPS)
    return folder, summary


def test_steps_of_colour_are_learned_by_a_branch(poster):
    folder, summary = poster
    assert summary["best"]["l1"] < 0.7 * summary["solved"]["l1"]
    assert summary["left_out_l1"] < summary["solved_left_out_l1"]
    assert sum(summary["weights"].values()) == pytest.approx(1, abs=1e-3) and summary["steps"] == STEPS
    assert json.loads((folder / "out" / "finetune.json").read_text()) == summary


def test_the_generator_is_the_mean_of_its_parts(poster):
    folder, summary = poster
    network = load_network(folder / "out")
    photo = picture(module.load_pairs(folder / "pairs", None, "source-to-target").test[0][1])
    rows = network.maps_of(photo, torch.arange(500))
    edited = (network(photo[None])[0].flatten(1)[:, :500].T - 0.5) * 2
    assert torch.allclose(torch.cat(network.parts(network.see(rows)), 1) @ network.layer, edited, atol=1e-4)
    assert set(network.config.branches) == set(summary["weights"]) - {"closed-form"}


def test_the_same_pairs_give_the_same_branches(poster, tmp_path):
    folder, summary = poster
    solve_pairs(folder / "pairs", tmp_path / "again", steps=STEPS)
    one, two = ((place / "generator.safetensors").read_bytes() for place in (folder / "out", tmp_path / "again"))
    assert one == two


def test_of_one_pair_nothing_can_be_left_out(tmp_path):
    summary = solve_pairs(write_pairs(tmp_path / "pairs", stepped, 1, size=96), tmp_path / "out", steps=5)
    assert summary["best"] == summary["solved"] and "weights" not in summary


def test_time_that_the_solve_has_used_up_leaves_the_solved_layer(poster, tmp_path):
    summary = solve_pairs(poster[0] / "pairs", tmp_path / "out", seconds=0.001)
    assert summary["best"] == summary["solved"] and summary["steps"] == 0


@pytest.mark.parametrize("length", [{"steps": -5}, {"seconds": 0.0}, {"seconds": float("nan")}])
def test_a_length_that_never_ends_is_refused(poster, tmp_path, length):
    with pytest.raises(WeightzooError, match="use"):
        solve_pairs(poster[0] / "pairs", tmp_path / "out", **length)
    assert not (tmp_path / "out").exists()


def test_ctrl_c_leaves_the_solved_layer(poster, tmp_path, monkeypatch):
    def interrupted(made, remake, pixels, schedules, seed, stop):
        assert json.loads((tmp_path / "out" / "finetune.json").read_text())["best"]["l1"] > 0
        raise Interrupted("stopped")

    monkeypatch.setattr(module, "mix_branches", interrupted)
    with pytest.raises(Interrupted):
        solve_pairs(poster[0] / "pairs", tmp_path / "out")
    assert load_network(tmp_path / "out").config.branches == ()


def test_better_parts_weigh_more_and_bad_ones_nothing():
    weights = shares_by_error([0.02, 0.01, 0.01, 0.5], POWER)
    assert sum(weights) == pytest.approx(1) and weights[3] == 0 and weights[0] == 0
    assert weights[1] == weights[2]
    weights = shares_by_error([0.012, 0.01], POWER)
    assert 0.05 < weights[0] < weights[1]
    assert shares_by_error([0.0, 0.3], POWER) == [1.0, 0.0]
    assert shares_by_error([0.1, float("nan")], POWER) == [1.0, 0.0]
    torch.manual_seed(0)
    parts = [torch.randn(5, 3) for _ in range(2)]
    assert torch.allclose(blend(parts, [0.25, 0.75]), 0.25 * parts[0] + 0.75 * parts[1])


@pytest.mark.parametrize("count, turns, most", [(2, 2, 1), (3, 3, 1), (4, 4, 1), (6, 4, 2), (11, 4, 3)])
def test_each_of_few_pairs_is_left_out_once_and_most_are_not(count, turns, most):
    found = trials_of(list(range(count)))
    assert len(found) == turns and max(len(left_out) for left_out, _ in found) == most
    assert sorted(k for left_out, _ in found for k in left_out) == list(range(count))
    assert all(sorted(left_out + rest) == list(range(count)) and rest for left_out, rest in found)


def test_of_many_pairs_one_quarter_is_left_out():
    ((left_out, rest),) = trials_of(list(range(16)))
    assert left_out == [3, 7, 11, 15] and sorted(left_out + rest) == list(range(16))


def test_trainings_that_choose_share_one_length():
    taken, steps = 0, []
    for number in range(4):
        schedule = part_of(steps_of(30), number, 4, taken)
        steps.append(next(step for step in range(99) if schedule(step) >= 1))
        assert 0 <= schedule(0) < 1
        taken += steps[-1]
    assert taken == 30 and max(steps) - min(steps) <= 1


def test_a_branch_is_the_same_beside_any_others():
    alone, beside = fresh("local", HIDDEN, 3), learners_of({}, 3)[list(READS).index("local")]
    assert torch.equal(alone.branches[0].first.weight, beside.branches[0].first.weight)


def test_a_training_lasts_as_many_steps_or_seconds_as_it_is_given(poster):
    generator = load_prior(96)
    pairs = module.load_pairs(poster[0] / "pairs", None, "source-to-target").train[:2]
    pixels = [module.pixels_of(generator, pair, 0, 2) for pair in pairs]
    learners = [fresh("colour", HIDDEN, 0)]
    assert train(learners, pixels, steps_of(7), 0) == 7
    assert learners[0](joined(pixels)).shape == (sum(len(p.maps) for p in pixels), 3)
    assert train(learners, pixels, seconds_of(0.05), 0) > 0
    assert train(learners, pixels, steps_of(7), 0, stop=lambda: True) == 0


@pytest.mark.parametrize("with_bank", [False, True])
def test_a_step_learns_from_what_the_network_will_compute(poster, with_bank):
    generator = load_prior(96)
    pairs = module.load_pairs(poster[0] / "pairs", None, "source-to-target").train[:1]
    pixels = module.pixels_of(generator, pairs[0], 0, 1)
    own = fresh("local", HIDDEN, 0)
    torch.nn.init.normal_(own.head.weight)
    learner = replace(own, bank=generator.layer if with_bank else None)
    expected = learner.head(learner.branches[0](pixels.maps)) + (pixels.features @ generator.layer if with_bank else 0)
    assert torch.allclose(learner.edited(*learner.reads(pixels)), expected, atol=1e-5)
    assert torch.allclose(learner(pixels), expected, atol=1e-5)


def test_what_a_generated_network_became_stands_for_it_where_it_is_better():
    torch.manual_seed(0)
    network = SolvedConfig(3, 3, 3, 3, branches=("colour", "whole"), hidden=8).build().requires_grad_(False)
    made = {"paired": network}
    pixels = []
    for _ in range(12):
        maps = torch.rand(40, CHANNELS)
        seen = Pixels(maps, network.bank.expand(maps), torch.zeros(40, 3))
        pixels.append(seen._replace(targets=edited(network, seen) * 0.5))
    found = mix_branches(made, lambda some: made, pixels, step_schedules(12, 200))
    assert found.error < found.solved_error and TUNED in found.weights and "paired" not in found.weights
    assert sum(found.weights.values()) == pytest.approx(1, abs=1e-3) and found.steps > 200


def test_generated_branches_are_trained_first_and_for_so_many_steps():
    torch.manual_seed(0)
    maps = torch.rand(50, CHANNELS)
    bank = SolvedConfig(3, 3, 3, 3).build().bank
    pixels = [Pixels(maps, bank.expand(maps), torch.rand(50, 3))]

    def moved(steps: int) -> list[bool]:
        brief, new = replace(fresh("whole", 8, 0), steps=4), fresh("local", 8, 0)
        before = [part.head.weight.clone() for part in (brief, new)]
        assert train([new, brief], pixels, steps_of(steps), 0) == steps
        return [not torch.equal(part.head.weight, own) for part, own in zip((brief, new), before, strict=True)]

    assert moved(3) == [True, False] and moved(7) == [True, True]
    assert train([replace(fresh("whole", 8, 0), steps=4)], pixels, steps_of(7), 0) == 4


def test_branches_and_their_output_layer_have_rates_of_their_own():
    maps = torch.rand(50, CHANNELS)
    pixels = [Pixels(maps, torch.zeros(50, 1), torch.rand(50, 3))]
    for rates in (Rates(1e-2, 0.0), Rates(0.0, 1e-2)):
        learner = replace(fresh("local", 8, 0), rates=rates)
        torch.nn.init.normal_(learner.head.weight)
        before = [part.clone() for part in (learner.branches[0].first.weight, learner.head.weight)]
        train([learner], pixels, steps_of(2), 0)
        after = (learner.branches[0].first.weight, learner.head.weight)
        assert [not torch.equal(*pair) for pair in zip(before, after, strict=True)] == [rate > 0 for rate in rates]


def test_a_training_on_all_of_many_pairs_goes_on_for_a_part_of_the_first_one():
    learner = replace(fresh("local", 8, 0), steps=300)
    again = continued(learner)
    assert again.branches is learner.branches and again.steps == 90
    assert again.rates == pytest.approx((0.3 * learner.rates.branches, 0.3 * learner.rates.head))
    assert [schedule()(1) for schedule in step_schedules(16, 100)] == [1 / 100, 1 / 30]
    assert [schedule()(1) for schedule in step_schedules(4, 100)] == [1 / 200, 1 / 100]
    assert [schedule()(1) for schedule in step_schedules(16, 1)] == [1, 1]


def test_an_unknown_branch_is_refused():
    with pytest.raises(WeightzooError, match="this version knows colour, local"):
        SolvedConfig(branches=("sound",)).build()


def parameters_of(learner: Learner) -> list[torch.Tensor]:
    return [parameter for group in learner.groups() for parameter in group["params"]]


def test_all_branches_of_a_generated_network_are_trained_from_where_they_are():
    torch.manual_seed(0)
    made = {"paired": SolvedConfig(3, 3, 3, 3, branches=("colour", "whole"), hidden=8).build().requires_grad_(False)}
    made["paired"].layer.normal_(std=0.1)
    maps = torch.rand(50, CHANNELS)
    pixels = Pixels(maps, made["paired"].bank.expand(maps), torch.zeros(50, 3))
    tuned = learners_of(made, 0)[-1]
    torch.testing.assert_close(tuned(pixels), edited(made["paired"], pixels))
    before = [parameter.clone() for parameter in parameters_of(tuned)]
    assert train([tuned], [pixels], steps_of(3), 0) == 3
    assert not any(torch.equal(*pair) for pair in zip(parameters_of(tuned), before, strict=True))
    network = made["paired"]
    features = network.bank.num_features
    mixture = mean_network(network, [(layers_of(network), 0.25), (tuned.layers(features), 0.75)])
    assert mixture.config.branches == ("colour", "whole", "colour", "whole")
    parts = [edited(made["paired"], pixels), tuned(pixels)]
    torch.testing.assert_close(edited(mixture, pixels), blend(parts, [0.25, 0.75]), atol=1e-4, rtol=1e-4)

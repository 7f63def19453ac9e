"""Evaluation on a toy world: every cell exists, seconds and censoring are honest, again does nothing."""

import json
import math
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.weightgen.evaluation.toy_evaluation import config_of, make_world, thumbnails, toy_grid
from weightgen.evaluation import cells, held_out_pairs
from weightgen.evaluation.cells import network_of
from weightgen.evaluation.choose_rates import TRIALS, choose, choose_learning_rates, trial_tasks
from weightgen.evaluation.context import load_context, own_path
from weightgen.evaluation.evaluate import evaluate
from weightgen.evaluation.goals import goals
from weightgen.evaluation.grid import FROM_PAIRS, GRIDS, FinetuneRow, LearningRates
from weightgen.evaluation.held_out_pairs import HeldOut, shuffled, wordings
from weightgen.evaluation.intervals import censored_quantile, paired_ratio, pooled_kid
from weightgen.evaluation.novelty import diversity, nearest_pictures, novelty
from weightgen.evaluation.plan import fleet_size
from weightgen.evaluation.speedup import Curve, mean_curves, reach, speedups
from weightgen.evaluation.zero_step import concepts_at_once, summarise
from weightgen.evaluation.zero_step_methods import check_models, is_available
from weightgen.finetuning.finetune import finetune
from weightgen.finetuning.loop import LEARNING_RATE, FinetuneConfig, shared_training
from weightgen.finetuning.origins import Origins
from weightgen.finetuning.starts import Start
from weightgen.normalize import BlockStatistics
from weightgen.report.report import render
from zoo.adapters.lora import free_parameters, load_generator, save_base
from zoo.concepts import write_concepts
from zoo.errors import WeightzooError
from zoo.files import read_json, write_json
from zoo.gans.e2gan import E2ganConfig
from zoo.gans.solved import SolvedConfig
from zoo.pictures.apply import load_network
from zoo.pictures.metrics import FIGURES
from zoo.training.train_gan import train_fleet

STEPS = (0, 10, 20, 40)


def curve(init, l1, concept="a", steps=STEPS, **more):
    return Curve(
        concept,
        init,
        "full",
        16,
        steps,
        l1,
        init_seconds=more.pop("init_seconds", 1.0),
        step_seconds=0.1,
        **more,
    )


# --- time to quality


def test_reach_interpolates_and_censors():
    assert reach(STEPS, (0.4, 0.2, 0.1, 0.1), 0.3).step == pytest.approx(5)
    assert reach(STEPS, (0.4, 0.2, 0.1, 0.1), 0.1).step == 20
    assert reach(STEPS, (0.4, math.nan, 0.2, 0.1), 0.3).step == 20
    assert math.isinf(reach(STEPS, (0.4, 0.3, 0.2, 0.2), 0.1).step)
    assert reach(STEPS, (0.1, 0.2, 0.3, 0.3), 0.1).at_start


def test_speedup_counts_unreached_and_marks_lower_bounds():
    curves = []
    polished = {"a": (0.2, 0.1, 0.05, 0.05), "b": (0.05, 0.05, 0.05, 0.05), "c": (0.3, 0.3, 0.3, 0.3)}
    for concept, l1 in polished.items():
        curves.append(curve("scratch", (0.5, 0.4, 0.2, 0.1), concept, init_seconds=0.0))
        curves.append(curve("base", (0.4, 0.2, 0.1, 0.08), concept))
        curves.append(curve("polished", l1, concept))
    rows = speedups(curves, ((100, 1.0),))
    over_scratch = next(r for r in rows if (r["init"], r["over"]) == ("polished", "scratch"))
    # a: 10 of 40 steps; b: there at step 0, charged the first evaluation point; c: never
    assert over_scratch["reached"] == pytest.approx(2 / 3)
    assert over_scratch["n"] == 3
    assert over_scratch["median"] == pytest.approx(4)
    assert over_scratch["lower_bounds"] == 1
    assert over_scratch["median_seconds"] == pytest.approx(40 * 0.1 / (1 + 10 * 0.1))
    assert over_scratch["final_l1_ratio"] == pytest.approx((0.5 + 0.5 + 3.0) / 3)
    over_base = next(r for r in rows if (r["init"], r["over"]) == ("polished", "base"))
    assert over_base["median"] == pytest.approx(2)
    assert not any(r["init"] == r["over"] for r in rows)


def test_most_unreached_gives_a_ratio_of_zero():
    curves = [curve("scratch", (0.5, 0.4, 0.2, 0.1), c) for c in "abc"]
    curves += [curve("polished", (0.3, 0.3, 0.3, 0.3), c) for c in "ab"] + [
        curve("polished", (0.3, 0.05, 0.05, 0.05), "c")
    ]
    row = speedups(curves, ((100, 1.0),))[0]
    assert row["median"] == 0 and row["reached"] == pytest.approx(1 / 3)
    assert math.isinf(row["median_steps"])


def test_half_unreached_gives_no_median_either():
    curves = [curve("scratch", (0.5, 0.4, 0.2, 0.1), c) for c in "abcd"]
    curves += [curve("polished", (0.3, 0.3, 0.3, 0.3), c) for c in "ab"]
    curves += [curve("polished", (0.3, 0.05, 0.05, 0.05), c) for c in "cd"]
    row = speedups(curves, ((100, 1.0),))[0]
    assert row["median"] == 0 and math.isinf(row["median_steps"])
    assert row["iqr"][0] == 0 and row["iqr"][1] > 1


def test_a_rival_that_is_there_at_once_makes_the_ratio_an_upper_bound():
    there, late = (0.05, 0.05, 0.05, 0.05), (0.5, 0.3, 0.1, 0.05)
    curves = [curve("scratch", late, c) for c in "ab"] + [curve("base", there, c) for c in "ab"]
    curves += [curve("polished", late, "a"), curve("polished", there, "b")]
    rows = speedups(curves, ((100, 1.0),))
    over_base = next(r for r in rows if (r["init"], r["over"]) == ("polished", "base"))
    assert (over_base["lower_bounds"], over_base["upper_bounds"]) == (0, 1)  # b: both at once, a ratio of 1
    assert over_base["iqr"] == pytest.approx([0.25 + 0.75 * 0.25, 1 - 0.25 * 0.75])


def test_over_the_classic_unet_the_quality_is_its_own():
    curves = [
        curve("pix2pix_unet", (0.9, 0.6, 0.5, 0.4), "a"),
        curve("scratch", (0.5, 0.4, 0.2, 0.1), "a"),
        curve("polished", (0.5, 0.4, 0.3, 0.2), "a"),
    ]
    rows = speedups(curves, ((100, 1.0),))
    row = next(r for r in rows if (r["init"], r["over"]) == ("polished", "pix2pix_unet"))
    assert row["median"] == pytest.approx(4) and row["reached"] == 1  # .4 after 10 of 40 steps
    assert row["final_l1_ratio"] == pytest.approx(0.5)


def test_mean_curves_share_steps():
    rows = mean_curves([curve("base", (0.4, 0.2, 0.1, 0.1), "a"), curve("base", (0.2, 0.2, 0.1, 0.1), "b")])
    assert rows[0]["l1"][0] == pytest.approx(0.3) and rows[0]["seconds"][1] == pytest.approx(2.0)


# --- intervals


def test_paired_ratio_is_tighter_than_its_parts():
    rng = np.random.default_rng(0)
    base = rng.uniform(0.1, 0.3, 30)
    result = paired_ratio(0.8 * base + rng.normal(0, 0.002, 30), {"base": base, "copy": base * 2})
    assert result.rival == "base" and result.low < 0.8 < result.high and result.high - result.low < 0.02
    with pytest.raises(ValueError):
        paired_ratio([1.0], {"base": [1.0, 2.0]})


def test_censored_quantile():
    assert censored_quantile([1, 2, math.inf], 0.5) == 2
    assert censored_quantile([-math.inf, -math.inf, 2, 3], 0.5) == -math.inf
    assert math.isinf(censored_quantile([1, math.inf], 0.5))
    assert censored_quantile([1, 3], 0.5) == 2


def test_pooled_kid_of_a_perfect_method_is_zero():
    features = np.random.default_rng(0).normal(size=(4, 5, 16))
    value, (low, high) = pooled_kid(features, features, resamples=50)
    assert (
        value == pytest.approx(0, abs=1e-9) and low == pytest.approx(0, abs=1e-9) and high == pytest.approx(0, abs=1e-9)
    )
    worse, _ = pooled_kid(features + 1, features, resamples=20)
    assert worse > 0.1
    assert math.isnan(pooled_kid(features[:0], features[:0])[0])


def test_novelty_knows_a_copy():
    zoo = torch.randn(6, 3, 4, generator=torch.Generator().manual_seed(0))
    statistics = BlockStatistics.from_blocks(zoo, torch.ones(3, 4, dtype=torch.bool))
    rows = {row["init"]: row for row in novelty(zoo, {"copied": zoo[:2], "new": zoo[:2] + 5}, statistics)}
    assert rows["copied"]["nearest_min"] == pytest.approx(0, abs=1e-3) and rows["copied"]["closer_than_zoo_p5"] == 1
    samples = zoo[:2, None] + torch.tensor([0.0, 1e-3])[:, None, None]
    apart = diversity(samples, zoo, statistics)
    assert apart["pairwise_median"] < 0.01 < apart["zoo_pairwise_median"] and apart["networks"] == 2
    assert rows["copied"]["cosine_median"] == pytest.approx(1, abs=1e-5)
    assert rows["new"]["closer_than_zoo_p5"] == 0 and rows["new"]["zoo_cosine_median"] < 0.99
    assert rows["new"]["cosine_among"] > 0.9 > rows["new"]["zoo_cosine_among"]


def test_a_copy_makes_a_members_pictures_and_not_its_targets():
    random = torch.Generator().manual_seed(0)
    members, targets = (torch.rand(count, 7, 3, generator=random) for count in (5, 2))
    found = nearest_pictures(torch.stack([members[3], targets[1]]), targets, members)
    assert found.member[0] == 0 < found.target[0]
    assert found.target[1] == 0 < found.member[1]
    assert found.of_target[1] == found.member[1]
    assert found.member[1].item() == pytest.approx((members - targets[1]).abs().mean((1, 2)).min().item())


# --- goals


def test_goals_say_what_holds_and_what_does_not():
    ids = [str(i) for i in range(8)]
    zero = {
        ("combination", name): dict.fromkeys(ids, value)
        for name, value in {
            "generated": 0.1,
            "nearest": 0.2,
            "ridge": 0.15,
            "kernel_ridge": 0.12,
            "polished": 0.11,
            "own": 0.05,
        }.items()
    }
    zero |= {("external", name): dict.fromkeys(ids, value) for name, value in {"polished": 0.1, "copy": 0.2}.items()}
    # an error below one grey level counts as one
    zero[("value", "closed-form, 4 pairs")] = {"a": 0.05, "b": 0.0001}
    zero[("value", "closed-form-plain, 4 pairs")] = {"a": 0.2, "b": 0.001, "c": 0.1}
    rows = {row["claim"]: row for row in goals(zero, {}, [], [])}
    held = {claim: row["holds"] for claim, row in rows.items()}
    assert held["zero steps, combination: L1 of generated over the best of nearest, ridge, kernel_ridge"]
    assert not held["zero steps, combination: L1 of polished over generated"]
    assert not held["zero steps, combination: L1 of polished over own"]
    assert rows["4 pairs, value: L1 of closed-form over closed-form-plain, geometric mean"]["value"] == pytest.approx(
        0.5
    )
    assert held["zero steps, external: L1 of polished over copy"]
    assert not any("zero steps, value" in claim for claim in held)


# --- grids


def test_grids_are_complete():
    for name in GRIDS:
        grid = GRIDS[name]()
        assert set(grid.four_prompts) <= set(grid.inits)
        assert all(row.steps_of("scratch") >= row.steps for row in grid.finetune)
    assert {row.pairs for row in GRIDS["full"]().finetune} == {16, 64, 256, 1000}


def test_a_grid_is_narrowed_to_what_is_asked_of_it():
    grid = GRIDS["full"]()
    assert grid.narrowed(()) == grid
    narrow = grid.narrowed(["external"])
    assert narrow.splits == ("external",) and {row.split for row in narrow.finetune} == {"external"}
    assert grid.narrowed((), zero_steps_only=True).finetune == ()


def test_larger_pictures_are_fewer():
    grid = GRIDS["full"]()
    assert grid.for_pictures_of(64) == grid == grid.for_pictures_of(16)
    larger = grid.for_pictures_of(256)
    assert larger.test_images == larger.kid_images == 8 and grid.for_pictures_of(96).test_images == 14
    assert GRIDS["tiny"]().for_pictures_of(1024).test_images == 4


def test_learning_rates(tmp_path):
    rates = LearningRates({"base/full/16": 3e-3})
    assert rates.of("base", "full", 64) == 3e-3 and rates.of("scratch", "full", 16) == LEARNING_RATE
    write_json(tmp_path / "rates.json", {"chosen": [{"init": "base"}]})
    with pytest.raises(WeightzooError, match="learning_rate"):
        LearningRates.load(tmp_path / "rates.json")
    write_json(tmp_path / "rates.json", [])
    with pytest.raises(WeightzooError, match="rates.json"):
        LearningRates.load(tmp_path / "rates.json")


# --- held-out concepts


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with thumbnails():
        yield make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def evaluated(world):
    return evaluate(config_of(world), world / "out"), world / "out"


def test_every_zero_step_row_is_there(evaluated):
    results, _ = evaluated
    rows = {(r["split"], r["init"], r["prompts"]): r for r in results["zero_step"]}
    grid = toy_grid()
    absent = [init for init in grid.inits if init in FROM_PAIRS]  # no model of this evaluation reads pairs
    assert results["failures"] == [] and results["absent"] == absent
    for split in ("combination", "value", "external"):
        for init in (init for init in grid.inits if init not in absent):
            assert (split, init, 1) in rows and set(FIGURES) <= set(rows[split, init, 1])
            assert ((split, init, 4) in rows) == (init in grid.four_prompts)
    row = rows["combination", "copy", 1]
    assert row["n"] == 2 and row["feature_network"] == "efficientnet-lite0" and row["l1_interval"][0] <= row["l1"]
    # the source itself is off by the darkening: mean of a uniform source times 1 - 0.4 and 1 - 0.5
    assert row["l1"] == pytest.approx(0.275, abs=0.02)
    assert [r["n"] for r in results["near_duplicates"] if r["init"] == "copy"] == [1]
    # the targets are the sources times a factor: their fine bands are alike but for the factor
    assert row["fine_correlation"] == pytest.approx(1, abs=0.01)
    assert row["fine_energy"] == pytest.approx((1 / 0.4 + 1 / 0.5) / 2, rel=0.05)
    for init in ("closed-form", "closed-form-plain", "closed-form-colour"):
        solved = rows["combination", init, 1]
        assert solved["pairs"] == 4 and solved["n"] == 1 and solved["l1"] < 0.1 * row["l1"]
    claims = [row["claim"] for row in results["goals"]]
    assert "4 pairs, external: L1 of closed-form over closed-form-plain, geometric mean" in claims


def test_evaluation_json_is_strict_json(evaluated):
    results, out = evaluated
    stored = json.loads((out / "evaluation.json").read_text(), parse_constant=lambda text: pytest.fail(text))
    assert stored == json.loads(json.dumps(results))
    assert {"zero_step", "speedup", "final", "curves", "fleet"} <= set(stored)
    assert {row["k"] for row in stored["fleet"]} == {1, 2, None}


def test_fine_tuning_rows(evaluated):
    results, out = evaluated
    finals = {(r["mode"], r["init"]): r for r in results["final"]}
    assert set(finals) == {
        ("full", "scratch"),
        ("full", "base"),
        ("full", "polished"),
        ("full", "own"),
        ("full", "copy"),
        ("full", "closed-form-plain"),
        ("adapter", "base"),
        ("adapter", "polished"),
    }
    scratch = finals["full", "scratch"]
    assert scratch["steps"] == 6 and scratch["l1_over_scratch"] == 1 and scratch["n"] == 2
    assert scratch["seconds"] == pytest.approx(scratch["init_seconds"] + 6 * scratch["step_seconds"])
    assert finals["full", "own"]["init_seconds"] > finals["full", "base"]["init_seconds"]
    curves = {(r["mode"], r["init"]): r for r in results["curves"]}
    assert curves["full", "base"]["steps"] == [0, 4] and curves["full", "scratch"]["steps"] == [0, 6]
    # merged and unmerged starts are the same network
    assert curves["full", "base"]["l1"][0] == pytest.approx(curves["adapter", "base"]["l1"][0], abs=1e-5)
    networks = sorted(path.name for path in (out / "networks").iterdir())
    assert len(networks) == 7 and all(name.startswith("fine-") for name in networks)
    copied, solved = finals["full", "copy"], finals["full", "closed-form-plain"]
    assert copied["steps"] == solved["steps"] == 0 and copied["seconds"] == 0 < solved["seconds"]
    assert solved["l1"] < copied["l1"] and all(set(FIGURES) <= set(row) for row in finals.values())
    assert not {"copy", "closed-form-plain"} & {r["init"] for r in (*results["speedup"], *results["curves"])}


def test_short_trainings_stand_apart(evaluated):
    results, out = evaluated
    rows = {(r["mode"], r["init"]): r for r in results["budgets"]}
    assert set(rows) == {("full", "scratch"), ("full", "polished"), ("adapter", "polished")}
    assert all(r["steps"] == 2 and r["n"] == 2 and r["l1"] > 0 for r in rows.values())
    finals = {(r["mode"], r["init"]): r for r in results["final"]}
    for row in rows.values():
        assert row["seconds"] < finals[row["mode"], row["init"]]["seconds"]
    cell = next((out / "cells").glob("fine-in-2-full-8-polished-*.json"))
    assert read_json(cell)["steps"] == [0, 2] and not cell.with_suffix(".safetensors").exists()


def test_step_zero_is_the_zero_step_cell(evaluated):
    results, out = evaluated
    cell = read_json(out / "cells" / "zero-combination-polished-1.json")
    for path in (out / "cells").glob("fine-full-8-polished-*.json"):
        fine = read_json(path)
        zero = cell["l1"][cell["concepts"].index(fine["concept"])]
        assert fine["l1"][0] == pytest.approx(zero, abs=1e-5)


def test_again_does_nothing_and_a_lost_cell_is_made_again(evaluated, world):
    results, out = evaluated
    before = {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    lost = next((out / "cells").glob("fine-full-8-base-*.json"))
    content = lost.read_text()
    lost.unlink()
    again = evaluate(config_of(world), out)
    changed = {path for path in before if path.stat().st_mtime_ns != before[path]}
    assert lost in changed
    assert changed == set((out / "cells").glob("fine-full-8-base-*"))  # its fleet's, and no other's
    strip = lambda text: {k: v for k, v in json.loads(text).items() if k != "fleet_seconds"}  # noqa: E731
    assert strip(lost.read_text()) == strip(content)
    assert again["final"] == results["final"] and again["zero_step"] == results["zero_step"]


def test_a_diverged_fine_tuning_is_kept_as_never_reached(evaluated, world, tmp_path):
    _, out = evaluated
    shutil.copytree(out, tmp_path / "out")
    cell = next((tmp_path / "out" / "cells").glob("fine-full-8-polished-*.json"))
    content = read_json(cell)
    write_json(cell, {**content, "l1": [content["l1"][0], None], "psnr": [1.0, None], "diverged": True})
    short = next((tmp_path / "out" / "cells").glob("fine-in-2-full-8-polished-*.json"))
    write_json(short, {**read_json(short), "l1": [None, None], "diverged": True})
    results = evaluate(config_of(world), tmp_path / "out")
    row = next(r for r in results["final"] if (r["mode"], r["init"]) == ("full", "polished"))
    assert row["diverged"] == 1 and row["l1"] is None and row["n"] == 2
    assert {r["l1"] for r in results["budgets"] if r["init"] == "polished" and r["mode"] == "full"} == {None}
    assert all(r["n"] == 2 for r in results["speedup"])
    assert "diverged; quality that was not reached" in render(results)


def test_another_setting_is_refused(evaluated, world):
    _, out = evaluated
    with pytest.raises(WeightzooError, match="seed: 0 -> 1"):
        evaluate(config_of(world, seed=1), out)
    other = LearningRates({"base/full/8": 3e-3})
    with pytest.raises(WeightzooError, match="learning_rates.chosen.base/full/8"):  # half of the cells have another one
        evaluate(config_of(world, learning_rates=other), out)


def test_an_evaluation_of_another_version_is_refused(world, tmp_path):
    write_json(tmp_path / "config.json", {"learning_rates": None})
    with pytest.raises(WeightzooError, match=r"config\.json: .* another version .* choose another folder"):
        evaluate(config_of(world), tmp_path)


def test_an_own_adapter_that_diverges_is_missed_alone(world, tmp_path, monkeypatch):
    def poisoned(*args, **more):
        result = train_fleet(*args, **more)
        if "on_step" in more:  # fine-tuning
            return result
        return replace(result, diverged=torch.tensor([True, False]), reasons=["at step 0", None])

    rows = (FinetuneRow("combination", 8, "full", ("polished", "own"), 2, 6, 4),)
    grid = toy_grid(inits=("copy", "base", "polished", "own"), own_splits=("combination",), own_concepts=2)
    grid = replace(grid, finetune=rows, splits=("combination",), four_prompts=())
    monkeypatch.setattr(cells, "train_fleet", poisoned)
    results = evaluate(config_of(world, grid=grid), tmp_path)
    (failure,) = results["failures"]
    assert "diverged" in failure["reason"] and "at step 0" in failure["reason"]
    zero = {row["init"]: row["n"] for row in results["zero_step"]}
    final = {row["init"]: row["n"] for row in results["final"]}
    assert (zero["polished"], zero["own"]) == (2, 1) and final == {"polished": 2, "own": 1}
    monkeypatch.setattr(cells, "train_fleet", train_fleet)
    later = evaluate(config_of(world, grid=grid), tmp_path)
    assert {row["n"] for row in (*later["zero_step"], *later["final"])} == {2} and not later["failures"]


def test_concepts_may_have_unequal_numbers_of_test_pairs(world, tmp_path):
    shutil.copytree(world / "heldout", tmp_path / "heldout")
    for half in ("source", "target"):
        (tmp_path / "heldout" / "combination-blue" / "test" / half / "p003.png").unlink()
    rows = (FinetuneRow("combination", 8, "full", ("scratch", "polished"), 3, 2, 2),)
    grid = toy_grid(inits=("copy", "base"), own_concepts=0, finetune=rows)
    grid = replace(grid, splits=("combination",), four_prompts=(), finetune_fleet=1)
    config = config_of(world, grid=grid, pairs_dirs=(str(tmp_path / "heldout"),))
    results = evaluate(config, tmp_path / "out")
    assert {row["n"] for row in results["final"]} == {2} and results["failures"] == []


def test_last_bits_choose_no_learning_rate(tmp_path):
    row = FinetuneRow("validation", 16, "full", ("base",), 1, 4, 4)
    first, second = trial_tasks(str(tmp_path), row, "base", ["soft"])
    for task, l1 in ((first, 0.1), (second, 0.1 - 1e-6)):
        write_json(task.cell_path("soft"), {"l1": [l1], "diverged": False})
    assert choose(("base", "full", 16), [first, second])["learning_rate"] == first.learning_rate


def test_a_picture_that_is_not_finite_leaves_a_gap():
    cell = {"split": "value", "init": "base", "prompts": 1, "pairs": 0, "concepts": ["a", "b"]}
    cell |= {name: [0.9, None] for name in FIGURES} | {"kid": None, "kid_interval": None}
    cell |= {"feature_network": "x", "kid_images": 4}
    ((row,), _) = summarise([cell], frozenset(), 20)
    assert math.isnan(row["l1"]) and math.isnan(row["psnr"]) and row["n"] == 2


def test_a_diverged_trial_cannot_win(tmp_path):
    row = FinetuneRow("validation", 16, "full", ("base",), 1, 4, 4)
    low, high = trial_tasks(str(tmp_path), row, "base", ["soft"])
    write_json(low.cell_path("soft"), {"l1": [0.5, 0.1], "diverged": True})
    write_json(high.cell_path("soft"), {"l1": [0.5, 0.3], "diverged": False})
    assert choose(("base", "full", 16), [low, high])["learning_rate"] == high.learning_rate
    high.cell_path("soft").unlink()
    assert choose(("base", "full", 16), [low, high]) is None


def test_a_budget_cuts_whole_concepts_and_says_so(world):
    grid = toy_grid(finetune=toy_grid().finetune[:1], inits=("copy",), four_prompts=(), own_concepts=0)
    results = evaluate(config_of(world, grid=grid), world / "cut", seconds=0.0)
    assert results["final"] == []
    assert results["cut"] == [{"split": "combination", "mode": "full", "pairs": 8, "concepts": 0, "planned": 2}]


def test_missing_models_are_named(world):
    grid = toy_grid(finetune=(), inits=("copy", "base", "generated", "polished"), splits=("external",), own_concepts=0)
    models = {"generated": str(world / "models" / "generated"), "control": str(world / "models" / "polished")}
    results = evaluate(config_of(world, grid=grid, models=models), world / "few")
    assert results["absent"] == ["polished"]
    assert {row["init"] for row in results["zero_step"]} == {"copy", "base", "generated", "control"}


def test_learning_rates_are_chosen_with_equal_trials(world):
    grid = toy_grid(finetune=(FinetuneRow("combination", 8, "full", ("scratch", "base"), 2, 3, 2),))
    chosen = choose_learning_rates(config_of(world, grid=grid), world / "rates")
    assert chosen["concepts"] == ["validation-soft"]
    assert [len(row["trials"]) for row in chosen["chosen"]] == [len(TRIALS)] * 2
    best = chosen["chosen"][0]
    assert best["l1"] == min(trial["l1"] for trial in best["trials"])
    rates = LearningRates.load(world / "rates" / "learning_rates.json")
    assert rates.of("base", "full", 8) in {trial["learning_rate"] for trial in chosen["chosen"][1]["trials"]}


def test_held_out_reads_and_complains(world, tmp_path):
    held_out = HeldOut.open([world / "heldout", world / "external"])
    assert len(held_out.concepts("combination")) == 3 and len(held_out.concepts("combination", 2)) == 2
    (concept,) = (c for c in held_out.all_concepts if c.id == "combination-blue")
    assert wordings(concept, 1) == ["please blue"] and len(wordings(concept, 4)) == 4
    shutil.copytree(world / "heldout", tmp_path / "more")
    (tmp_path / "more" / "combination-blue" / "train" / "source" / ".DS_Store").write_bytes(b"not a picture")
    assert HeldOut.open([tmp_path / "more"]).count("combination-blue", "train") == 8
    (tmp_path / "more" / "combination-blue" / "train" / "source" / "p003.png").write_bytes(b"not a picture")
    few = HeldOut.open([tmp_path / "more"]).pairs("combination-blue", "train", 16, 3)  # no more are decoded
    assert torch.equal(few[0], held_out.pairs("combination-blue", "train", 16, 3)[0])
    with pytest.raises(WeightzooError, match="8 pairs, and 9 are needed"):
        held_out.pairs("combination-blue", "train", 16, 9)
    with pytest.raises(WeightzooError, match="rename one"):
        HeldOut.open([world / "heldout", world / "heldout"])
    write_concepts(tmp_path / "concepts.jsonl", [concept])
    with pytest.raises(WeightzooError, match="materialise"):
        HeldOut.open([tmp_path])


def test_shuffled_moves_everyone(world):
    concepts = HeldOut.open([world / "heldout"]).concepts("combination")
    moved = shuffled(concepts)
    assert sorted(c.id for c in moved) == sorted(c.id for c in concepts)
    assert all(a.id != b.id for a, b in zip(concepts, moved, strict=True))


def test_starts_of_another_zoo_are_refused(world, tmp_path):
    info = read_json(world / "models" / "polished" / "weightgen.json")
    own = Origins(world / "zoo", {"polished": world / "models" / "polished"})
    check_models(own)
    assert is_available(own, "shuffled") and not is_available(own, "generated")
    folder = tmp_path / "polished"
    write_json(folder / "weightgen.json", {**info, "base_sha256": "0" * 64})
    with pytest.raises(WeightzooError, match="another zoo"):
        check_models(Origins(world / "zoo", {"polished": folder}))


@pytest.mark.parametrize(("mode", "init"), [("full", "polished"), ("adapter", "polished"), ("full", "scratch")])
def test_a_cell_is_what_a_user_gets(evaluated, world, tmp_path, mode, init):
    results, out = evaluated
    cell = read_json(out / "cells" / f"fine-{mode}-8-{init}-combination-blue.json")
    pairs = world / "heldout" / "combination-blue"
    shutil.copytree(pairs / "test", tmp_path / "test")
    for half in ("source", "target"):
        (tmp_path / "test" / half / "p003.png").unlink()  # the grid takes three
    config = FinetuneConfig(mode=mode, steps=cell["steps"][-1], feature_network=None)
    origins = Origins(world / "zoo", world / "models")
    done = finetune(pairs / "train", "please blue", init, tmp_path / "out", origins, config, tmp_path / "test")
    assert cell["l1"][-1] == pytest.approx(done["best"]["l1"], abs=1e-4)
    assert cell["l1"][0] == pytest.approx(done["first"]["l1"], abs=1e-4)
    assert results["finetuning"] == json.loads(json.dumps(shared_training()))
    network = out / "networks" / f"fine-{mode}-8-{init}-combination-blue.safetensors"
    photos = torch.rand(2, 3, 16, 16)
    assert torch.allclose(load_network(network)(photos), load_network(tmp_path / "out")(photos), atol=1e-3)


def test_a_folder_that_an_earlier_version_began_is_read_but_not_gone_on_with(evaluated, world, tmp_path):
    _, out = evaluated
    shutil.copytree(out, tmp_path / "out")
    config = read_json(out / "config.json")
    del config["finetuning"]
    config["grid"]["points"] = [0, 2, 4]
    write_json(tmp_path / "out" / "config.json", config)
    assert load_context(str(tmp_path / "out")).config.grid == toy_grid()
    with pytest.raises(WeightzooError, match="another version of weightzoo"):
        evaluate(config_of(world), tmp_path / "out")
    del config["figures"]
    write_json(tmp_path / "out" / "config.json", config)
    with pytest.raises(WeightzooError, match="lacks figures .*fine_energy"):
        evaluate(config_of(world), tmp_path / "out")


def test_a_network_of_pixels_is_kept_with_what_training_does_not_change(tmp_path):
    network = SolvedConfig(4, 4, 4, 4, image_size=16, branches=("whole",), hidden=4).build()
    params = {name: torch.stack([value, value + 0.1]) for name, value in free_parameters(network).items()}
    start = Start(network, params, torch.nn.Identity())
    save_base(tmp_path / "kept.safetensors", network_of(SimpleNamespace(start=start, params=params), 1))
    kept = load_generator(tmp_path / "kept.safetensors").state_dict()
    own = network.state_dict() | {name: value[1] for name, value in params.items()}
    assert kept.keys() == own.keys() and all(torch.equal(kept[name], own[name]) for name in own)


def test_memory_is_bounded_at_any_image_size(evaluated, world):
    _, out = evaluated
    assert concepts_at_once(8, 256) == 8 and concepts_at_once(32, 1024) == concepts_at_once(32, 4096) == 1
    context = load_context(str(out.resolve()))

    def sizes(base):  # of fleets with 16 pairs of each concept
        given = {"config": context.config, "origins": SimpleNamespace(base=base)}
        return [fleet_size(SimpleNamespace(size=side, **given), 8, 16) for side in (64, 256, 1024)]

    assert sizes(E2ganConfig().build()) == [8, 1, 1]
    assert sizes(SolvedConfig(4, 4, 4, 4).build()) == [8, 8, 1]  # of whose pictures a step takes pixels only


def test_decoded_pairs_are_kept_up_to_a_limit(world, monkeypatch):
    held_out = HeldOut.open([world / "heldout"])
    first = held_out.stacked(["combination-blue"], "test", 16, 2)
    monkeypatch.setattr(held_out_pairs, "KEPT_BYTES", 2 * 2 * 3 * 16 * 16)
    held_out.stacked(["combination-pink"], "test", 16, 2)
    assert [key[0] for key in held_out.kept] == ["combination-pink"]
    again = held_out.stacked(["combination-blue"], "test", 16, 2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_own_adapters_leave_out_near_duplicates(evaluated):
    _, out = evaluated
    assert own_path(out, "combination-blue").exists() and own_path(out, "combination-pink").exists()
    assert not own_path(out, "combination-teal").exists()

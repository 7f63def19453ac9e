"""Fleet training: fused equals one at a time, concepts do not touch each other, schedules and clocks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from zoo.adapters.lora import adapter_names, free_parameters, initial_adapter, load_adapter, merge
from zoo.errors import WeightzooError
from zoo.gans.e2gan import E2ganConfig
from zoo.gans.patchgan import PatchGanConfig
from zoo.gans.solved import SolvedConfig
from zoo.training.batches import material_of
from zoo.training.train_gan import (
    GanTrainConfig,
    learning_rate_factor,
    run_generators,
    stack,
    train_fleet,
)

CONFIG = GanTrainConfig(steps=4, batch_size=2, learning_rate=1e-2)


GANS = {
    "e2gan": E2ganConfig(channels=(4, 4, 8, 8), lora_rank=2, attention_rank=2, heads=2, groups=2, image_size=16),
    "solved": SolvedConfig(8, 8, 8, 8, image_size=16, branches=("whole",), hidden=8, lora_rank=2),
}


@pytest.fixture(scope="module", params=GANS)
def gan(request):
    torch.manual_seed(0)
    return GANS[request.param].build().requires_grad_(False), PatchGanConfig(channels=(4, 8)).build()


@pytest.fixture(scope="module")
def pairs():
    generator = torch.Generator().manual_seed(1)
    sources = torch.rand(6, 3, 16, 16, generator=generator)
    return sources, torch.rand(8, 6, 3, 16, 16, generator=generator)


def test_averaged_weights_are_the_average_of_the_path(gan, pairs):
    """Training itself is the same; with `ema` each step shows, and the end returns, its weighted mean so far."""
    path, shown = [], []
    train(*gan, pairs[0], pairs[1][:2], CONFIG, on_step=lambda _, __, p: path.append(copy(p)))
    config = replace(CONFIG, ema=0.98)
    result = train(*gan, pairs[0], pairs[1][:2], config, on_step=lambda _, __, p: shown.append(copy(p)))
    expected = path[0]
    for step, params in enumerate(path):
        decay = min(0.98, step / (step + 9)) if step else 1.0
        expected = {name: decay * value + (1 - decay) * params[name] for name, value in expected.items()}
        for name, value in expected.items():
            torch.testing.assert_close(shown[step][name], value)
    assert all(torch.equal(result.params[name], shown[-1][name]) for name in shown[-1])
    assert any(not torch.equal(value, path[-1][name]) for name, value in result.params.items())


def train(generator, discriminator, sources, targets, config, **more):
    return train_fleet(generator, discriminator, material_of(generator, sources, targets), config, **more)


def copy(params):
    return {name: value.detach().clone() for name, value in params.items()}


@pytest.mark.parametrize("mode", ["adapter", "full"])
def test_a_fused_fleet_equals_its_concepts_one_at_a_time(gan, pairs, mode):
    sources, targets = pairs
    config = GanTrainConfig(steps=4, batch_size=2, learning_rate=1e-3, mode=mode)
    fused = train(*gan, sources, targets[:3], config)
    for k in range(3):
        alone = train(*gan, sources, targets[k : k + 1], config)
        for name, value in alone.params.items():
            torch.testing.assert_close(fused.params[name][k], value[0], atol=2e-4, rtol=1e-3, msg=name)


def test_a_poisoned_concept_ends_alone(gan, pairs):
    sources, targets = pairs
    clean = train(*gan, sources, targets, CONFIG)
    poisoned = targets.clone()
    poisoned[3] = torch.nan
    result = train(*gan, sources, poisoned, CONFIG)
    assert result.diverged.tolist() == [k == 3 for k in range(8)]
    assert result.reasons[3] == "loss or gradient not finite at step 0" and result.reasons.count(None) == 7
    others = [k for k in range(8) if k != 3]
    for name, value in clean.params.items():
        assert torch.equal(result.params[name][others], value[others]), name
    start = initial_adapter(gan[0])
    assert any(not torch.equal(value[0], start[name]) for name, value in clean.params.items())


def test_training_brings_the_loss_down(gan, pairs):
    sources, _ = pairs
    targets = (1 - sources)[None]
    before = (run_generators(gan[0], stack(initial_adapter(gan[0]), 1), sources) - targets).abs().mean()
    result = train(*gan, sources, targets, GanTrainConfig(steps=60, batch_size=4, learning_rate=1e-2))
    after = (run_generators(gan[0], result.params, sources) - targets).abs().mean()
    assert after < 0.5 * before


def test_bfloat16_passes_train_float32_weights_to_nearly_the_same_place(gan, pairs):
    config = GanTrainConfig(steps=20, batch_size=4, learning_rate=1e-2)
    full, half = (
        train(*gan, pairs[0], pairs[1][:2], replace(config, precision=name)) for name in ("float32", "bfloat16")
    )
    assert half.losses.dtype == torch.float32
    assert all(value.dtype == torch.float32 for value in half.params.values())
    assert not torch.equal(full.losses, half.losses)
    torch.testing.assert_close(half.losses, full.losses, atol=0.02, rtol=0.1)


def test_kernels_have_their_own_learning_rate(gan, pairs):
    config = GanTrainConfig(steps=3, batch_size=2, learning_rate=1e-2, mode="full")
    plain = merge(gan[0])
    start, quick = free_parameters(plain), set(adapter_names(plain))
    still = train(plain, gan[1], pairs[0], pairs[1][:1], replace(config, kernel_rate=0.0)).params
    moved = {name for name, value in still.items() if not torch.equal(value[0], start[name])}
    assert moved and moved <= quick < set(start)
    slow = train(plain, gan[1], pairs[0], pairs[1][:1], replace(config, kernel_rate=0.1)).params
    fast = train(plain, gan[1], pairs[0], pairs[1][:1], config).params
    kernel = next(name for name in start if name.endswith(("conv1.weight", "second.weight")))
    assert 0 < (slow[kernel][0] - start[kernel]).norm() < 0.5 * (fast[kernel][0] - start[kernel]).norm()


def test_two_runs_are_bit_equal(gan, pairs):
    first, second = (train(*gan, pairs[0], pairs[1][:2], CONFIG) for _ in range(2))
    assert all(torch.equal(first.params[name], second.params[name]) for name in first.params)


def test_run_generators_equals_single_networks_and_their_merged_form(gan, pairs):
    generator, sources = gan[0], pairs[0]
    own = {name: value + 0.1 * torch.randn_like(value) for name, value in stack(initial_adapter(generator), 2).items()}
    images = run_generators(generator, own, sources)
    per_concept = run_generators(generator, own, torch.stack([sources, sources]))
    torch.testing.assert_close(images, per_concept)
    for k in range(2):
        adapter = {name: value[k] for name, value in own.items()}
        for network in (load_adapter(generator, adapter), merge(generator, adapter)):  # which may not clamp
            edited = network(sources).clamp(0, 1)
            torch.testing.assert_close(edited, images[k].clamp(0, 1), atol=1e-5, rtol=1e-4)


def test_a_time_budget_ends_training_and_the_clock_stops_for_callbacks(gan, pairs, monkeypatch):
    now, seen = 0.0, []

    def clock(device):
        nonlocal now
        now += 0.5  # each is read before and after a step
        return now

    def on_step(step, seconds, params):
        nonlocal now
        now += 100.0
        seen.append((step, seconds))

    monkeypatch.setattr("zoo.training.train_gan.clock", clock)
    result = train(*gan, pairs[0], pairs[1][:1], CONFIG, seconds=1.5, on_step=on_step)
    assert result.steps == 3 and result.seconds == 1.5
    assert seen == [(0, 0.0), (1, 0.5), (2, 1.0), (3, 1.5)]


def test_the_cosine_schedule_ends_near_zero():
    config = GanTrainConfig(steps=100)
    factors = [learning_rate_factor(config, step / 100) for step in range(100)]
    assert max(factors) <= 1 and factors[0] < 0.5 and factors[99] < 0.001 and factors[5] > 0.95


def test_unknown_modes_and_schedules_are_errors(gan, pairs):
    with pytest.raises(WeightzooError, match="unknown training mode 'half'"):
        train(*gan, pairs[0], pairs[1][:1], GanTrainConfig(steps=1, mode="half"))
    with pytest.raises(WeightzooError, match="unknown schedule 'step'"):
        train(*gan, pairs[0], pairs[1][:1], GanTrainConfig(steps=1, schedule="step"))

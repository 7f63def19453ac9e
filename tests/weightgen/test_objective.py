"""The objective: masking, targets, one step equals one step of the scheduler, guidance, a known posterior."""

import pytest
import torch
from torch import nn

from weightgen.objective import LAST_TIMESTEP, ObjectiveConfig, ddim, loss, make_scheduler, one_step, sample
from weightgen.text import TextStates

SHAPE = (3, 8)  # num_blocks, block_size


class Recorder(nn.Module):
    """A denoiser that answers `answer` and remembers what it was asked."""

    independent_blocks = False

    def __init__(self, answer):
        super().__init__()
        self.answer = answer
        self.settings = {"num_blocks": SHAPE[0], "block_size": SHAPE[1]}
        self.calls = []

    def forward(self, noisy, timesteps, tokens, mask, pooled):
        self.calls.append((noisy, timesteps, mask))
        return self.answer(noisy, timesteps, mask)


def texts(batch: int) -> TextStates:
    mask = torch.ones(batch, 4, dtype=torch.bool)
    return TextStates(torch.randn(batch, 4, 6), mask, torch.randn(batch, 6))


MASK = torch.ones(SHAPE, dtype=torch.bool)


def test_loss_ignores_padding_and_is_zero_for_the_truth():
    config = ObjectiveConfig()
    mask = MASK.clone()
    mask[1, 5:] = False
    clean = torch.randn(64, *SHAPE) * mask
    wrong_on_padding = Recorder(lambda *_: clean + 100.0 * ~mask)
    assert loss(wrong_on_padding, clean, texts(64), mask, make_scheduler(config), config) == 0
    off_by_two = Recorder(lambda *_: clean + 2)
    value = loss(off_by_two, clean, texts(64), mask, make_scheduler(config), config)
    assert float(value) == pytest.approx(4, rel=1e-5)


def test_noise_levels_and_prompt_dropout_come_in_their_shares():
    torch.manual_seed(0)
    config = ObjectiveConfig()
    clean = torch.randn(8000, *SHAPE)
    denoiser = Recorder(lambda *_: clean)
    loss(denoiser, clean, texts(8000), MASK, make_scheduler(config), config)
    noisy, timesteps, mask = denoiser.calls[0]
    last = timesteps == LAST_TIMESTEP
    assert last.float().mean() == pytest.approx(0.9, abs=0.03)
    assert (noisy[last].abs().amax((1, 2)) < 1e-3).float().mean() == pytest.approx(0.5, abs=0.05)
    assert mask.any(1).float().mean() == pytest.approx(0.9, abs=0.03)
    assert noisy[timesteps < 20].sub(clean[timesteps < 20]).abs().mean() < 0.1


def test_v_target_is_consistent_with_x0():
    config = ObjectiveConfig(target="v")
    scheduler = make_scheduler(config)
    clean = torch.randn(16, *SHAPE)

    def velocity(noisy, timesteps, mask):
        a = scheduler.alphas_cumprod[timesteps].sqrt()[:, None, None]
        s = (1 - a**2).sqrt()
        return (a * noisy - clean) / s  # v = (a x_t - x0) / s

    value = loss(Recorder(velocity), clean, texts(16), MASK, scheduler, config)
    assert float(value) < 1e-3
    predicted = one_step(Recorder(velocity), texts(16), target="v")
    torch.testing.assert_close(predicted, clean, atol=1e-3, rtol=0)


@pytest.mark.parametrize("target", ["x0", "v"])
def test_one_step_is_the_scheduler_s_single_step(target):
    scheduler = make_scheduler(ObjectiveConfig(target=target))
    answer = torch.randn(2, *SHAPE)
    denoiser = Recorder(lambda *_: answer)
    noise = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    sampled = sample(denoiser, texts(2), noise, sampler=ddim(scheduler, 1))
    assert denoiser.calls[0][1].tolist() == [LAST_TIMESTEP] * 2
    torch.testing.assert_close(one_step(denoiser, texts(2), noise, target), sampled, atol=1e-3, rtol=0)


@pytest.mark.parametrize("target", ["x0", "v"])
def test_many_steps_sample_a_known_distribution(target):
    """For clean ~ N(3, 0.5^2) the best prediction is known; sampling with it gives that distribution."""
    torch.manual_seed(0)
    scheduler = make_scheduler(ObjectiveConfig(target=target))

    def best(noisy, timesteps, mask):
        a = scheduler.alphas_cumprod[timesteps].sqrt()[:, None, None]
        s = (1 - a**2).sqrt()
        clean = 3 + a * 0.25 / (a**2 * 0.25 + s**2) * (noisy - a * 3)
        return clean if target == "x0" else (a * noisy - clean) / s

    noise = torch.randn(500, *SHAPE, generator=torch.Generator().manual_seed(0))
    sampled = sample(Recorder(best), texts(500), noise, sampler=ddim(scheduler, 50))
    assert float(sampled.mean()) == pytest.approx(3, abs=0.03)
    assert float(sampled.std()) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("steps", [None, 1])
def test_guidance_extrapolates_from_no_prompt(steps):
    def answer(noisy, timesteps, mask):
        return torch.where(mask.any(1)[:, None, None], torch.ones_like(noisy), torch.full_like(noisy, 0.5))

    sampler = ddim(make_scheduler(ObjectiveConfig()), steps) if steps else None
    sampled = sample(Recorder(answer), texts(2), torch.zeros(2, *SHAPE), sampler=sampler, guidance_scale=3.0)
    torch.testing.assert_close(sampled, torch.full((2, *SHAPE), 2.0), atol=1e-3, rtol=0)

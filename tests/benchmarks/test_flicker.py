"""The measure of flicker counts what changes where the source does not."""

import numpy as np
import pytest

from benchmarks.films.flicker import flicker, pan
from pipeline.sources import load_photos


def test_an_edit_of_single_pixels_does_not_flicker_on_a_pan():
    frames = pan(load_photos("test")[0], 48, 5, 3)
    assert flicker(frames, [255 - frame for frame in frames], 3) == (0, 0)


def test_light_that_jumps_is_counted():
    frames = [np.full((20, 30, 3), 90, np.uint8)] * 4
    edits = [frame + np.uint8(6 * (number % 2)) for number, frame in enumerate(frames)]
    assert flicker(frames, edits) == pytest.approx((6, 6))


def test_noise_is_no_jump_of_light_and_what_moves_is_left_out():
    rng = np.random.default_rng(0)
    frames = [np.full((200, 300, 3), 90, np.uint8) for _ in range(4)]
    edits = [frame + rng.integers(-3, 4, frame.shape).astype(np.int8) for frame in frames]
    measured = flicker(frames, edits)
    assert measured.pixels > 2 and measured.light < 0.1
    frames[1][:, :150] += 50
    assert flicker(frames, frames) == (0, 0)

"""Films: size, times, sound and colours stay, what is global is carried, and no half film is left."""

from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np
import pytest
import torch

from tests.zoo.pictures.test_apply import generator, photograph
from zoo.adapters.lora import save_base
from zoo.editing import film
from zoo.editing.carried import Carried
from zoo.editing.edit import Edit
from zoo.editing.film import edit_film
from zoo.errors import WeightzooError
from zoo.gans.solved import SolvedConfig
from zoo.pictures.apply import edit_photo, to_tensor

FRAMES = 5
TIMES = (0, 1, 2, 5, 9)  # of the frames: their rate varies


def pan(height=48, width=64, step=4) -> list[np.ndarray]:
    """Frames that move over a picture."""
    wide = photograph(height, width + step * FRAMES)
    return [np.ascontiguousarray(wide[:, i * step : i * step + width]) for i in range(FRAMES)]


def write_film(path, frames, sound=True) -> None:
    with av.open(path, "w") as target:
        stream = target.add_stream("libx264", rate=25, options={"crf": "4"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, 25)
        if sound:
            tone = target.add_stream("aac", rate=16000, layout="mono")
            for start in range(4):
                wave = np.sin(np.arange(1024 * start, 1024 * (start + 1)) / 9)[None].astype(np.float32)
                samples = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
                samples.sample_rate, samples.pts = 16000, 1024 * start
                target.mux(tone.encode(samples))
            target.mux(tone.encode())
        for pixels, time in zip(frames, TIMES, strict=False):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 25)
            target.mux(stream.encode(frame))
        target.mux(stream.encode())


def read_film(path) -> tuple[list[np.ndarray], list[float], list[bytes]]:
    """Frames, the times of frames and sound in seconds after the first sound, and the packets of the sound."""
    with av.open(path) as source:
        packets = [packet for packet in source.demux(audio=0) if packet.size] if source.streams.audio else []
        sound = [(float(packet.pts * packet.time_base), bytes(packet)) for packet in packets]
    with av.open(path) as source:
        frames = list(source.decode(video=0))
    times = [float(frame.time) for frame in frames] + [time for time, _ in sound]
    first = sound[0][0] if sound else 0.0
    pictures = [frame.to_ndarray(format="rgb24") for frame in frames]
    return pictures, [time - first for time in times], [data for _, data in sound]


@pytest.fixture
def weights(tmp_path):
    save_base(tmp_path / "g.safetensors", generator())
    return tmp_path / "g.safetensors"


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_sound_times_and_colours_stay(tmp_path, weights, suffix):
    write_film(tmp_path / "film.mp4", pan())
    assert edit_film(Edit(weights, strength=0), tmp_path / "film.mp4", tmp_path / f"out.{suffix}") == FRAMES
    before, after = read_film(tmp_path / "film.mp4"), read_film(tmp_path / f"out.{suffix}")
    assert after[1] == pytest.approx(before[1], abs=1e-3) and after[2] == before[2] and before[2]
    for one, other in zip(before[0], after[0], strict=True):
        assert one.shape == other.shape
        difference = one.astype(int) - other  # colours have half the resolution, and are compressed twice
        assert np.abs(difference).mean() < 5 and np.abs(difference.mean((0, 1))).max() < 1


def test_frames_are_edited(tmp_path, weights):
    frames = pan()
    write_film(tmp_path / "film.mp4", frames, sound=False)
    edit_film(Edit(weights), tmp_path / "film.mp4", tmp_path / "out.mp4", keep=0)
    source, edited = read_film(tmp_path / "film.mp4")[0], read_film(tmp_path / "out.mp4")[0]
    for one, other in zip(source, edited, strict=True):
        wanted = edit_photo(generator(), one).astype(int)
        assert np.abs(wanted - other).mean() < 0.5 * np.abs(wanted - one).mean()


def test_the_colour_space_of_high_definition_is_kept_and_named(tmp_path, weights, monkeypatch):
    write_film(tmp_path / "film.mp4", pan())
    monkeypatch.setattr(film, "HIGH_DEFINITION", 10)  # a film without a colour space is one of BT.709 then
    edit_film(Edit(weights, strength=0), tmp_path / "film.mp4", tmp_path / "hd.mp4")
    with av.open(tmp_path / "hd.mp4") as result:
        frame = next(result.decode(video=0))
        assert frame.colorspace == film.BT709
        difference = frame.to_ndarray(format="rgb24", src_colorspace=film.BT709).astype(int)
        with av.open(tmp_path / "film.mp4") as source:
            difference -= next(source.decode(video=0)).to_ndarray(format="rgb24", src_colorspace=film.BT709)
        assert np.abs(difference).mean() < 5 and np.abs(difference.mean((0, 1))).max() < 1


def test_what_is_global_is_carried():
    network = SolvedConfig(image_size=32).build().eval()
    lights = (1, 0.8, 1, 0.8, 1)
    frames = [(pixels * light).astype(np.uint8) for pixels, light in zip(pan(), lights, strict=True)]
    own = [network.global_context(to_tensor(pixels)) for pixels in frames]
    for keep, part in ((0.9, 0.3), (0.0, 1.0)):
        carried = Carried(keep)
        mean = [carried.context(context) for context in own]
        jumps, smooth = (sum(jump(two) for two in zip(row, row[1:], strict=False)) for row in (own, mean))
        assert smooth <= part * jumps


def jump(contexts) -> float:
    """How far two contexts are apart."""
    return sum(float((one - other).abs().mean()) for one, other in zip(*contexts, strict=True))


class Single(NamedTuple):
    value: torch.Tensor


def test_a_cut_begins_anew():
    carried = Carried()
    one, other = np.full((20, 30, 3), 40, np.uint8), np.full((20, 30, 3), 200, np.uint8)
    assert [carried.begin(pixels) for pixels in (one, one + 9, other, other)] == [True, False, True, False]
    carried.context(Single(torch.zeros(1)))
    carried.begin(one)
    assert carried.context(Single(torch.ones(1))).value == 1
    carried.begin(one + 1)
    assert 0 < carried.context(Single(torch.zeros(1))).value < 1


def test_a_solved_network_with_its_own_tones_is_itself():
    network = SolvedConfig(image_size=32).build().eval().requires_grad_(False)
    torch.nn.init.normal_(network.output.weight, std=0.02)
    images = torch.rand(1, 3, 40, 50)
    assert torch.equal(network(images), network(images, network.global_context(images)))


def test_no_half_film_is_left(tmp_path, weights, monkeypatch):
    write_film(tmp_path / "film.mp4", pan())

    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(film, "edit_photo", stop)
    with pytest.raises(KeyboardInterrupt):
        edit_film(Edit(weights), tmp_path / "film.mp4", tmp_path / "out.mp4")
    assert {path.name for path in tmp_path.iterdir()} == {"film.mp4", "g.safetensors"}


def test_wrong_films(tmp_path, weights):
    write_film(tmp_path / "film.mp4", pan())
    (tmp_path / "text.mp4").write_text("no film")
    data = (tmp_path / "film.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    with av.open(tmp_path / "sound.mkv", "w") as target, av.open(tmp_path / "film.mp4") as source:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(audio=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    for name, out, text in (
        ("absent.mp4", "out.mp4", "no such file"),
        ("text.mp4", "out.mp4", "text.mp4 is not a readable film"),
        ("cut.mp4", "out.mp4", "cut.mp4 is not a readable film"),
        ("sound.mkv", "out.mp4", "has no picture"),
        ("film.mp4", "out.gif", "use one of .mp4"),
        ("film.mp4", "film.mp4", "is the photograph itself"),
    ):
        with pytest.raises(WeightzooError, match=text):
            edit_film(Edit(weights), tmp_path / name, tmp_path / out)
        assert not (tmp_path / "out.mp4").exists() and not (tmp_path / "out.gif").exists()

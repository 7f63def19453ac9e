"""The fleets benchmark: who begins when, what a missing memory costs, and that every row says what it is of."""

import threading
from concurrent.futures import ThreadPoolExecutor

import matplotlib
import pytest
import torch
from torch import nn

from benchmarks import fleets
from weightgen.evaluation.timing import WARM_UP, naive_step_seconds, step_seconds
from zoo.training.batches import Pictures
from zoo.training.train_gan import GanTrainConfig

matplotlib.use("agg")
TINY = fleets.Setting("tiny", "full")


class Watched(nn.Conv2d):
    """Notes whether each forward pass is that of the present weights, rounded to bfloat16 anew."""

    def __init__(self):
        super().__init__(3, 3, 1)
        self.present, self.outside, self.calls = [], [], 0
        self.weight.register_hook(lambda _: self.outside.append(not torch.is_autocast_enabled("cpu")))

    def forward(self, images):
        self.calls += 1
        made = super().forward(images)
        with torch.autocast("cpu", enabled=False), torch.no_grad():
            weights = self.weight.bfloat16(), self.bias.bfloat16()
            expected = nn.functional.conv2d(images.bfloat16(), *weights)
        self.present.append(made.dtype == torch.bfloat16 and torch.equal(made, expected))
        return made


class Discriminator(nn.Conv2d):
    def forward(self, source, image):
        return super().forward(torch.cat([source, image], 1))


def test_the_naive_loop_rounds_its_weights_anew_at_every_step():
    torch.manual_seed(0)
    generator, images = Watched(), torch.rand(4, 3, 8, 8)
    training = GanTrainConfig(learning_rate=0.1, precision="bfloat16")
    material = Pictures(images, images.flip(1)[None])
    naive_step_seconds(generator, Discriminator(6, 1, 3), material, training, 3, warm_up=0)
    assert generator.present == [True] * 3 and generator.outside == [True] * 3


def test_the_call_after_the_warm_up_comes_once_and_before_the_first_step_that_counts():
    done, images, training = [], torch.rand(4, 3, 8, 8), GanTrainConfig()
    generator = Watched()
    material = Pictures(images, images[None])
    naive_step_seconds(
        generator, Discriminator(6, 1, 3), material, training, 2, on_warm=lambda: done.append(generator.calls)
    )
    assert done == [WARM_UP] and generator.calls == WARM_UP + 2
    networks, called = fleets.networks(TINY), []
    targets = networks[3].expand(2, *networks[3].shape)
    step_seconds(*networks[:3], targets, TINY.training, 1, on_warm=lambda: called.append(True))
    assert called == [True]


def test_nobody_begins_before_all_are_warm(monkeypatch):
    monkeypatch.setattr(fleets, "prepare_process", lambda threads: None)
    fleets.start_worker(1, threading.Barrier(3))
    events = []

    def work(on_warm):
        events.append("warm")
        on_warm()
        events.append("begins")
        return 1.0

    with ThreadPoolExecutor(3) as pool:
        assert fleets.together(pool, 3, work) == 3.0
    assert events == ["warm"] * 3 + ["begins"] * 3


def test_the_error_of_one_ends_the_waiting_of_the_others(monkeypatch):
    monkeypatch.setattr(fleets, "prepare_process", lambda threads: None)
    fleets.start_worker(1, threading.Barrier(2))
    turns = iter(["waits", "fails"])

    def work(on_warm):
        if next(turns) == "waits":
            on_warm()
        raise torch.OutOfMemoryError("full")

    with ThreadPoolExecutor(2) as pool, pytest.raises(torch.OutOfMemoryError):
        fleets.together(pool, 2, work)


def test_a_fleet_that_does_not_fit_is_left_out(capsys):
    def full():
        raise torch.OutOfMemoryError("full")

    assert list(fleets.those_that_fit({"naive": float, "1": float, "64": full})) == ["naive", "1"]
    assert "64" in capsys.readouterr().out
    with pytest.raises(torch.OutOfMemoryError):
        fleets.those_that_fit({"naive": full})


def test_a_table_that_fails_takes_no_other_with_it(rows_of, capsys):
    seen = []

    def full():
        seen.extend(rows_of("some"))  # written before
        raise torch.OutOfMemoryError("full")

    fleets.write_tables("some", {"a": lambda: [{"k": "1"}], "b": full, "c": lambda: [{"k": "2"}]})
    assert seen == [{"k": "1"}] and rows_of("some") == [{"k": "1"}, {"k": "2"}]
    assert capsys.readouterr().out == "k 1\nb: not measured (OutOfMemoryError)\nk 2\n"


@pytest.fixture
def once(monkeypatch):
    """Everything is measured once, in one step."""
    monkeypatch.setattr(fleets, "interleave", lambda loops: {name: [work()] for name, work in loops.items()})
    monkeypatch.setattr(fleets, "matrix_rate", lambda device, dtype: 1e9)
    monkeypatch.setattr(fleets, "STEPS", 1)
    yield ["--preset", "tiny", "--modes", "full", "--sizes", "1"]
    torch.use_deterministic_algorithms(False)


def test_every_row_says_its_precision_and_the_plot_shows_one(once, rows_of, monkeypatch):
    monkeypatch.setattr(fleets, "together", lambda pool, processes, work: 1.0)
    fleets.main([*once, "--processes", "2", "--precision", "float32", "bfloat16"])
    rows = rows_of("fleets")
    for precision in ("float32", "bfloat16"):
        own = [row for row in rows if row["precision"] == precision]
        assert [row["k"] for row in own if "k" in row] == ["naive", "1"]
        assert len([row for row in own if "layout" in row]) == 4
    from benchmarks import plots

    figure = plots.plt.figure()
    plots.fleets([row | {"mode": "adapter"} for row in rows], figure)
    assert len(figure.axes[1].patches) == 4


@pytest.mark.slow
def test_processes_of_their_own(once, rows_of):
    fleets.main([*once, "--processes", "2"])
    layouts = [row for row in rows_of("fleets") if "layout" in row]
    assert len(layouts) == 4 and all(row["concepts_per_minute"]["min"] > 0 for row in layouts)

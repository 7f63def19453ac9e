"""Fine-tuning: every start, both modes, held-out pairs, curves, seconds, files and exact errors."""

import json
import signal
import warnings
from dataclasses import replace

import pytest
import torch

from tests.weightgen.tiny_world import make_model, make_pairs, make_zoo
from weightgen.finetuning.finetune import finetune
from weightgen.finetuning.loop import LEARNING_RATE, FinetuneConfig, evaluation_times, finetune_many
from weightgen.finetuning.measure import IMAGES_AT_ONCE, Measure, PairTensors, render
from weightgen.finetuning.origins import Origins
from weightgen.finetuning.pairs import load_pairs
from weightgen.finetuning.starts import INITS, make_start
from weightgen.generate import generate, save_adapter
from weightgen.model_folder import load_model_folder
from weightgen.model_roles import find_models
from zoo.adapters.lora import initial_adapter, load_adapter, load_base, load_generator, save_base
from zoo.adapters.peft_format import load_peft
from zoo.errors import Interrupted, WeightzooError, WeightzooWarning
from zoo.gans.solved import SolvedConfig
from zoo.pictures.apply import load_network
from zoo.pictures.metrics import l1
from zoo.pictures.pair_squares import pairs_to_tensors
from zoo.pictures.pairs import write_pairs
from zoo.training.train_gan import run_generators, stack

CONFIG = FinetuneConfig(steps=4, batch_size=2, eval_every=2, feature_network=None)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """(zoo, folder of models, pairs)"""
    folder = tmp_path_factory.mktemp("finetune")
    zoo = make_zoo(folder / "zoo")
    make_model(folder / "models" / "generated", zoo)
    make_model(folder / "models" / "polished", zoo, stage="polished")
    make_model(folder / "models" / "generated_unet1d", zoo, "unet1d")
    return zoo, folder / "models", make_pairs(folder / "pairs")


@pytest.fixture(scope="module")
def origins(world):
    return Origins(world[0], world[1], seed=5)


def other_zoo(folder):
    """A zoo like the world's, of another base."""
    zoo = make_zoo(folder)
    base = load_base(zoo / "base" / "generator.safetensors")
    with torch.no_grad():
        base.stem.weight.add_(1)
    save_base(zoo / "base" / "generator.safetensors", base)
    return zoo


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("init", [name for name in INITS if name != "pix2pix_unet"])
def test_every_start_in_full_mode(origins, init):
    start = make_start(init, [["make it dusk"], ["a pale look", "paint it pale"]], origins)
    images = run_generators(start.generator, start.params, torch.rand(3, 3, 16, 16))
    assert images.shape == (2, 3, 3, 16, 16) and torch.isfinite(images).all()
    assert not any("lora" in name for name in start.params)


@pytest.mark.parametrize("init", ["polished", "base", "nearest"])
def test_full_and_adapter_mode_start_with_the_same_images(origins, init):
    photos = torch.rand(2, 3, 16, 16)
    full, adapter = (make_start(init, [["a red look"]], origins, mode) for mode in ("full", "adapter"))
    images = [run_generators(start.generator, start.params, photos) for start in (full, adapter)]
    torch.testing.assert_close(*images, rtol=1e-4, atol=1e-4)
    assert adapter.base is not None and full.base is None


def test_the_generated_start_is_the_generated_network(origins, world):
    model = load_model_folder(world[1] / "polished")
    own = generate(model, [["dusk", "evening"]])
    start = make_start("polished", [["dusk", "evening"]], origins, "adapter")
    assert all(torch.equal(start.params[name], value) for name, value in own.adapters.items())


def test_scratch_knows_nothing_of_the_zoo(origins):
    start = make_start("scratch", [["dusk"]], origins)
    again = make_start("scratch", [["dawn"]], origins)
    assert all(torch.equal(start.params[name], value) for name, value in again.params.items())
    base = dict(origins.base.named_parameters())
    assert not torch.equal(start.params["stem.weight"][0], base["stem.weight"])
    found = [next(start.discriminator.parameters()), next(origins.discriminator.parameters())]
    assert found[0].shape == found[1].shape and not torch.equal(*found)


def test_full_fine_tuning_end_to_end(origins, world, tmp_path):
    config = replace(CONFIG, steps=30, eval_every=10, learning_rate=5e-3)
    summary = finetune(world[2], "make it dark", "base", tmp_path, origins, config)
    curve = rows(tmp_path)
    assert [row["step"] for row in curve] == [0, 10, 20, 30]
    measures = {"l1", "contrast", "error", "psnr", "kid", "train_l1", "train_contrast", "train_error"}
    assert set(curve[0]) == {"step", "seconds", *measures}
    assert curve[-1]["l1"] < curve[0]["l1"] and curve[-1]["seconds"] > curve[0]["seconds"] > 0
    assert summary["held_out"] == summary["test_pairs"] and len(summary["held_out"]) == 1
    assert summary == json.loads((tmp_path / "finetune.json").read_text())
    generator = load_generator(tmp_path)
    loaded = load_pairs(world[2], None)
    train, test = loaded.train, loaded.test
    assert len(train) == 5
    source, target = pairs_to_tensors(test, 16)
    with torch.no_grad():
        l1 = float((generator(source).clamp(0, 1) - target).abs().mean())
    assert l1 == pytest.approx(summary["best"]["l1"], abs=1e-5) and summary["best"] in curve


def test_adapter_fine_tuning_writes_a_peft_folder(origins, world, tmp_path):
    test_pairs = make_pairs(tmp_path / "test", 3, 40, seed=1)
    config = replace(CONFIG, mode="adapter")
    summary = finetune(
        world[2], ["dusk", "evening"], "polished", tmp_path / "out", origins, config, test_pairs
    )
    assert summary["held_out"] == [] and summary["pairs"] == 6 and summary["learning_rate"] == LEARNING_RATE
    base = load_base(origins.base_path)
    adapter, metadata = load_peft(tmp_path / "out", base)
    assert (
        metadata["prompt"] == "dusk"
        and torch.isfinite(load_adapter(base, adapter)(torch.rand(1, 3, 16, 16))).all()
    )
    again = make_start(str(tmp_path / "out"), [["dusk"]], Origins(origins.zoo_path), "adapter")
    assert all(torch.equal(again.params[name][0], value) for name, value in adapter.items())


def test_starts_from_paths(origins, world, tmp_path):
    model = load_model_folder(world[1] / "generated")
    save_adapter(model, tmp_path / "adapter", generate(model, "dusk"))
    full = make_start(str(tmp_path / "adapter"), [["dusk"]], origins)
    expected = make_start("generated", [["dusk"]], origins)
    for name, value in expected.params.items():
        torch.testing.assert_close(full.params[name], value, rtol=1e-5, atol=1e-6)
    finetune(
        world[2], "dusk", str(tmp_path / "adapter"), tmp_path / "tuned", origins, replace(CONFIG, steps=1)
    )
    again = make_start(str(tmp_path / "tuned"), [["dusk"]], origins)
    assert torch.equal(again.params["stem.weight"][0], load_generator(tmp_path / "tuned").stem.weight)
    with pytest.raises(WeightzooError, match="whole generator"):
        make_start(str(tmp_path / "tuned"), [["dusk"]], origins, "adapter")


def test_an_adapter_of_another_base_is_refused(origins, world, tmp_path):
    model = load_model_folder(world[1] / "generated")
    save_adapter(model, tmp_path / "adapter", generate(model, "dusk"))
    other = Origins(other_zoo(tmp_path / "other"), world[1])
    for mode in ("full", "adapter"):
        with pytest.raises(WeightzooError, match=f"{model.base_sha256[:12]}.*--data"):
            make_start(str(tmp_path / "adapter"), [["dusk"]], other, mode)
        assert make_start(str(tmp_path / "adapter"), [["dusk"]], origins, mode).params


@pytest.mark.parametrize("mode", ["full", "adapter"])
def test_an_earlier_result_of_either_kind_is_kept_unless_it_may_be_replaced(origins, world, tmp_path, mode):
    model, out = load_model_folder(world[1] / "generated"), tmp_path / "out"
    save_adapter(model, out, generate(model, "dusk"))
    config = replace(CONFIG, steps=0, mode=mode)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(WeightzooError, match="out is not empty; add --overwrite"):
        finetune(world[2], "dusk", "base", out, origins, config)
    with pytest.raises(WeightzooError, match="unknown --init"):
        finetune(world[2], "dusk", "nothing", out, origins, config, overwrite=True)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    finetune(world[2], "dusk", "base", out, origins, config, overwrite=True)
    assert load_network(out) and (out / "adapter_config.json").exists() == (mode == "adapter")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("name", "metadata"),
    [
        ("labelled", {"stage": "generated", "zoo": "zoo + pseudo-labels"}),
        ("control", {"stage": "polished", "polish": {"config": {"random_init": True}}}),
        ("labelled", {"role": "labelled", "stage": "polished"}),
    ],
)
def test_every_model_that_is_found_can_be_fine_tuned(world, tmp_path, name, metadata):
    folder = make_model(tmp_path / "models" / "mine", world[0])
    info = json.loads((folder / "weightgen.json").read_text())
    (folder / "weightgen.json").write_text(json.dumps({**info, "metadata": metadata}))
    assert list(find_models(tmp_path / "models")) == [name]
    start = make_start(name, [["dusk"]], Origins(world[0], tmp_path / "models"), "adapter")
    expected = generate(load_model_folder(folder), "dusk").adapters
    assert all(torch.equal(start.params[key], value) for key, value in expected.items())
    with pytest.raises(WeightzooError, match=f"unknown --init 'own'.*pix2pix_unet, {name}"):
        make_start("own", [["dusk"]], Origins(world[0], tmp_path / "models"))


def test_a_time_budget_includes_the_start_and_ends_training(origins, world, tmp_path):
    config = replace(CONFIG, steps=10**6, seconds=1.0, eval_every=None)
    summary = finetune(world[2], "dusk", "base", tmp_path, origins, config)
    curve = rows(tmp_path)
    assert curve[0]["step"] == 0 and curve[-1]["step"] == summary["steps"]
    assert summary["steps"] < config.steps and len(curve) <= 12


@pytest.mark.parametrize("mode", ["full", "adapter"])
def test_ctrl_c_leaves_the_best_network_so_far(origins, world, tmp_path, hears_ctrl_c, mode):
    config = replace(CONFIG, mode=mode, steps=10**6, eval_every=None)

    def interrupt(row):
        if row["step"] == 10:  # the clock of training stands still here, so the next step is still done
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match="holds the best network so far.*--resume"):
        finetune(world[2], "dusk", "base", tmp_path, origins, config, on_row=interrupt)
    assert [row["step"] for row in rows(tmp_path)] == [0, 10, 11]
    assert json.loads((tmp_path / "finetune.json").read_text())["steps"] == 11
    start = make_start(str(tmp_path), [["dusk"]], origins, mode)
    test = load_pairs(world[2], None).test
    source, target = pairs_to_tensors(test, 16)
    with torch.no_grad():
        made = run_generators(start.generator, start.params, source).clamp(0, 1)
    best = json.loads((tmp_path / "finetune.json").read_text())["best"]
    assert float((made[0] - target).abs().mean()) == pytest.approx(best["l1"], abs=1e-5)


def test_evaluation_times():
    due = evaluation_times(FinetuneConfig(steps=60), None)
    assert [step for step in range(61) if due(step, 0.0)] == [0, 10, 25, 50, 60]
    by_time = evaluation_times(FinetuneConfig(seconds=10), 8.0)
    assert [spent for spent in (0.0, 0.1, 0.5, 0.6, 8.5) if by_time(1, spent)] == [0.0, 0.5, 8.5]
    assert [step for step in (0, 1, 2, 3) if evaluation_times(replace(CONFIG, steps=3), None)(step, 0.0)] == [
        0,
        2,
        3,
    ]


def test_concepts_at_once_equal_concepts_alone(origins):
    def tensors(concepts: slice) -> PairTensors:
        sources = torch.rand(2, 4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        factors = torch.tensor([0.4, 0.8])[:, None, None, None, None]
        parts = (sources, sources * factors, sources[:, :2], sources[:, :2] * factors)
        return PairTensors(*(part[concepts] for part in parts))

    prompts = [["make it dark"], ["make it pale"]]
    both = finetune_many(make_start("generated", prompts, origins), tensors(slice(None)), CONFIG)
    alone = finetune_many(make_start("generated", prompts[1:], origins), tensors(slice(1, 2)), CONFIG)
    assert [row["step"] for row in both.rows[0]] == [0, 2, 4]
    assert both.rows[0][-1]["l1"] != both.rows[1][-1]["l1"]
    assert both.rows[1][-1]["l1"] == pytest.approx(alone.rows[0][-1]["l1"], abs=1e-4)


def test_a_network_of_pixels_is_measured_on_pixels_and_with_kid_on_whole_pictures():
    torch.manual_seed(0)
    network = SolvedConfig(4, 4, 4, 4, image_size=16, branches=("whole",), hidden=4, lora_rank=2).build()
    params = {name: value + 0.1 * torch.randn_like(value) for name, value in stack(initial_adapter(network), 2).items()}
    data = PairTensors(*(torch.rand(2, count, 3, 16, 16) for count in (3, 3, 2, 2)))
    found = Measure(data, None)(network, params)
    whole = Measure(data, "efficientnet-lite0")(network, params)
    assert found[0]["l1"] != found[1]["l1"] and found[0]["kid"] is None is not whole[0]["kid"]
    for row, of_pictures in zip(found, whole, strict=True):  # 256 pixels: all are among those that are drawn
        assert {**row, "kid": 0} == pytest.approx({**of_pictures, "kid": 0}, abs=2e-6)
    edited = render(network, params, data.sources)
    assert found[1]["train_l1"] == pytest.approx(float(l1(edited[1], data.targets[1]).mean()), abs=1e-5)


def test_a_start_on_another_device_leaves_its_networks_where_they_are(origins):
    start = make_start("generated", [["dusk"]], origins, mode="adapter")
    moved = start.to(torch.device("meta"))
    tensors = [*moved.generator.parameters(), *moved.discriminator.parameters(), *moved.params.values()]
    assert all(value.is_meta for value in tensors)
    assert not any(value.is_meta for value in (*origins.base.parameters(), *start.params.values()))
    assert moved.base == start.base and start.to(torch.device("cpu")) is start


def test_a_gpu_that_is_not_there_is_named(origins, world, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(WeightzooError, match="no GPU here for the device 'cuda'"):
        finetune(world[2], "dusk", "base", tmp_path, origins, replace(CONFIG, device="cuda"))


@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["full", "adapter"])
def test_a_gpu_gives_what_a_processor_gives(origins, world, tmp_path, mode):
    here, there = (
        finetune(world[2], "dusk", "polished", tmp_path / device, origins, replace(CONFIG, mode=mode, device=device))
        for device in ("cpu", "cuda")
    )
    assert there["last"]["l1"] == pytest.approx(here["last"]["l1"], rel=1e-2)


def test_kid_stands_in_every_row(origins, world, tmp_path):
    config = replace(CONFIG, steps=2, feature_network="efficientnet-lite0")
    finetune(world[2], "dusk", "base", tmp_path, origins, config, test_pairs=world[2])
    assert all(isinstance(row["kid"], float) for row in rows(tmp_path))


def test_the_classic_unet(origins):
    big = Origins(origins.zoo_path)
    big.base.config = replace(big.base.config, image_size=32)
    start = make_start("pix2pix_unet", [["dusk"]], big)
    sources = torch.rand(1, 2, 3, 32, 32)
    data = PairTensors(sources, sources, sources, sources)
    done = finetune_many(start, data, replace(CONFIG, steps=1))
    assert len(done.rows[0]) == 2 and "downs.0.1.weight" in start.params


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"mode": "half"}, "unknown mode"),
        ({"seconds": 0.0}, "not a time limit"),
        ({"learning_rate": -1.0}, "must be a number above 0"),
        ({"batch_size": 0}, "at least 1"),
        ({"device": "tpu9"}, "unknown device"),
    ],
)
def test_bad_settings(origins, world, tmp_path, changes, match):
    with pytest.raises(WeightzooError, match=match):
        finetune(world[2], "dusk", "base", tmp_path, origins, replace(CONFIG, **changes))


def test_errors(origins, world, tmp_path):
    def run(prompt="dusk", init="base", mode="full", start=origins):
        finetune(world[2], prompt, init, tmp_path / "out", start, replace(CONFIG, mode=mode))

    with pytest.raises(WeightzooError, match="prompt is empty"):
        run(prompt=" ")
    with pytest.raises(WeightzooError, match="unknown --init 'own'"):
        run(init="own")
    with pytest.raises(WeightzooError, match="no base to adapt"):
        run(init="scratch", mode="adapter")
    with pytest.raises(WeightzooError, match="needs a weight generator"):
        run(init="polished", start=Origins(world[0]))
    with pytest.raises(WeightzooError, match="needs a zoo"):
        run(init="ridge", start=Origins(model=world[1]))
    with pytest.raises(WeightzooError, match="holds generated, not polished"):
        run(init="polished", start=Origins(world[0], world[1] / "generated"))
    with pytest.raises(WeightzooError, match="different bases"):
        run(init="polished", start=Origins(other_zoo(tmp_path / "other"), world[1]))


@pytest.mark.parametrize("mode", ["full", "adapter"])
def test_one_network_after_the_other_equals_all_at_once(origins, mode):
    start = make_start("generated", [["a red tint"], ["a charcoal drawing"], ["dusk"]], origins, mode)
    size = start.generator.config.image_size
    images = torch.rand(3, IMAGES_AT_ONCE + 1, 3, size, size)
    with torch.no_grad():
        at_once = run_generators(start.generator, start.params, images).clamp(0, 1)
    one_by_one = render(start.generator, start.params, images)
    torch.testing.assert_close(one_by_one, at_once, atol=1e-5, rtol=0)
    assert (one_by_one[0] - one_by_one[1]).abs().max() > 1e-4


def test_a_network_that_is_not_finite_is_drawn_as_it_is(origins):
    start = make_start("generated", [["dusk"], ["dawn"]], origins, "adapter")
    params = {name: value.clone() for name, value in start.params.items()}
    params["stem.bias"][0, 0] = float("nan")
    size = start.generator.config.image_size
    images = render(start.generator, params, torch.rand(2, 2, 3, size, size))
    assert images[0].isnan().any() and images[1].isfinite().all()


def test_a_name_of_a_start_goes_before_a_folder_of_that_name(origins, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scratch").mkdir()
    with pytest.warns(WeightzooWarning, match=r"the start of that name; for .* write --init \./scratch"):
        named = make_start("scratch", [["dusk"]], origins)
    (tmp_path / "scratch").rmdir()
    plain = make_start("scratch", [["dusk"]], origins)
    assert all(torch.equal(named.params[name], value) for name, value in plain.params.items())
    with pytest.raises(WeightzooError, match=r"unknown --init '\./scratch'"):
        make_start("./scratch", [["dusk"]], origins)


@pytest.mark.parametrize("init", ["polished", "nearest", "kernel_ridge"])
def test_every_start_that_reads_the_prompt_warns_of_it(origins, init):
    with pytest.warns(WeightzooWarning, match='"without" is not understood'):
        make_start(init, [["a red look without grain"]], origins)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for indifferent in ("base", "mean", "scratch"):
            make_start(indifferent, [["a red look without grain"]], origins)


def test_one_pair_is_trained_on_and_what_it_was_taken_for_is_kept(origins, tmp_path):
    images = torch.rand(2, 1, 3, 16, 16)
    write_pairs(tmp_path / "pairs", ["only"], *images)
    (tmp_path / "pairs" / "source" / "photo.heic").write_bytes(b"x")
    for half, name in (("source", "before"), ("target", "after")):
        (tmp_path / "pairs" / half).rename(tmp_path / "pairs" / name)
    told: list[str] = []
    config = replace(CONFIG, steps=2)
    with pytest.warns(WeightzooWarning) as warned:
        summary = finetune(
            tmp_path / "pairs", "make it dark", "base", tmp_path / "out", origins, config,
            direction="target-to-source", tell=told.append,
        )  # fmt: skip
    assert told == summary["read_as"] == [f"{tmp_path}/pairs: 1 pair: after/ is the source, before/ the target"]
    assert [str(warning.message) for warning in warned] == summary["notes"]
    assert any("before/photo.heic (HEIC" in note for note in summary["notes"])
    assert summary["pairs"] == 1 and summary["test_pairs"] == ["only"] and summary["held_out"] == []
    assert summary == json.loads((tmp_path / "out" / "finetune.json").read_text())

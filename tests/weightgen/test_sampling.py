"""Generation: shapes, batch independence, paraphrases, guidance, steps, files, and the diffusers pipeline."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from tests.weightgen.tiny_world import make_model, make_zoo
from weightgen.generate import generate, interpolate, mean_adapter, open_model, save_adapter, scale_strength
from weightgen.model_folder import load_model_folder
from zoo.adapters.lora import load_adapter, load_base
from zoo.adapters.peft_format import load_peft
from zoo.errors import WeightzooError


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return make_zoo(tmp_path_factory.mktemp("zoo"))


@pytest.fixture(scope="module")
def folder(zoo, tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"), zoo)


@pytest.fixture(scope="module")
def model(folder):
    return load_model_folder(folder)


def test_one_step_gives_an_adapter_of_the_base(model):
    output = generate(model, "a charcoal drawing")
    assert len(output) == 1 and output.prompts == [["a charcoal drawing"]]
    base = load_base(model.base_generator_path)
    assert torch.isfinite(load_adapter(base, output.adapter(0))(torch.rand(1, 3, 16, 16))).all()
    torch.testing.assert_close(model.layout.to_blocks(output.adapters), output.blocks)


@pytest.mark.parametrize(("steps", "guidance"), [(1, 1.0), (1, 1.5), (3, 1.5)])
def test_a_prompt_does_not_depend_on_the_batch(model, steps, guidance):
    prompts = ["make it dusk", "a charcoal drawing"]
    options = {"num_inference_steps": steps, "guidance_scale": guidance, "num_networks": 2}
    both, alone = generate(model, prompts, **options), generate(model, prompts[1], **options)
    assert both.prompts == [["make it dusk"]] * 2 + [["a charcoal drawing"]] * 2
    torch.testing.assert_close(both.blocks[2:], alone.blocks, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(both.blocks[0], both.blocks[2])
    assert not torch.allclose(both.blocks[0], both.blocks[1])


def test_paraphrases_are_averaged(model):
    texts = ["make it dusk", "an evening scene"]
    together = generate(model, [texts, [texts[0]]]).blocks
    apart = generate(model, texts).blocks
    torch.testing.assert_close(together[0], apart.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together[1], apart[0], rtol=1e-4, atol=1e-5)


def test_the_other_denoiser(zoo, tmp_path):
    model = load_model_folder(make_model(tmp_path, zoo, "unet1d"))
    output = generate(model, [["dusk", "an evening scene"], "dawn"], num_inference_steps=2)
    assert output.blocks.shape == (2, model.layout.num_blocks, 32) and torch.isfinite(output.blocks).all()


def test_many_networks_go_through_in_chunks(model, monkeypatch):
    whole = generate(model, ["red", "green", "blue"], num_networks=2).blocks
    monkeypatch.setattr("weightgen.generate.CHUNK", 4)
    torch.testing.assert_close(generate(model, ["red", "green", "blue"], num_networks=2).blocks, whole)


def test_the_seed_decides(model):
    def blocks(seed: int):
        return generate(model, "dusk", generator=torch.Generator().manual_seed(seed)).blocks

    assert torch.equal(blocks(1), blocks(1)) and not torch.equal(blocks(1), blocks(2))
    assert torch.equal(generate(model, "dusk").blocks, generate(model, "dusk").blocks)


def test_guidance_moves_away_from_no_prompt(model):
    plain, strong = generate(model, "dusk").blocks, generate(model, "dusk", guidance_scale=2.0).blocks
    none = generate(model, "dusk", guidance_scale=0.0).blocks
    torch.testing.assert_close(strong - plain, plain - none, rtol=1e-3, atol=1e-4)


def test_ddim_reaches_the_prediction_of_a_denoiser_that_is_always_right(model, monkeypatch):
    answer = torch.randn(1, model.layout.num_blocks, model.layout.block_size)
    monkeypatch.setattr(type(model.denoiser), "forward", lambda self, x, *_: answer.expand_as(x).clone())
    expected = model.statistics.denormalize(answer)
    for steps in (1, 5):
        torch.testing.assert_close(generate(model, "dusk", num_inference_steps=steps).blocks, expected)


def test_interpolation_and_strength(model):
    output = generate(model, ["dusk", "dawn"])
    a, b, mean = output.adapter(0), output.adapter(1), mean_adapter(model)
    for name in a:
        torch.testing.assert_close(interpolate(a, b, 0.25)[name], 0.75 * a[name] + 0.25 * b[name])
        torch.testing.assert_close(scale_strength(a, mean, 0.0)[name], mean[name])
        torch.testing.assert_close(
            scale_strength(a, mean, 2.0)[name], 2 * a[name] - mean[name], rtol=1e-4, atol=1e-5
        )


def test_saved_adapter(model, tmp_path):
    output = generate(model, ["dusk", ["dawn", "sunrise"]])
    save_adapter(model, tmp_path, output, 1)
    adapter, metadata = load_peft(tmp_path, load_base(model.base_generator_path))
    for name, value in output.adapter(1).items():
        torch.testing.assert_close(adapter[name], value)
    assert metadata["prompts"] == ["dawn", "sunrise"] and metadata["base_sha256"] == model.base_sha256


@pytest.mark.parametrize("prompt", ["", "  ", [], ["dusk", ""], [["dusk", " "]], [[]]])
def test_empty_prompts(model, prompt):
    with pytest.raises(WeightzooError, match="prompt is empty"):
        generate(model, prompt)


def test_bad_numbers_and_models(model):
    with pytest.raises(WeightzooError, match="at least 1"):
        generate(model, "dusk", num_inference_steps=0)
    with pytest.raises(WeightzooError, match="does not exist"):
        open_model("no/such/folder")
    with pytest.raises(WeightzooError, match="the cache has no copy of nobody/nothing-of-the-kind"):
        open_model("nobody/nothing-of-the-kind")


def test_pipeline_is_the_same_and_saves_itself(folder, model, tmp_path):
    from weightgen import WeightDiffusionPipeline

    pipe = WeightDiffusionPipeline.from_pretrained(folder)
    assert set(pipe.components) == {"denoiser", "scheduler"}
    expected = generate(model, ["dusk", "dawn"]).blocks
    assert torch.equal(pipe(["dusk", "dawn"]).blocks, expected)
    pipe.save_pretrained(tmp_path)
    again = WeightDiffusionPipeline.from_pretrained(str(tmp_path))
    assert torch.equal(again(["dusk", "dawn"]).blocks, expected)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["denoiser"][0] == "weightgen" and index["scheduler"] == ["diffusers", "DDPMScheduler"]
    output = again("dusk")
    again.save_adapter(tmp_path / "adapter", output)
    assert load_peft(tmp_path / "adapter", again.base_generator())[1]["prompt"] == "dusk"
    assert set(again.mean_adapter()) == set(output.adapters)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-4), (torch.bfloat16, 0.1)])
@pytest.mark.parametrize("denoiser", ["transformer", "unet1d"])
def test_pipeline_computes_in_the_dtype_of_its_denoiser(zoo, tmp_path, denoiser, dtype, error):
    from weightgen import WeightDiffusionPipeline

    pipe = WeightDiffusionPipeline.from_pretrained(make_model(tmp_path, zoo, denoiser))
    for steps, guidance in ((1, 1.0), (3, 1.5)):
        prompts = ["dusk", "a charcoal drawing"]
        expected = pipe.to(torch.float32)(prompts, steps, guidance).blocks
        found = pipe.to(dtype)(prompts, steps, guidance).blocks
        assert {p.dtype for p in pipe.denoiser.parameters()} == {dtype} and found.dtype == torch.float32
        assert float((found - expected).abs().mean() / expected.std()) < error


def test_everything_that_the_denoiser_gets_is_where_it_is(model):
    where = torch.device("meta")  # stands for a GPU: it takes no tensor of the CPU
    seen = []

    class Elsewhere(type(model.denoiser)):
        def parameters(self, recurse=True):
            return iter([torch.empty(1, dtype=torch.float16, device=where)])

        def forward(self, *inputs):
            seen.extend((value.device, value.dtype) for value in inputs)
            return torch.zeros(inputs[0].shape)

    denoiser = Elsewhere(**model.denoiser.settings)
    blocks = generate(replace(model, denoiser=denoiser), ["dusk", "dawn"], num_networks=2).blocks
    assert {device for device, _ in seen} == {where}
    assert [dtype for _, dtype in seen] == [torch.float16, torch.int64, torch.float16, torch.bool, torch.float16]
    assert blocks.device.type == "cpu" and blocks.dtype == torch.float32


def test_the_pipeline_follows_its_own_scheduler(folder, model):
    from diffusers import DDIMScheduler

    from weightgen import WeightDiffusionPipeline

    stored = WeightDiffusionPipeline.from_pretrained(folder)
    linear = DDIMScheduler.from_config(stored.scheduler.config, beta_schedule="linear")
    other = WeightDiffusionPipeline.from_pretrained(folder, scheduler=linear)
    blocks = [pipe("dusk", num_inference_steps=3).blocks for pipe in (stored, other)]
    assert torch.equal(blocks[0], generate(model, "dusk", 3).blocks) and not torch.allclose(*blocks)
    assert torch.equal(blocks[1], generate(model, "dusk", 3, scheduler=linear).blocks)
    assert torch.equal(stored("dusk").blocks, other("dusk").blocks)  # one step follows no schedule


def test_pipeline_refuses(folder):
    from weightgen.sampling import WeightDiffusionPipeline

    pipe = WeightDiffusionPipeline.from_pretrained(folder)
    with pytest.raises(TypeError, match="torch_dtype"):
        WeightDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float16)
    with pytest.raises(WeightzooError, match="safetensors"):
        pipe.save_pretrained("anywhere", safe_serialization=False)
    with pytest.raises(WeightzooError, match="from_pretrained"):
        WeightDiffusionPipeline(pipe.denoiser, pipe.scheduler)("dusk")


def test_a_single_step_does_not_import_diffusers(folder):
    code = (
        "import sys; from weightgen import generate, model_folder; "
        f"generate.generate(model_folder.load_model_folder({str(folder)!r}), 'dusk'); "
        "sys.exit('diffusers' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

"""Teachers: every registered one edits deterministically; the filters' operators hold their promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.sources import crops, load_photos
from pipeline.teachers import TEACHERS
from pipeline.teachers.filters import OPERATORS, FiltersTeacher, apply_recipe
from pipeline.teachers.instruct_pix2pix import InstructPix2PixTeacher, noise_seed
from zoo.concepts import Concept
from zoo.errors import WeightzooError

RED, BLUE = [0.9, 0.1, 0.1], [0.1, 0.1, 0.9]
REQUIRED: dict[str, dict[str, Any]] = {
    "ramp": {"dark": RED, "light": BLUE},
    "tint": {"colour": RED},
    "filter_glass": {"colour": RED},
    "split_tone": {"shadows": RED, "highlights": BLUE},
    "shadow_tint": {"colour": RED},
    "highlight_tint": {"colour": RED},
    "hue_shift": {"degrees": 40},
    "keep_hue": {"hue": 10},
    "move_hue": {"hue": 30, "to": 200},
    "matrix": {"rows": [[0, 0, 1], [0, 1, 0], [1, 0, 0]]},
    "palette": {"colours": [RED, BLUE]},
    "gradient": {"start": RED, "end": BLUE},
    "adjust": {"exposure": 0.3, "contrast": 1.2},
}


@pytest.fixture(scope="module")
def photos() -> Tensor:
    return crops(load_photos("test"), 4, 64, seed=1)


def concept(recipe: list[dict[str, Any]], strength: float = 1.0, prompt: str = "a test") -> Concept:
    return Concept("c", prompt, (prompt,), {"recipe": recipe, "strength": strength}, "train")


@pytest.mark.parametrize("name", sorted(TEACHERS))
def test_teachers_say_who_they_are_and_what_they_refuse(name: str) -> None:
    teacher = TEACHERS[name]()
    assert teacher.name == name and teacher.licence
    assert teacher.refusal(Concept("c", " ", (), {}, "train"))


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_operators_change_the_picture_and_keep_shape_and_range(name: str, photos: Tensor) -> None:
    recipe = [{"op": name, **REQUIRED.get(name, {})}]
    edited = apply_recipe(recipe, photos)
    assert edited.shape == photos.shape and edited.dtype == torch.float32
    assert 0 <= float(edited.min()) and float(edited.max()) <= 1 and bool(torch.isfinite(edited).all())
    assert float((edited - photos).abs().mean()) > 0.002
    assert torch.equal(edited, apply_recipe(recipe, photos))


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_operators_take_each_photo_for_itself_and_any_frame(name: str, photos: Tensor) -> None:
    recipe = [{"op": name, **REQUIRED.get(name, {})}]
    assert torch.allclose(apply_recipe(recipe, photos)[1:2], apply_recipe(recipe, photos[1:2]), atol=1e-5)
    assert apply_recipe(recipe, photos[:1, :, :40]).shape == (1, 3, 40, 64)


@pytest.mark.parametrize(
    "name", ["sketch", "soft", "glow", "kuwahara", "vignette", "haze", "outline", "halftone", "tilt_shift"]
)
def test_lengths_follow_the_frame(name: str, photos: Tensor) -> None:
    large = F.interpolate(photos, size=(192, 192), mode="bicubic", antialias=True).clamp(0, 1)
    recipe = [{"op": name, **REQUIRED.get(name, {})}]
    small_of_large = F.interpolate(apply_recipe(recipe, large), size=(64, 64), mode="area")
    assert float((small_of_large - apply_recipe(recipe, photos)).abs().mean()) < 0.06


def test_strength_mixes_source_and_edit(photos: Tensor) -> None:
    teacher, recipe = FiltersTeacher(), [{"op": "invert"}]
    assert torch.allclose(
        teacher.edit(concept(recipe, 0.25), photos), 0.75 * photos + 0.25 * (1 - photos), atol=1e-6
    )


def test_unknown_operators_and_parameters_are_named(photos: Tensor) -> None:
    with pytest.raises(WeightzooError, match="unknown operators: sparkle"):
        FiltersTeacher().edit(concept([{"op": "sparkle"}]), photos)
    with pytest.raises(WeightzooError, match="operator 'soft'"):
        FiltersTeacher().edit(concept([{"op": "soft", "radios": 1}]), photos)
    with pytest.raises(WeightzooError, match="no recipe"):
        FiltersTeacher().edit(concept([]), photos)


def save_random_pipeline(folder: Path) -> None:
    """A StableDiffusionInstructPix2PixPipeline of random weights and a few kilobytes."""
    from diffusers import (
        AutoencoderKL,
        PNDMScheduler,
        StableDiffusionInstructPix2PixPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    folder.mkdir()
    vocabulary = {
        "<|startoftext|>": 0,
        "<|endoftext|>": 1,
        "a</w>": 2,
        "test</w>": 3,
        "a": 4,
        "t": 5,
        "e": 6,
        "s": 7,
    }
    import json

    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    pipeline = StableDiffusionInstructPix2PixPipeline(
        unet=UNet2DConditionModel(
            block_out_channels=(8, 16),
            layers_per_block=1,
            sample_size=8,
            in_channels=8,
            out_channels=4,
            norm_num_groups=4,
            cross_attention_dim=16,
            attention_head_dim=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        ),
        vae=AutoencoderKL(
            block_out_channels=(8, 8),
            norm_num_groups=4,
            latent_channels=4,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
        ),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(
                hidden_size=16,
                intermediate_size=16,
                num_attention_heads=2,
                num_hidden_layers=1,
                vocab_size=8,
                bos_token_id=0,
                eos_token_id=1,
                pad_token_id=1,
            )
        ),
        tokenizer=CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77),
        scheduler=PNDMScheduler(skip_prk_steps=True),
        safety_checker=None,
        feature_extractor=None,
        image_encoder=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder / "model")


def test_instruct_pix2pix_edits_through_diffusers(tmp_path: Path, photos: Tensor) -> None:
    pytest.importorskip("diffusers")
    save_random_pipeline(tmp_path / "tiny")
    teacher = InstructPix2PixTeacher(str(tmp_path / "tiny" / "model"), steps=2)
    sources = photos[:2, :, :32, :32]
    first = teacher.edit(concept([], prompt="a test"), sources)
    assert first.shape == sources.shape and 0 <= float(first.min()) and float(first.max()) <= 1
    assert torch.equal(first, teacher.edit(concept([], prompt="a test"), sources))
    assert noise_seed("a", 0) != noise_seed("a", 1) != noise_seed("b", 1)


def test_instruct_pix2pix_names_what_is_wrong(tmp_path: Path, photos: Tensor) -> None:
    pytest.importorskip("diffusers")
    teacher = InstructPix2PixTeacher(str(tmp_path / "absent"))
    with pytest.raises(WeightzooError, match="multiples of 8"):
        teacher.edit(concept([]), photos[:, :, :30])
    with pytest.raises(WeightzooError, match="cannot load the teacher"):
        teacher.edit(concept([]), photos)

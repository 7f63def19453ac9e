"""Edit any photograph at its own size with a generator that was trained on small squares.

    network = load_network("charcoal/")             # PEFT adapter, full fine-tune or base generator
    apply_to_photo("charcoal/", "photo.jpg", "out.jpg")
    edited = edit_photo(network, pixels)            # uint8 [H, W, 3] -> the same size

The photograph is edited first as a whole at the generator's training size, where the network does what it learned
(lines as wide, blurs as soft in relation to the picture, and everything global: light, colour, position). Then the
network looks again at twice the size, and twice that, up to `DETAIL_SIDE`, each time with the global context of the
first pass; each finer picture is bent to agree with the coarser one and only adds detail to it. The last picture is
carried to the photograph's size as a local affine map of colour (`zoo.pictures.local_affine`), strip by strip.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from zoo.adapters.lora import load_base, load_generator, merge
from zoo.adapters.peft_format import find_base, is_peft, merge_peft, read_peft
from zoo.errors import WeightzooError, WeightzooWarning
from zoo.files import PathLike, sha256_file
from zoo.pictures.local_affine import DetailGain, detail_gain, fit_local_affine
from zoo.pictures.mixing import check_strength, mixed
from zoo.pictures.photo_file import MAX_SIDE, Photo, check_side, read_photo
from zoo.pictures.photo_output import check_writable, output_format, write_photo
from zoo.pictures.transparency import off_white, on_white

DETAIL_SIDE = 512  # short side of the finest picture that the network sees; its long side has 4 times that at most
LEAST_SCALE = 16  # of `edit_photo`, pixels
MARGIN = 8  # pixels outside the frame, see `render`
LONGEST = 16  # the first pass squeezes panoramas that are longer than this times their height
STRIP_ROWS = 251  # off the 8-pixel blocks of JPEG, whose own borders would look like seams


def apply_to_photo(
    weights: PathLike,
    photo: PathLike,
    out: PathLike,
    base: PathLike | None = None,
    scale: int | None = None,
    strength: float = 1.0,
) -> None:
    """Edit the photograph in file `photo` and writes it to `out`, at the same size.

    Args:
        weights: PEFT adapter folder, full fine-tune folder or base `.safetensors`.
        out: the suffix decides the format.
        base: the base generator of an adapter, when it is not found by its hash.
        scale, strength: see `edit_photo`.

    Raises:
        WeightzooError: a file is absent, broken, of the wrong kind or cannot be written.
    """
    output_format(out)
    check_strength(strength)
    check_other_file(photo, out)
    for line in edit_file(load_network(weights, base), photo, out, scale, strength):
        warnings.warn(line, WeightzooWarning, stacklevel=2)


def check_other_file(photo: PathLike, out: PathLike) -> None:
    """Raise WeightzooError where a result would take the place of its own photograph."""
    if Path(out).exists() and Path(photo).exists() and Path(out).samefile(photo):
        raise WeightzooError(f"{out} is the photograph itself; choose another name for the result")


def edit_file(
    network: nn.Module, photo: PathLike, out: PathLike, scale: int | None = None, strength: float = 1.0
) -> list[str]:
    """Edit the photograph in file `photo`, write it to `out` and return what a person should know of it.

    The result has the photograph's date, place and resolution, and 16 bits where both files can have them.

    Raises:
        WeightzooError: see `apply_to_photo`.
    """
    source = read_photo(photo, complete=True)
    check_writable(out, (source.pixels.shape[1], source.pixels.shape[0]))  # before the work, not after it
    write_photo(out, edit_visible(network, source, scale, strength), source.alpha, source.metadata)
    return [f"{photo}: {line}" for line in source.notes]


def load_network(path: PathLike, base: PathLike | None = None) -> nn.Module:
    """Return a generator without LoRA factors from anything that holds one; frozen and in evaluation mode.

    Raises:
        WeightzooError: nothing there, not a generator or adapter, broken, or an adapter without its base.
    """
    path = Path(path)
    if not path.exists():
        raise WeightzooError(f"no such adapter or generator: {path}")
    if not is_peft(path):
        if path.is_dir() and not (path / "generator.safetensors").is_file():
            raise WeightzooError(
                f"{path} holds neither adapter_config.json nor generator.safetensors; give the folder that "
                "generate or finetune wrote"
            )
        return merge(load_generator(path)).eval().requires_grad_(False)
    wanted = read_peft(path).metadata
    file = find_base(wanted, path) if base is None else Path(base)
    if base is not None and wanted.get("base_sha256", "") not in ("", sha256_file(file)):
        raise WeightzooError(f"{path} was made with another base than {file}; give the base that it names")
    return merge_peft(path, load_base(file))


def edit_visible(network: nn.Module, photo: Photo, scale: int | None = None, strength: float = 1.0) -> np.ndarray:
    """Edit what a photograph shows on a white page, so that colours that its alpha hides reach nothing.

    Returns:
        [H, W, 3] of the type of the photograph's pixels; under its alpha it looks on a white page like the edit of
        what was seen there.
    """
    if strength == 0:  # with the colours that its alpha hides
        return photo.pixels
    seen = on_white(photo.pixels, photo.alpha)
    return off_white(edit_photo(network, seen, scale=scale, strength=strength), photo.alpha)


@torch.no_grad()
def edit_photo(
    network: nn.Module,
    pixels: np.ndarray,
    strip_rows: int = STRIP_ROWS,
    scale: int | None = None,
    strength: float = 1.0,
    carry: Callable[[Any], Any] | None = None,
) -> np.ndarray:
    """Edit a photograph of any size.

    Args:
        network: a generator of images [1, 3, h, w] in [0, 1]; one with `global_context` and `render` gives detail
            beyond its training size.
        pixels: uint8 or uint16 [H, W, 3].
        strip_rows: rows that are held as floating-point numbers at a time; does not change the result.
        scale: short side, pixels, at which the network looks at the photograph, at most its own; default: the one that
            it was trained at. Lines and blurs are in pixels of that size, so a larger one makes them finer.
        strength: share of the edit in its mixture with the photograph: 0 is the photograph itself, 1 the edit, a larger
            one exaggerates the edit, a negative one turns it round; within `zoo.pictures.mixing.STRENGTHS`.
        carry: changes the `global_context` of a network that takes whole photographs, where it has one: a film's frames
            share their tones.

    Returns:
        [H, W, 3] of the type of `pixels`.

    Raises:
        WeightzooError: a side is longer than `zoo.pictures.photo_file.MAX_SIDE`, or a scale or a strength is out of
            range.
    """
    check_side("the photograph", (pixels.shape[1], pixels.shape[0]))
    check_strength(strength)
    if scale is not None:
        check_scale(network, scale)
    if strength == 0:
        return pixels.copy()
    size = pixels.shape[:2]
    small, edited, gain = edit_small(network, pixels, scale, carry)
    if getattr(network, "whole_photograph", False) and edited.shape[-2:] == size:  # nothing to carry
        return to_pixels(mixed(small, edited, strength), pixels.dtype)
    fit = fit_local_affine(small, edited, gain)
    result = np.empty_like(pixels)
    for top in range(0, size[0], strip_rows):
        rows = (top, min(top + strip_rows, size[0]))
        strip = to_tensor(pixels[rows[0] : rows[1]])
        result[rows[0] : rows[1]] = to_pixels(mixed(strip, fit.apply(strip, rows, size), strength), pixels.dtype)
    return result


def check_scale(network: nn.Module, scale: int) -> None:
    """Raise `WeightzooError` where a network cannot look at photographs with a short side of `scale` pixels."""
    most = MAX_SIDE if getattr(network, "whole_photograph", False) else DETAIL_SIDE
    if not LEAST_SCALE <= scale <= most:
        raise WeightzooError(f"a scale of {scale} pixels is out of range; this network takes {LEAST_SCALE} to {most}")


def edit_small(
    network: nn.Module,
    pixels: np.ndarray,
    scale: int | None = None,
    carry: Callable[[Any], Any] | None = None,
) -> tuple[Tensor, Tensor, DetailGain | None]:
    """Source and edited picture, [1, 3, h, w], and their `detail_gain`, of uint8 or uint16 pixels [H, W, 3].

    The short side is at most `DETAIL_SIDE`, or `scale`. A photograph that is no larger than the training size, or the
    scale, has no gain: the network sees all of its detail.
    """
    full = pixels.shape[:2]
    training_size = getattr(network.config, "image_size", 64)
    training_size = side = training_size if scale is None else min(scale, *full)
    is_larger = min(full) > training_size
    is_whole = getattr(network, "whole_photograph", False)
    if is_whole or not hasattr(network, "render"):
        size = scaled(full, min(side, *full)) if is_whole else multiples(full, side)
        small, edit = resized(pixels, size), partial(bounded, network)
        if carry is not None and hasattr(network, "global_context"):
            edit = partial(edit, context=carry(network.global_context(small)))
        return small, edit(small), detail_gain(edit, small) if is_larger else None
    small = resized(pixels, scaled(full, side))
    render = partial(bounded, network.render, context=network.global_context(small))
    edited = render(small, margin=MARGIN if is_larger else 0)
    finest = min(DETAIL_SIDE, *full, 4 * DETAIL_SIDE * min(full) // max(full))
    while side < finest:
        side = min(2 * side, finest)
        small = resized(pixels, scaled(full, side))
        edited = agree(render(small, margin=MARGIN), edited)
    return small, edited, detail_gain(partial(render, margin=MARGIN), small) if is_larger else None


def bounded(edit: Callable[..., Tensor], images: Tensor, **options: Any) -> Tensor:
    """Return what `edit` makes of images, in [0, 1]."""
    return edit(images, **options).clamp(0, 1)


def agree(finer: Tensor, coarser: Tensor) -> Tensor:
    """`finer` [1, 3, H, W] bent so that, reduced, it equals `coarser` [1, 3, h, w] but keeps its detail."""
    size = (finer.shape[-2], finer.shape[-1])
    reduced = F.interpolate(finer, coarser.shape[-2:], mode="bicubic", antialias=True, align_corners=False)
    return fit_local_affine(reduced, coarser).apply(finer, (0, size[0]), size).clamp(0, 1)


def scaled(full: tuple[int, int], side: int) -> tuple[int, int]:
    """Height and width of a copy with short side `side` of a picture with height and width `full`."""
    short, long = sorted(full)
    longer = min(max(side, round(long * side / short)), LONGEST * side)
    return (side, longer) if full[1] >= full[0] else (longer, side)


def multiples(full: tuple[int, int], side: int) -> tuple[int, int]:
    """Height and width in multiples of `side`, nearest to the proportions of `full`."""
    short, long = sorted(full)
    longer = min(max(1, round(long / short)), LONGEST) * side
    return (side, longer) if full[1] >= full[0] else (longer, side)


def resized(pixels: np.ndarray, size: tuple[int, int]) -> Tensor:
    """Return uint8 or uint16 pixels [H, W, 3] at `size` (height, width) as [1, 3, height, width] in [0, 1]."""
    if pixels.dtype == np.uint8:
        return to_tensor(np.asarray(_reduced(Image.fromarray(pixels), size)))
    # Pillow has no colours of 16 bits, but planes of floating-point numbers
    white = np.float32(np.iinfo(pixels.dtype).max)
    planes = [_reduced(Image.fromarray(pixels[..., c].astype(np.float32) / white), size) for c in range(3)]
    return torch.from_numpy(np.stack([np.asarray(plane) for plane in planes])).clamp(0, 1)[None]


def _reduced(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image.resize((size[1], size[0]), Image.Resampling.BICUBIC, reducing_gap=3.0)


def to_tensor(pixels: np.ndarray) -> Tensor:
    """Return uint8 or uint16 pixels [H, W, 3] as [1, 3, H, W] in [0, 1]."""
    values = pixels.astype(np.float32) / np.iinfo(pixels.dtype).max
    return torch.from_numpy(values).permute(2, 0, 1)[None]


def to_pixels(images: Tensor, dtype: np.dtype | type = np.uint8) -> np.ndarray:
    """Return an image [1, 3, H, W] as pixels [H, W, 3] of the type uint8 or uint16."""
    white = np.iinfo(dtype).max
    return (images[0].clamp(0, 1) * white).round().permute(1, 2, 0).numpy().astype(dtype)

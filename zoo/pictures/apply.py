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
from zoo.pictures.photo_file import (
    MAX_SIDE,
    Photo,
    check_side,
    check_writable,
    off_white,
    output_format,
    read_photo,
    write_photo,
)

DETAIL_SIDE = 512  # short side of the finest picture that the network sees; its long side has 4 times that at most
LEAST_SCALE = 16  # of `edit_photo`, pixels
MARGIN = 8  # pixels outside the frame, see `render`
LONGEST = 16  # the first pass squeezes panoramas that are longer than this times their height
STRIP_ROWS = 251  # off the 8-pixel blocks of JPEG, whose own borders would look like seams


def apply_to_photo(
    weights: PathLike, photo: PathLike, out: PathLike, base: PathLike | None = None, scale: int | None = None
) -> None:
    """Edit the photograph in file `photo` and writes it to `out`, at the same size.

    Args:
        weights: PEFT adapter folder, full fine-tune folder or base `.safetensors`.
        out: the suffix decides the format.
        base: the base generator of an adapter, when it is not found by its hash.
        scale: see `edit_photo`.

    Raises:
        WeightzooError: a file is absent, broken, of the wrong kind or cannot be written.
    """
    output_format(out)
    if Path(out).exists() and Path(photo).exists() and Path(out).samefile(photo):
        raise WeightzooError(f"{out} is the photograph itself; choose another name for the result")
    network = load_network(weights, base)
    source = read_photo(photo)
    for line in source.notes:
        warnings.warn(f"{photo}: {line}", WeightzooWarning, stacklevel=2)
    check_writable(out, (source.pixels.shape[1], source.pixels.shape[0]))  # before the work, not after it
    write_photo(out, edit_visible(network, source, scale), source.alpha)


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


def edit_visible(network: nn.Module, photo: Photo, scale: int | None = None) -> np.ndarray:
    """Edit what a photograph shows on a white page, so that colours that its alpha hides reach nothing.

    Returns:
        uint8 [H, W, 3]; under the photograph's alpha it looks on a white page like the edit of what was seen there.
    """
    return off_white(edit_photo(network, np.asarray(photo.on_white()), scale=scale), photo.alpha)


@torch.no_grad()
def edit_photo(
    network: nn.Module, pixels: np.ndarray, strip_rows: int = STRIP_ROWS, scale: int | None = None
) -> np.ndarray:
    """Edit a photograph of any size.

    Args:
        network: a generator of images [1, 3, h, w] in [0, 1]; one with `global_context` and `render` gives detail
            beyond its training size.
        pixels: uint8 [H, W, 3].
        strip_rows: rows that are held as floating-point numbers at a time; does not change the result.
        scale: short side, pixels, at which the network looks at the photograph, at most its own; default: the one that
            it was trained at. Lines and blurs are in pixels of that size, so a larger one makes them finer.

    Returns:
        uint8 [H, W, 3]

    Raises:
        WeightzooError: a side is longer than `zoo.pictures.photo_file.MAX_SIDE`, or a scale is out of range.
    """
    check_side("the photograph", (pixels.shape[1], pixels.shape[0]))
    if scale is not None:
        check_scale(network, scale)
    image = Image.fromarray(pixels)
    small, edited, gain = edit_small(network, image, scale)
    if getattr(network, "whole_photograph", False) and gain is None:  # at its own size: nothing to carry
        return to_pixels(edited)
    fit = fit_local_affine(small, edited, gain)
    size = (image.height, image.width)
    result = np.empty_like(pixels)
    for top in range(0, size[0], strip_rows):
        rows = (top, min(top + strip_rows, size[0]))
        strip = to_tensor(pixels[rows[0] : rows[1]])
        result[rows[0] : rows[1]] = to_pixels(fit.apply(strip, rows, size))
    return result


def check_scale(network: nn.Module, scale: int) -> None:
    """Raise `WeightzooError` where a network cannot look at photographs with a short side of `scale` pixels."""
    most = MAX_SIDE if getattr(network, "whole_photograph", False) else DETAIL_SIDE
    if not LEAST_SCALE <= scale <= most:
        raise WeightzooError(f"a scale of {scale} pixels is out of range; this network takes {LEAST_SCALE} to {most}")


def edit_small(
    network: nn.Module, image: Image.Image, scale: int | None = None
) -> tuple[Tensor, Tensor, DetailGain | None]:
    """Source and edited picture, [1, 3, h, w], and their `detail_gain`.

    The short side is at most `DETAIL_SIDE`, or `scale`. A photograph that is no larger than the training size, or the
    scale, has no gain: the network sees all of its detail.
    """
    training_size = getattr(network.config, "image_size", 64)
    training_size = side = training_size if scale is None else min(scale, *image.size)
    is_larger = min(image.size) > training_size
    is_whole = getattr(network, "whole_photograph", False)
    if is_whole or not hasattr(network, "render"):
        size = scaled(image, min(side, *image.size)) if is_whole else multiples(image, side)
        small, edit = resized(image, size), partial(bounded, network)
        return small, edit(small), detail_gain(edit, small) if is_larger else None
    small = resized(image, scaled(image, side))
    render = partial(bounded, network.render, context=network.global_context(small))
    edited = render(small, margin=MARGIN if is_larger else 0)
    finest = min(DETAIL_SIDE, *image.size, 4 * DETAIL_SIDE * min(image.size) // max(image.size))
    while side < finest:
        side = min(2 * side, finest)
        small = resized(image, scaled(image, side))
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


def scaled(image: Image.Image, side: int) -> tuple[int, int]:
    """Height and width of a copy with short side `side`."""
    short, long = sorted(image.size)
    longer = min(max(side, round(long * side / short)), LONGEST * side)
    return (side, longer) if image.width >= image.height else (longer, side)


def multiples(image: Image.Image, side: int) -> tuple[int, int]:
    """Height and width in multiples of `side`, nearest to the image's proportions."""
    short, long = sorted(image.size)
    longer = min(max(1, round(long / short)), LONGEST) * side
    return (side, longer) if image.width >= image.height else (longer, side)


def resized(image: Image.Image, size: tuple[int, int]) -> Tensor:
    """Return the image at `size` (height, width) as [1, 3, height, width] in [0, 1]."""
    copy = image.resize((size[1], size[0]), Image.Resampling.BICUBIC, reducing_gap=3.0)
    return to_tensor(np.asarray(copy))


def to_tensor(pixels: np.ndarray) -> Tensor:
    """Return uint8 pixels [H, W, 3] as [1, 3, H, W] in [0, 1]."""
    return torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None]


def to_pixels(images: Tensor) -> np.ndarray:
    """Return an image [1, 3, H, W] as uint8 pixels [H, W, 3]."""
    return (images[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()

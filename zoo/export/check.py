"""An ONNX file is compared with weightzoo's own edit before it is handed over.

    check(model, network, pixels_of_photographs)     # -> [Compared], or WeightzooError

Both edit the same photographs, as pictures of 16 bits: at 8 bits weightzoo rounds the small copy that it looks at,
which makes differences of about half a level of 255 that are no errors of the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from torch import nn

from zoo.errors import WeightzooError
from zoo.pictures.apply import edit_photo

ALIKE = 1e-4  # largest difference of values in [0, 1]; a level of 8 bits is 40 times that
# A rank among the tones of a photograph jumps where two tones differ in the last bit: this share of all values may
# differ by more, if none does by a quarter of a level of 8 bits
JUMPS, JUMP = 1e-3, 1e-3
WHITE = 65_535
SHAPE = (5, 4)  # of the photographs that are compared, the longer side to the shorter one


@dataclass(frozen=True)
class Compared:
    """How an ONNX file's edit of one photograph differs from weightzoo's.

    Attributes:
        size: width and height of the photograph, pixels.
        largest: difference of values in [0, 1].
        share: of the values that differ by more than `ALIKE`.
    """

    size: tuple[int, int]
    largest: float
    share: float

    @property
    def is_alike(self) -> bool:
        """Return whether the file gives what weightzoo gives."""
        return self.largest <= ALIKE or (self.share <= JUMPS and self.largest <= JUMP)


def check(
    model: bytes, network: nn.Module, photos: Sequence[Image.Image], scale: int | None = None, strength: float = 1.0
) -> list[Compared]:
    """Compare an ONNX file with the network that it was made of.

    The first photograph is made smaller than what the network looks at, the second one larger and upright, since these
    go different ways.

    Raises:
        WeightzooError: they differ.
    """
    config: Any = network.config
    side = int(getattr(config, "image_size", 64)) if scale is None else scale
    larger = side + max(side // 8, 36)
    sizes = ((side // 2 * SHAPE[0] // SHAPE[1], side // 2), (larger, larger * SHAPE[0] // SHAPE[1]))
    session = session_of(model)
    results = []
    for photo, size in zip(photos, sizes, strict=False):
        pixels = np.asarray(ImageOps.fit(photo.convert("RGB"), size)).astype(np.uint16) * (WHITE // 255)
        results.append(compare(session, network, pixels, scale, strength))
        if not results[-1].is_alike:
            width, height = results[-1].size
            raise WeightzooError(
                f"onnxruntime's edit of a photograph of {width}x{height} pixels differs from weightzoo's by "
                f"{results[-1].largest:.1g}, so the file is not written; use weightzoo apply, and report this adapter"
            )
    return results


def session_of(model: bytes) -> Any:
    """Return an onnxruntime session that says nothing."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors: it warns of inputs that may be left out
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def compare(
    session: Any, network: nn.Module, pixels: np.ndarray, scale: int | None = None, strength: float = 1.0
) -> Compared:
    """Return how both edits of a photograph, uint16 [H, W, 3], differ."""
    ours = edit_photo(network, pixels, scale=scale, strength=strength) / WHITE
    values = np.ascontiguousarray((pixels / np.float32(WHITE)).transpose(2, 0, 1)[None])
    theirs = session.run(["edited"], {"photo": values})[0][0].transpose(1, 2, 0)
    difference = np.abs(theirs - ours)
    largest = float(difference.max())
    if not np.isfinite(largest):
        largest = 1.0
    return Compared((pixels.shape[1], pixels.shape[0]), largest, float((difference > ALIKE).mean()))

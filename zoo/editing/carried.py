"""The tones of a film are carried from frame to frame, so that nothing flickers.

    carried = Carried()
    for pixels in frames:
        carried.begin(pixels)
        edited = edit_photo(network, pixels, carry=carried.context)

A network that takes the distribution of light and colours from the whole photograph changes its edit when something
bright enters the picture. The exponential mean over the frames does not jump. It begins anew where the film cuts. A
network says what it takes by a method `global_context`; one without it has nothing that could be carried.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from PIL import Image

KEEP = 0.95  # of the mean of the frames before, at each frame
THUMBNAIL = (32, 18)  # pixels: frames are compared as small as this
CUT = 30.0  # mean difference of such pictures, levels of 255, from which on a frame begins another scene

Context = TypeVar("Context", bound=tuple[Any, ...])


@dataclass
class Carried:
    """What the frames so far have left; `keep` is the share of it that stays at each frame."""

    keep: float = KEEP
    _mean: Any = None
    _thumbnail: np.ndarray | None = None

    def begin(self, pixels: np.ndarray) -> bool:
        """Take the next frame, uint8 [H, W, 3]; return whether it begins a scene, which forgets the earlier."""
        small = Image.fromarray(pixels).resize(THUMBNAIL, Image.Resampling.BOX)
        thumbnail = np.asarray(small).astype(np.float32)
        is_cut = self._thumbnail is None or float(np.abs(thumbnail - self._thumbnail).mean()) > CUT
        if is_cut:
            self._mean = None
        self._thumbnail = thumbnail
        return is_cut

    def context(self, context: Context) -> Context:
        """Return the mean of the contexts of a scene's frames, of which this is the next one.

        Args:
            context: what `global_context` gives, a named tuple of tensors.
        """
        if self._mean is not None:
            pairs = zip(self._mean, context, strict=True)
            context = type(context)(*(self.keep * old + (1 - self.keep) * new for old, new in pairs))
        self._mean = context
        return context

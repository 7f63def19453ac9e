"""What a frozen base sees of the pictures that a weight generator is trained on, kept from step to step.

    seen = SeenPictures(base)
    batch = seen.batch(picture_batch)            # a `zoo.training.batches.Batch`, for `run_on_batch`

A network of single pixels (`zoo.gans.solved`) is shown pixels that are scattered over each picture. To look at a
picture takes longer than to train on it, and the same photographs come again and again: what was seen is found again by
the picture's hash. A network of whole pictures is shown these.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

from zoo.gans.solved import SolvedGenerator
from zoo.pictures.picture_batches import PictureBatch, check_batch
from zoo.training.batches import Batch, at

PIXELS = 1024  # of each picture
MOST_KEPT = 2048  # pictures; 0.6 GB


class SeenPictures:
    """Turns batches of pictures into what one generator is trained on."""

    def __init__(self, generator: nn.Module) -> None:
        self.generator = generator
        self.known: dict[bytes, tuple[Tensor, Tensor]] = {}

    def batch(self, pictures: PictureBatch) -> Batch:
        """Return a batch of the same concepts.

        Raises:
            WeightzooError: prompts, sources and targets do not belong together.
        """
        check_batch(pictures)
        if not isinstance(self.generator, SolvedGenerator):
            return Batch(pictures.sources, pictures.targets, pictures.sources)
        sources = pictures.sources
        found = [self.look(picture) for picture in sources.flatten(0, -4)]
        places, maps = (torch.stack(part).unflatten(0, sources.shape[:-3]) for part in zip(*found, strict=True))
        targets = at(pictures.targets, places).flatten(1, 2)
        return Batch(self.generator.see(maps.flatten(-3, -2)), targets, sources)

    def look(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Return places in the flattened picture [3, H, W] and the maps there; the same whenever it comes."""
        assert isinstance(self.generator, SolvedGenerator)
        key = hashlib.sha256(picture.numpy(force=True).tobytes()).digest()
        if key not in self.known:
            draw = torch.Generator().manual_seed(int.from_bytes(key[:7]))
            places = torch.randperm(picture[0].numel(), generator=draw)[:PIXELS]
            if len(self.known) >= MOST_KEPT:
                self.known.pop(next(iter(self.known)))
            self.known[key] = places, self.generator.maps_of(picture, places)
        return self.known[key]

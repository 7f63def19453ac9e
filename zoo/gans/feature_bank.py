"""Features of a photograph at its own size, for an output layer that is linear in them.

    bank = FeatureBankConfig().build()
    context = bank.context(small)                    # of the whole photograph, reduced: `CONTEXT_SIDE`
    maps = bank.maps(padded, context, place)         # what a crop shows, [channels, h, w]; or some of its pixels
    features = bank.expand(maps.flatten(1).T)        # [pixels, num_features]; the last one is 1

`maps` sees the neighbourhood of a pixel and where the pixel lies in its photograph: colour, differences of blurs
from 1 to 6 pixels wide and of two that are relative to the photograph, slopes, extremes, a 5x5 patch, and the colour
in relation to the photograph's own tones (many tools stretch or equalise every picture). `expand` looks at one pixel
only: products of these, and ReLUs whose weights are drawn once or learned. Kin of the guide of HDRNet (Gharbi et al.,
2017), with a fixed bank in place of learned layers.

All that belongs to the whole photograph comes from `context`, and places are whole numbers, so a strip of a photograph
has the features of the whole one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONTEXT_SIDE = 64  # short side of the reduced photograph, pixels
RIM = 17  # pixels around a crop that its features see
QUANTILES = (0.005, 0.995)  # the darkest and brightest tones that a stretch keeps
KERNEL = (0.25, 0.5, 0.25)
DILATIONS = (1, 2, 4, 8)  # of the four blurs in pixels, a cascade (à trous): standard deviations 0.7 to 6.5
WIDE = (1, 4)  # times KERNEL along both axes: the two blurs that are relative to the photograph
SMALL = 1e-4  # keeps roots differentiable
TIE = 1e-5  # luminances that differ less are equal: those of a white sky differ by rounding, on every machine otherwise

COLOURS, BANDS, TONES, MEAN, PATCH = 3, 18, 5, 3, 24
PARTS = {
    "colour": COLOURS, "bands": BANDS, "slopes": 9, "extremes": 4, "spread": 1, "tones": TONES, "mean": MEAN,
    "position": 2, "patch": PATCH,
}  # fmt: skip
CHANNELS = sum(PARTS.values())
NEIGHBOURS = [(y, x) for y in range(-2, 3) for x in range(-2, 3) if (y, x) != (0, 0)]
ADJACENT = [k for k, place in enumerate(NEIGHBOURS) if max(map(abs, place)) == 1]
BAND_GAINS = (4.0,) * 6 + (3.0,) * 6 + (2.0,) * 6


class Place(NamedTuple):
    """Where a crop lies in its photograph, pixels."""

    top: int
    left: int
    height: int  # of the photograph
    width: int


@dataclass(frozen=True)
class Spots:
    """The pixels of a crop that are looked at: all [h, w] of it, or `n` of them.

    Attributes:
        size: h and w.
        chosen: [n], places in the flattened crop; None: all of it.
    """

    size: tuple[int, int]
    chosen: Tensor | None = None

    def of(self, maps: Tensor, down: int = 0, right: int = 0) -> Tensor:
        """Return maps at these pixels, or at those so many pixels away, [c, h, w] or [c, n].

        Args:
            maps: of the crop with a rim of any equal width around it, [c, h + 2 rim, w + 2 rim].
        """
        (height, width), longer = self.size, maps.shape[-1]
        rim = (longer - width) // 2
        top, left = rim + down, rim + right
        if self.chosen is None:
            return maps[:, top : top + height, left : left + width]
        rows, columns = self.chosen // width, self.chosen % width
        return maps.flatten(1)[:, (rows + top) * longer + columns + left]

    def places(self, place: Place, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return x and y of the pixels from -1 to 1 over the photograph, [h, w] or [n] each."""
        height, width = self.size
        if self.chosen is None:
            places = torch.arange(height * width, device=like.device).view(height, width)
        else:
            places = self.chosen
        x, y = ((part.to(like.dtype) * 2 + 1) for part in (places % width + place.left, places // width + place.top))
        return x / place.width - 1, y / place.height - 1


class Context(NamedTuple):
    """What belongs to the whole photograph.

    Attributes:
        wide: two blurs of the reduced photograph, [2, 3, h, w] in [-1, 1].
        low, high: the ends of its tones, RGB and luminance, [4] in [0, 1].
        luminances: of the reduced photograph, in ascending order.
        mean: its mean colour, [3] in [-1, 1].
    """

    wide: Tensor
    low: Tensor
    high: Tensor
    luminances: Tensor
    mean: Tensor


@dataclass(frozen=True)
class FeatureBankConfig:
    """How many ReLU features there are of each kind.

    Args:
        colour: of the colour alone.
        patch: of the 5x5 patch of luminance and the colour.
        scales: of the colour and the differences of blurs.
        tones: of the colour in relation to the photograph's tones.
    """

    colour: int = 96
    patch: int = 96
    scales: int = 96
    tones: int = 48

    def build(self) -> FeatureBank:
        """Return a bank whose ReLUs are drawn at random."""
        return FeatureBank(self)


class FeatureBank(nn.Module):
    """See the module's docstring."""

    def __init__(self, config: FeatureBankConfig) -> None:
        super().__init__()
        self.config = config
        self.colour = drawn(COLOURS, config.colour, 1.5, 0.5)
        self.patch = drawn(PATCH + COLOURS, config.patch, 3.0, 0.3)
        self.scales = drawn(COLOURS + BANDS, config.scales, 2.0, 0.4)
        self.tones = drawn(2 + COLOURS + MEAN, config.tones, 3.0, 0.4)

    @property
    def num_features(self) -> int:
        """Return the length of a row of `expand`."""
        config = self.config
        plain = CHANNELS - PATCH + 9 + 2 * TONES + MEAN + 3 + 1
        return plain + config.colour + config.patch + config.scales + config.tones

    def context(self, small: Tensor) -> Context:
        """Return what belongs to the whole photograph, from `small` [3, h, w] in [0, 1] with `CONTEXT_SIDE`."""
        first = blurred(small[None] * 2 - 1, WIDE[0])
        wide = torch.cat([first, blurred(first, WIDE[1])])
        values = torch.cat([small, small.mean(0, keepdim=True)]).flatten(1)
        low, high = values.quantile(torch.tensor(QUANTILES, device=small.device), dim=1)
        return Context(wide, low, high, values[3].sort().values, values[:3].mean(1) * 2 - 1)

    def maps(self, padded: Tensor, context: Context, place: Place, chosen: Tensor | None = None) -> Tensor:
        """Return what a crop shows at each pixel, [CHANNELS, h, w], or at n of them, [CHANNELS, n].

        Args:
            padded: the crop with `RIM` pixels of its surroundings, [3, h + 2 RIM, w + 2 RIM] in [0, 1]; beyond the
                frame of the photograph its border pixels go on.
            chosen: the pixels that are looked at, as places in the flattened crop, [n]; None: all.
        """
        spots = Spots((padded.shape[-2] - 2 * RIM, padded.shape[-1] - 2 * RIM), chosen)
        image, levels = spots.of(padded), cascade(padded * 2 - 1)
        x, y = spots.places(place, image)
        here = [spots.of(level) for level in levels] + list(sampled(context.wide, x, y))
        bands = [fine - coarse for fine, coarse in zip(here, here[1:], strict=False)]
        grey = [level.mean(0, keepdim=True) for level in (levels[0], levels[1], levels[3])]
        patch = torch.cat([spots.of(grey[0], *away) for away in NEIGHBOURS]) - spots.of(grey[0])
        mean = context.mean.view(-1, *[1] * x.dim()).expand(-1, *x.shape)
        parts = [here[0], *bands, *(slopes(spots, level) for level in grey), extremes(patch)]
        parts += [spread(spots, levels[0], levels[3]), tones(image, context), mean, torch.stack([x, y]), patch]
        return torch.cat(parts)

    def expand(self, rows: Tensor) -> Tensor:
        """Return the features of pixels, [N, num_features], from their maps [N, CHANNELS]."""
        colour, bands, slope, extreme, spread, tone, mean, position, patch = rows.split(list(PARTS.values()), 1)
        grey, half = colour.mean(1, keepdim=True), colour * 0.5
        r, g, b = colour.split(1, 1)
        x, y = position.split(1, 1)
        products = [r * r, r * g, r * b, g * g, g * b, b * b, colour**3]
        relus = [
            self.colour(colour),
            self.patch(torch.cat([patch, half], 1)),
            self.scales(torch.cat([colour, bands * rows.new_tensor(BAND_GAINS)], 1)),
            self.tones(torch.cat([tone[:, 3:], half, mean * 0.5], 1)),
        ]
        plain = [colour, bands, slope, extreme, spread, tone, mean, position, *products, tone**2, tone**3]
        return torch.cat([*plain, mean * grey, x * x, x * y, y * y, *map(F.relu, relus), torch.ones_like(x)], 1)


def drawn(inputs: int, outputs: int, norm: float, bias: float) -> nn.Linear:
    """Return a linear layer whose rows have length `norm` and whose biases spread by `bias`."""
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        rows = torch.randn(outputs, inputs)
        layer.weight.copy_(F.normalize(rows, dim=1, eps=1e-6) * norm)
        layer.bias.copy_(torch.randn(outputs) * bias)
    return layer


def cascade(x: Tensor) -> list[Tensor]:
    """Return `x` [3, h, w] and its four blurs, each of the one before and smaller by what it sees beyond the edge."""
    levels = [x]
    for step in DILATIONS:
        levels.append(smoothed(levels[-1], step))
    return levels


def smoothed(x: Tensor, step: int = 1) -> Tensor:
    """Return `x` [..., h, w] under KERNEL with `step` pixels between its taps, [..., h - 2 step, w - 2 step]."""
    for axis in (-2, -1):
        size = x.shape[axis] - 2 * step
        before, here, after = (x.narrow(axis, at, size) for at in (0, step, 2 * step))
        x = (before + after).mul_(KERNEL[0]).add_(here, alpha=KERNEL[1])
    return x


def blurred(x: Tensor, doublings: int) -> Tensor:
    """Return `x` [1, 3, h, w] smoothed `doublings` times, with steps of 1, 2, 4, ... pixels; its border goes on."""
    for k in range(doublings):
        x = smoothed(F.pad(x, (2**k,) * 4, mode="replicate"), 2**k)
    return x


def sampled(maps: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return maps of the whole photograph [n, 3, h, w] at places from -1 to 1 over it, [n, 3, *x.shape]."""
    grid = torch.stack([x, y], -1).view(1, -1, x.shape[-1], 2).expand(len(maps), -1, -1, -1)
    found = F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return found.view(*maps.shape[:2], *x.shape)


def slopes(spots: Spots, grey: Tensor) -> Tensor:
    """Return slopes along x and y of [1, h + 2 rim, w + 2 rim] and their length, three channels."""
    x = spots.of(grey, right=1) - spots.of(grey, right=-1)
    y = spots.of(grey, down=1) - spots.of(grey, down=-1)
    return torch.cat([x, y, (x.square() + y.square() + SMALL).sqrt()])


def extremes(patch: Tensor) -> Tensor:
    """Return how far the brightest and the darkest of the 3x3 and 5x5 neighbours are, of a pixel's `NEIGHBOURS`."""
    ends = [(part.amax(0), -part.amin(0)) for part in (patch[ADJACENT], patch)]
    return torch.stack([end for both in ends for end in both]).clamp_min(0)


def spread(spots: Spots, colour: Tensor, level: Tensor) -> Tensor:
    """Return the standard deviation of luminance around its blur `level`, one channel."""
    cut = (colour.shape[-1] - level.shape[-1]) // 2
    squares = (colour[:, cut:-cut, cut:-cut] - level).mean(0, keepdim=True).square()
    return (spots.of(smoothed(smoothed(squares), 2)) + SMALL).sqrt()


def tones(image: Tensor, context: Context) -> Tensor:
    """Return the colour stretched between the photograph's own ends, its luminance's rank, and that stretched."""
    grey = image.mean(0, keepdim=True)
    both = torch.cat([image, grey])
    low, high = (end.view(-1, *[1] * (image.dim() - 1)) for end in (context.low, context.high))
    stretched = ((both - low) / (high - low).clamp_min(0.05)).clamp(-0.1, 1.1) * 2 - 1
    rank = torch.searchsorted(context.luminances, grey - TIE).to(image.dtype) / len(context.luminances)
    return torch.cat([stretched[:3], rank * 2 - 1, stretched[3:]])

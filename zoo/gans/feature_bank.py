"""Features of a photograph at its own size, for an output layer that is linear in them.

    bank = FeatureBankConfig().build()
    context = bank.context(small)                    # of the whole photograph, reduced: `CONTEXT_SIDE`
    maps = bank.maps(padded, context, place)         # what a crop shows, [channels, h, w]
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
BAND_GAINS = (4.0,) * 6 + (3.0,) * 6 + (2.0,) * 6


class Place(NamedTuple):
    """Where a crop lies in its photograph, pixels."""

    top: int
    left: int
    height: int  # of the photograph
    width: int


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

    def maps(self, padded: Tensor, context: Context, place: Place) -> Tensor:
        """Return what a crop shows at each pixel, [CHANNELS, h, w].

        Args:
            padded: the crop with `RIM` pixels of its surroundings, [3, h + 2 RIM, w + 2 RIM] in [0, 1]; beyond the
                frame of the photograph its border pixels go on.
        """
        image = inner(padded, RIM)
        colour, size = padded * 2 - 1, (image.shape[-2], image.shape[-1])
        levels = cascade(colour)
        here = [inner(level, RIM) for level in levels] + list(sampled(context.wide, size, place))
        bands = [fine - coarse for fine, coarse in zip(here, here[1:], strict=False)]
        grey = [level.mean(0, keepdim=True) for level in (colour, levels[1], levels[3])]
        patch = patches(inner(grey[0], RIM - 2)) - inner(grey[0], RIM)
        position = positions(size, place, image)
        mean = context.mean[:, None, None].expand(-1, *size)
        parts = [here[0], *bands, *map(slopes, grey), extremes(grey[0]), spread(colour, levels[3])]
        return torch.cat([*parts, tones(image, context), mean, position, patch])

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


def inner(x: Tensor, rim: int) -> Tensor:
    """Return maps without `rim` pixels on each side."""
    return x[..., rim : x.shape[-2] - rim, rim : x.shape[-1] - rim]


def cascade(x: Tensor) -> list[Tensor]:
    """Return `x` [3, h, w] and its four blurs, each of the one before; right but for the outer 15 pixels."""
    levels = [x]
    for step in DILATIONS:
        levels.append(smoothed(levels[-1], step))
    return levels


def smoothed(x: Tensor, step: int = 1) -> Tensor:
    """Return `x` [..., h, w] under KERNEL with `step` pixels between its taps, along both axes."""
    for axis, pad in ((-2, (0, 0, step, step)), (-1, (step, step, 0, 0))):
        longer, size = F.pad(x, pad, mode="replicate"), x.shape[axis]
        before, here, after = (longer.narrow(axis, at, size) for at in (0, step, 2 * step))
        x = KERNEL[0] * (before + after) + KERNEL[1] * here
    return x


def blurred(x: Tensor, doublings: int) -> Tensor:
    """Return `x` [1, 3, h, w] smoothed `doublings` times, with steps of 1, 2, 4, ... pixels."""
    for k in range(doublings):
        x = smoothed(x, 2**k)
    return x


def sampled(maps: Tensor, size: tuple[int, int], place: Place) -> Tensor:
    """Return maps of the whole photograph [n, 3, h, w] at the pixels of a crop, [n, 3, *size]."""
    x, y = (values * 2 + 1 for values in pixels(size, place, maps))
    x, y = x / place.width - 1, y / place.height - 1
    grid = torch.stack([x.expand(*size), y.expand(*size)], -1)[None].expand(len(maps), -1, -1, -1)
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)


def pixels(size: tuple[int, int], place: Place, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return columns [1, w] and rows [h, 1] of a crop's pixels within its photograph."""
    height, width = size
    rows = torch.arange(place.top, place.top + height, device=like.device, dtype=like.dtype)
    columns = torch.arange(place.left, place.left + width, device=like.device, dtype=like.dtype)
    return columns[None], rows[:, None]


def positions(size: tuple[int, int], place: Place, like: Tensor) -> Tensor:
    """Return x and y of each pixel, [2, h, w], from -1 to 1 over the photograph."""
    x, y = pixels(size, place, like)
    x, y = (x * 2 + 1) / place.width - 1, (y * 2 + 1) / place.height - 1
    return torch.stack([x.expand(*size), y.expand(*size)])


def slopes(grey: Tensor) -> Tensor:
    """Return slopes along x and y of [1, h + 2 RIM, w + 2 RIM] and their length, [3, h, w]."""
    around = inner(grey, RIM - 1)
    x = (around[..., 2:] - around[..., :-2])[..., 1:-1, :]
    y = (around[..., 2:, :] - around[..., :-2, :])[..., 1:-1]
    return torch.cat([x, y, (x.square() + y.square() + SMALL).sqrt()])


def extremes(grey: Tensor) -> Tensor:
    """Return how far the brightest and the darkest of the 3x3 and 5x5 neighbours are, [4, h, w]."""
    found = []
    for reach in (1, 2):
        around = inner(grey, RIM - reach)[None]
        here = inner(grey, RIM)
        found += [F.max_pool2d(sign * around, 2 * reach + 1, 1)[0] - sign * here for sign in (1, -1)]
    return torch.cat(found)


def spread(colour: Tensor, level: Tensor) -> Tensor:
    """Return the standard deviation of luminance around its blur `level`, [1, h, w]."""
    squares = (colour - level).mean(0, keepdim=True).square()
    return (inner(smoothed(smoothed(squares), 2), RIM) + SMALL).sqrt()


def patches(grey: Tensor) -> Tensor:
    """Return the 24 neighbours of each pixel in [1, h + 4, w + 4], [24, h, w]."""
    height, width = grey.shape[-2] - 4, grey.shape[-1] - 4
    around = [grey[0, y : y + height, x : x + width] for y in range(5) for x in range(5) if (y, x) != (2, 2)]
    return torch.stack(around)


def tones(image: Tensor, context: Context) -> Tensor:
    """Return the colour stretched between the photograph's own ends, its luminance's rank, and that stretched."""
    grey = image.mean(0, keepdim=True)
    both = torch.cat([image, grey])
    low, high = context.low[:, None, None], context.high[:, None, None]
    stretched = ((both - low) / (high - low).clamp_min(0.05)).clamp(-0.1, 1.1) * 2 - 1
    rank = torch.searchsorted(context.luminances, grey - TIE).to(image.dtype) / len(context.luminances)
    return torch.cat([stretched[:3], rank * 2 - 1, stretched[3:]])

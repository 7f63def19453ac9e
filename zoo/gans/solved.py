"""A generator whose output layer is linear in a bank of features of the photograph, and is solved on pairs.

    generator = SolvedConfig(image_size=512).build()
    edited = generator(photographs)                     # whole photographs [N, 3, H, W] in [0, 1], any size
    edited = generator(generator.see(maps))             # some pixels only, [..., P, 3]

`zoo.closed_form` solves the layer on pairs. The generator carries the prior that it was solved with, so it can be
solved again, and the scale that its pairs had: widths are in pixels of a photograph with that short side. Branches,
small trained networks of the same pixels, may stand beside the bank.

The bank looks at the neighbourhood of a pixel at the photograph's own size and at a small copy of the whole photograph;
nothing after it looks further than the pixel. So networks are trained on pixels that are scattered over many
photographs (`zoo.training.pixels`), and the generators of a zoo are adapters: a LoRA in the branch, and the output
layer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.closed_form import Prior
from zoo.files import EMBEDDED_DIR
from zoo.gans.branches import Branch
from zoo.gans.feature_bank import CONTEXT_SIDE, RIM, Context, FeatureBank, FeatureBankConfig, Place

STRIP_PIXELS = 1 << 16  # pixels whose maps are held at a time
ROWS_AT_ONCE = 1 << 12  # pixels whose features and ReLUs are: they stay in the processor's cache
PRIOR = EMBEDDED_DIR / "prior.safetensors"  # a bank and a prior that are learned (`pipeline.fleets.train_prior`)
PENALTY = 3e-3  # of every feature, before penalties are learned
OWN = ("output", "branches.")  # how the names of the tensors begin that belong to one edit


@dataclass(frozen=True)
class SolvedConfig(FeatureBankConfig):
    """Sizes of the feature bank, and the scale.

    Args:
        image_size: short side of the photographs that the layer was solved on, pixels.
        branches: names in `zoo.gans.branches.READS`.
        hidden: ReLUs of each layer of a branch.
        lora_rank: rank of the adapters in the branches' layers; 0 builds plain ones.
    """

    image_size: int = 256
    branches: tuple[str, ...] = ()
    hidden: int = 64
    lora_rank: int = 0
    train_output: ClassVar[bool] = True  # the output layer belongs to adapters as a whole

    def build(self) -> SolvedGenerator:
        """Return a generator that copies its source, with a random bank and equal penalties."""
        return SolvedGenerator(self)


class Seen(NamedTuple):
    """What a generator sees of pixels, which no adapter changes.

    Attributes:
        maps: the bank's, [..., P, CHANNELS].
        features: the bank's, [..., P, num_features].
    """

    maps: Tensor
    features: Tensor


class Tones(NamedTuple):
    """What `zoo.gans.feature_bank.Context` says of a photograph's tones."""

    low: Tensor
    high: Tensor
    luminances: Tensor
    mean: Tensor


class SolvedGenerator(nn.Module):
    """See the module's docstring."""

    whole_photograph = True  # `forward` takes photographs of any size, and needs all of each
    frozen = ("bank.",)  # how the names begin of parameters that neither adapters nor fine-tunings change

    def __init__(self, config: SolvedConfig) -> None:
        super().__init__()
        self.config = config
        self.bank = FeatureBank(config)
        self.branches = nn.ModuleList([Branch(name, config.hidden, config.lora_rank) for name in config.branches])
        features = self.bank.num_features
        self.output = nn.Linear(features + config.hidden * len(self.branches), 3, bias=False)
        with torch.no_grad():
            self.layer.copy_(torch.eye(*self.layer.shape))  # the first three features are the colour
        self.register_buffer("mean", torch.eye(features, 3))
        self.register_buffer("log_penalty", torch.full((features,), math.log(PENALTY)))
        self.register_buffer("slope", torch.full((features,), -0.5))

    @property
    def layer(self) -> Tensor:
        """Return the output layer, [features, 3]."""
        return self.output.weight.T

    @property
    def layer_parts(self) -> Sequence[Tensor]:
        """Return the output layer over the bank's features [num_features, 3] and over each branch [hidden, 3]."""
        return self.layer.split([self.bank.num_features, *[self.config.hidden] * len(self.branches)])

    @property
    def prior(self) -> Prior:
        """Return what the bank's output layers are pulled to."""
        return Prior(*(cast(Tensor, getattr(self, name)) for name in Prior._fields))

    def shared(self) -> dict[str, Tensor]:
        """Return the tensors of the bank and of the prior, which all edits share."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith(OWN)}

    def forward(self, inputs: Tensor | Seen, context: Tones | None = None) -> Tensor:
        """Return whole photographs [N, 3, H, W] edited, or pixels [..., P, 3]; not clamped.

        Args:
            context: stands for the photographs' own tones.
        """
        if isinstance(inputs, Seen):
            return self.pixels(inputs)
        return torch.stack([self.edit(photograph, context) for photograph in inputs])

    def global_context(self, photographs: Tensor) -> Tones:
        """Return the tones of a photograph [1, 3, H, W]: all that the whole of it decides, beside its blurs."""
        return Tones(*self.bank.context(reduced(photographs[0]))[1:])

    def edit(self, photograph: Tensor, tones: Tones | None = None) -> Tensor:
        """Return one photograph [3, H, W] edited strip by strip, which changes nothing."""
        edited = [self.pixels(self.see(maps)) for maps in self.strips(photograph, tones)]
        return torch.cat(edited).T.unflatten(1, photograph.shape[1:])

    def pixels(self, seen: Seen) -> Tensor:
        """Return pixels edited, [..., P, 3]."""
        parts = self.parts(seen)
        # a product for each part, added up: to join the parts would cost as much as all of their products
        shares = self.output.weight.split([part.shape[-1] for part in parts], 1)
        edited = [part @ share.T for part, share in zip(parts, shares, strict=True)]
        return torch.stack(edited).sum(0) / 2 + 0.5

    def parts(self, seen: Seen) -> list[Tensor]:
        """Return what the output layer is linear in: the bank's features of pixels, then those of each branch."""
        return [seen.features, *(branch(seen.maps) for branch in self.branches)]

    @torch.no_grad()
    def see(self, maps: Tensor) -> Seen:
        """Return what is seen of pixels, from their maps [..., P, CHANNELS]."""
        rows = maps.flatten(0, -2)
        features = [self.bank.expand(part) for part in rows.split(ROWS_AT_ONCE)]
        return Seen(maps, torch.cat(features).unflatten(0, maps.shape[:-1]))

    @torch.no_grad()
    def strips(self, photograph: Tensor, tones: Tones | None = None) -> Iterator[Tensor]:
        """Return the bank's maps of all pixels of a photograph [3, H, W], row by row in parts, [P, CHANNELS] each.

        Args:
            tones: stand for the photograph's own.
        """
        context, padded = self.whole(photograph)
        if tones is not None:
            context = context._replace(**tones._asdict())
        height, width = photograph.shape[-2:]
        rows = max(1, STRIP_PIXELS // width)
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            maps = self.bank.maps(padded[:, top : bottom + 2 * RIM], context, Place(top, 0, height, width))
            yield from maps.flatten(1).T.split(ROWS_AT_ONCE)

    @torch.no_grad()
    def maps_of(self, photograph: Tensor, chosen: Tensor) -> Tensor:
        """Return the bank's maps at some pixels of a photograph [3, H, W], [len(chosen), channels].

        Args:
            chosen: places in the flattened picture.
        """
        context, padded = self.whole(photograph)
        height, width = photograph.shape[-2:]
        return self.bank.maps(padded, context, Place(0, 0, height, width), chosen).T.contiguous()

    def whole(self, photograph: Tensor) -> tuple[Context, Tensor]:
        """Return what belongs to the whole photograph, and the photograph with its border pixels continued."""
        padded = F.pad(photograph[None], (RIM,) * 4, mode="replicate")[0]
        return self.bank.context(reduced(photograph)), padded


def assembled(
    like: SolvedGenerator,
    branches: Sequence[tuple[str, Mapping[str, Tensor]]],
    layer: Tensor,
    image_size: int | None = None,
) -> SolvedGenerator:
    """Return a frozen generator without adapters, on the bank and with the prior of another one.

    Args:
        branches: name and tensors of each, without adapters; all of one width. They are copied.
        layer: the output layer over the bank and over each branch in turn, [features, 3].
        image_size: see `SolvedConfig`; None takes that of `like`.
    """
    hidden = next((len(tensors["second.bias"]) for _, tensors in branches), like.config.hidden)
    size = like.config.image_size if image_size is None else image_size
    names = tuple(name for name, _ in branches)
    config = replace(like.config, image_size=size, branches=names, hidden=hidden, lora_rank=0)
    own = {f"branches.{k}.{key}": value for k, (_, tensors) in enumerate(branches) for key, value in tensors.items()}
    result = config.build().requires_grad_(False).eval()
    result.load_state_dict(like.shared() | own | {"output.weight": layer.T})
    return result


def reduced(photograph: Tensor) -> Tensor:
    """Return a photograph [3, H, W] with a short side of `CONTEXT_SIDE`."""
    height, width = photograph.shape[-2:]
    factor = CONTEXT_SIDE / min(height, width)
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    small = F.interpolate(photograph[None], size, mode="bicubic", antialias=True, align_corners=False)
    return small[0].clamp(0, 1)

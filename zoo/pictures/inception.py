"""Inception v3 as FID and KID papers use it, for users who have its weights.

The weights are not ours to ship. :func:`read_inception` takes them as

- `pt_inception-2015-12-05-6726825d.pth` of pytorch-fid's releases (checked by its sha256), or
- a `.safetensors` file with the same tensor names (`Mixed_5b.branch1x1.conv.weight`, ...).

The network is a table of branches over folded tensors: kernel sizes and widths come from the weights.
"""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.errors import WeightzooError
from zoo.files import PathLike, sha256_file

FID_SHA256_START = "6726825d"  # also the end of the published file's name
EPSILON = 1e-3

# A branch is a chain of convolutions and pools; the members of a tuple inside it run side by side.
AVERAGE, MAXIMUM, REDUCE = "average", "maximum", "reduce"
Branch = tuple[str | tuple[str, str], ...]
_DOUBLE = ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3")
_A: tuple[Branch, ...] = (("branch1x1",), ("branch5x5_1", "branch5x5_2"), _DOUBLE, (AVERAGE, "branch_pool"))
_B: tuple[Branch, ...] = (("branch3x3",), _DOUBLE, (REDUCE,))
_C: tuple[Branch, ...] = (
    ("branch1x1",),
    tuple(f"branch7x7_{index}" for index in (1, 2, 3)),
    tuple(f"branch7x7dbl_{index}" for index in (1, 2, 3, 4, 5)),
    (AVERAGE, "branch_pool"),
)
_D: tuple[Branch, ...] = (
    ("branch3x3_1", "branch3x3_2"),
    tuple(f"branch7x7x3_{index}" for index in (1, 2, 3, 4)),
    (REDUCE,),
)


def _e(pool: str) -> tuple[Branch, ...]:
    return (
        ("branch1x1",),
        ("branch3x3_1", ("branch3x3_2a", "branch3x3_2b")),
        ("branch3x3dbl_1", "branch3x3dbl_2", ("branch3x3dbl_3a", "branch3x3dbl_3b")),
        (pool, "branch_pool"),
    )


STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", REDUCE, "Conv2d_3b_1x1", "Conv2d_4a_3x3", REDUCE)
BLOCKS: dict[str, tuple[Branch, ...]] = {
    **dict.fromkeys(("Mixed_5b", "Mixed_5c", "Mixed_5d"), _A),
    "Mixed_6a": _B,
    **dict.fromkeys(("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"), _C),
    "Mixed_7a": _D,
    "Mixed_7b": _e(AVERAGE),
    "Mixed_7c": _e(MAXIMUM),  # so in the network behind every published FID, probably by mistake
}
STRIDE_2 = {
    "Conv2d_1a_3x3",
    "Mixed_6a.branch3x3",
    "Mixed_6a.branch3x3dbl_3",
    "Mixed_7a.branch3x3_2",
    "Mixed_7a.branch7x7x3_4",
}
UNPADDED = STRIDE_2 | {"Conv2d_2a_3x3", "Conv2d_4a_3x3"}
POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    AVERAGE: lambda x: F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False),
    MAXIMUM: lambda x: F.max_pool2d(x, 3, stride=1, padding=1),
    REDUCE: lambda x: F.max_pool2d(x, 3, stride=2),
}


def convolution_names() -> list[str]:
    """Return the names of all convolutions, in order."""
    names = [step for step in STEM if step not in POOLS]
    for block, branches in BLOCKS.items():
        for branch in branches:
            for step in branch:
                inner = step if isinstance(step, tuple) else (step,)
                names += [f"{block}.{name}" for name in inner if name not in POOLS]
    return names


def folded(weights: dict[str, Tensor], convolution: str, norm: str) -> tuple[Tensor, Tensor]:
    """Return kernel and bias of a convolution without a bias into which the batch norm after it is folded."""
    scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + EPSILON).sqrt()
    bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
    return weights[f"{convolution}.weight"] * scale[:, None, None, None], bias


class InceptionV3(nn.Module):
    """Inception v3 up to its pooled 2048 features, from a state dict with the published names."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        for name in convolution_names():
            kernel, bias = folded(weights, f"{name}.conv", f"{name}.bn")
            key = name.replace(".", "/")
            self.register_buffer(f"{key}:weight", kernel.float())
            self.register_buffer(f"{key}:bias", bias.float())

    def forward(self, images: Tensor) -> Tensor:
        """Map `[N, 3, 299, 299]` in [0, 1] to `[N, 2048]`."""
        hidden = images * 2 - 1
        for step in STEM:
            hidden = self._step(step, hidden)
        for block, branches in BLOCKS.items():
            hidden = torch.cat([self._branch(block, branch, hidden) for branch in branches], 1)
        return hidden.mean((2, 3))

    def _branch(self, block: str, branch: Branch, hidden: Tensor) -> Tensor:
        for step in branch:
            if isinstance(step, tuple):
                hidden = torch.cat([self._step(f"{block}.{name}", hidden) for name in step], 1)
            else:
                hidden = self._step(step if step in POOLS else f"{block}.{step}", hidden)
        return hidden

    def _step(self, name: str, hidden: Tensor) -> Tensor:
        if name in POOLS:
            return POOLS[name](hidden)
        key = name.replace(".", "/")
        weight, bias = self.get_buffer(f"{key}:weight"), self.get_buffer(f"{key}:bias")
        rows, columns = weight.shape[-2:]
        padding = (0, 0) if name in UNPADDED else (rows // 2, columns // 2)
        return F.relu(F.conv2d(hidden, weight, bias, stride=2 if name in STRIDE_2 else 1, padding=padding))


def read_inception(path: PathLike) -> tuple[str, InceptionV3]:
    """Load the network from a weights file.

    Returns:
        The name for figures and the network. The published file is `inception-v3-fid`, any other file is
        `inception-v3` with the start of its sha256: figures of different weights cannot be mixed up.

    Raises:
        WeightzooError: the file is absent, not of these kinds, or does not hold this network.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightzooError(f"the Inception weights {path} do not exist; check the path")
    digest = sha256_file(path)
    published = digest.startswith(FID_SHA256_START)
    try:
        if published:
            weights = torch.load(path, map_location="cpu", weights_only=True)
        else:
            from safetensors.torch import load_file

            weights = load_file(path)
        network = InceptionV3(weights)
        with torch.inference_mode():
            width = network(torch.zeros(1, 3, 75, 75)).shape[1]
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise WeightzooError(
            f"{path} does not hold Inception v3 weights ({reason}); "
            "give pt_inception-2015-12-05-6726825d.pth, or a .safetensors file with its tensors"
        ) from None
    if width != 2048:
        raise WeightzooError(f"{path} gives {width} features instead of 2048; give Inception v3 weights")
    return ("inception-v3-fid" if published else f"inception-v3-{digest[:8]}"), network.eval()

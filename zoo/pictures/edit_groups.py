"""Groups of edits of the same photographs, as the pipeline renders them and a weight generator learns to read pairs.

    group = EditGroup(maps, targets, prompts)
    write_group(path, group, "0123abcd")
    group = read_group(path, "0123abcd")

This is a contract between two packages that do not know each other. All edits of a group share their photographs and
the places in these, so that whatever depends on the photographs alone is computed once for all of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from zoo.errors import WeightzooError
from zoo.tensors import read_tensors, write_tensors


@dataclass(frozen=True, eq=False)
class EditGroup:
    """E edits of n photographs, at P places in each.

    Attributes:
        maps: what a feature bank sees there (`zoo.gans.feature_bank`), float16 [n, P, channels].
        targets: the edited colours, uint8 [E, n, P, 3].
        prompts: wordings of each edit; none for an edit without words.
    """

    maps: Tensor
    targets: Tensor
    prompts: tuple[tuple[str, ...], ...]


def write_group(path: Path, group: EditGroup, made_from: str) -> None:
    """Write a group as a safetensors file, atomically.

    Args:
        made_from: a digest of what decided the content.
    """
    about = {"prompts": json.dumps(group.prompts), "made_from": made_from}
    write_tensors(path, {"maps": group.maps, "targets": group.targets}, about)


def read_group(path: Path, made_from: str) -> EditGroup:
    """Return a group that `write_group` wrote.

    Raises:
        WeightzooError: unreadable, or made from something else.
    """
    tensors, about = read_tensors(path)
    if set(tensors) != {"maps", "targets"} or about.get("made_from") != made_from:
        raise WeightzooError(f"{path} was rendered from other edits or photographs; remove it to render it again")
    prompts = tuple(tuple(texts) for texts in json.loads(about["prompts"]))
    return EditGroup(tensors["maps"].to(torch.float16), tensors["targets"].to(torch.uint8), prompts)

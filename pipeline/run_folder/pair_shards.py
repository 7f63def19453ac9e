"""Pairs of an expensive teacher, rendered once: WebDataset shards beside the weight shards.

    pairs/sources.tar                             train-0000.source.png, test-0000.source.png: once for all concepts
    pairs/targets-train-00000-of-00042.tar        <concept_id>/train-0000.target.png; __failed__ with reasons

One shard belongs to one fleet and, as with weights, its existence is the done marker. Fleets read their targets here,
never from the teacher: what is published is what was trained on.
"""

import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.run_folder.private_paths import without_places
from pipeline.run_folder.shard_plan import FleetTask
from zoo.errors import WeightzooError
from zoo.files import atomic_path

FAILED_MEMBER = "__failed__"  # plain webdataset and datasets pass over such names
Targets = tuple[Tensor, Tensor]
PARTS = ("train", "test")


def targets_path(task: FleetTask) -> Path:
    """Return where the targets of a fleet's concepts are."""
    return Path(task.run_dir) / "pairs" / f"targets-{task.stem}.tar"


def sources_path(run_dir: Path) -> Path:
    """Return where the source crops that all concepts share are."""
    return run_dir / "pairs" / "sources.tar"


def check_sources(run_dir: Path, counts: tuple[int, int]) -> None:
    """Read the source crops through.

    Args:
        counts: how many there are to train on and to measure on.

    Raises:
        WeightzooError: the shard is absent or damaged.
    """
    path, found = sources_path(run_dir), Counter[str]()
    with _members(path) as members:
        for name, data in members:
            _decode(data)
            found[name.partition("-")[0]] += 1
    if tuple(found[part] for part in PARTS) != counts:
        raise WeightzooError(f"{path} lacks pictures; run `weightzoo repair`")


def write_sources(run_dir: Path, train: Tensor, test: Tensor) -> None:
    """Write the source crops [N, 3, S, S] that all concepts share, unless they are there."""
    path = sources_path(run_dir)
    if not path.exists():
        _write_tar(path, _pictures((train, test), "", "source"))


def write_targets(task: FleetTask, targets: dict[str, Targets | str]) -> None:
    """Write train and test targets [N, 3, S, S] by concept id; a string is the reason why there are none."""
    failed = {name: without_places(value) for name, value in targets.items() if isinstance(value, str)}

    def members() -> Iterator[tuple[str, bytes]]:
        if failed:
            yield FAILED_MEMBER, json.dumps(failed, ensure_ascii=False, sort_keys=True).encode()
        for name, value in targets.items():
            if not isinstance(value, str):
                yield from _pictures(value, f"{name}/", "target")

    _write_tar(targets_path(task), members())


def read_targets(task: FleetTask) -> dict[str, Targets | str]:
    """Read what :func:`write_targets` wrote, as 8-bit pictures keep it.

    Raises:
        WeightzooError: the shard is absent or damaged.
    """
    path = targets_path(task)
    found: dict[str, Targets | str] = {}
    pictures: dict[str, dict[str, list[Tensor]]] = {}
    with _members(path) as members:
        for member, data in members:
            concept_id, _, name = member.partition("/")
            if member == FAILED_MEMBER:
                found |= {key: str(reason) for key, reason in json.loads(data).items()}
            else:
                parts = pictures.setdefault(concept_id, {part: [] for part in PARTS})
                parts[name.partition("-")[0]].append(_decode(data))
        found |= {name: (torch.stack(p["train"]), torch.stack(p["test"])) for name, p in pictures.items()}
    lost = [concept.id for concept in task.concepts if concept.id not in found]
    if lost:
        raise WeightzooError(f"{path} lacks concept {lost[0]!r}; run `weightzoo repair`")
    return found


@contextmanager
def _members(path: Path) -> Iterator[Iterator[tuple[str, bytes]]]:
    """Yield the names and contents of a shard; whatever is wrong with them is one error."""
    try:
        with tarfile.open(path, "r:") as tar:
            files = ((member.name, tar.extractfile(member)) for member in tar)
            yield ((name, file.read() if file else b"") for name, file in files)
    except (OSError, tarfile.TarError, KeyError, ValueError, RuntimeError, SyntaxError) as error:
        raise WeightzooError(f"{path} is absent or damaged ({error}); run `weightzoo repair`") from None


def _pictures(images: Targets, prefix: str, kind: str) -> Iterator[tuple[str, bytes]]:
    for part, tensor in zip(PARTS, images, strict=True):
        pixels = (tensor.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        for index, picture in enumerate(pixels):
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, "png")
            yield f"{prefix}{part}-{index:04d}.{kind}.png", buffer.getvalue()


def _decode(data: bytes) -> Tensor:
    with Image.open(io.BytesIO(data)) as image:
        pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    return torch.from_numpy(pixels / 255).permute(2, 0, 1).contiguous()


def _write_tar(path: Path, members: Iterator[tuple[str, bytes]]) -> None:
    with atomic_path(path) as temporary, tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)  # no time, owner or host: equal pictures give equal bytes
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))

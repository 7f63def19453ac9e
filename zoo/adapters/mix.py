"""Mixtures: adapters of one base, or solved generators over one bank, added up with weights.

    paths, weights = zip(*map(read_part, ["charcoal:0.7", "warm:0.5"]))
    open_parts(paths).write(weights, Path("both"))

What is added are deviations: of adapters from their base (A is frozen, so B adds; biases, norms and output layers add
as well), of solved generators from the layer that copies the source (`zoo.adapters.mix_solved`). A mixture of adapters
is as large and as fast as one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from torch import nn

from zoo.adapters.lora import Adapter, initial_adapter, load_base, load_generator, merge
from zoo.adapters.mix_solved import check_one_bank, mix_solved
from zoo.adapters.peft_format import find_base, is_peft, keep_base, load_peft, read_metadata, save_peft
from zoo.adapters.weighted_sum import Parts, account, series, weighted
from zoo.config import to_dict
from zoo.errors import WeightzooError
from zoo.files import PathLike, read_json_object, sha256_file, write_json
from zoo.gans import gan_name
from zoo.gans.solved import SolvedGenerator
from zoo.progress import track
from zoo.tensors import write_tensors

CONFIG, SERIES = "config.json", "series.json"


@dataclass(frozen=True)
class Mixable:
    """Opened parts that can be added up as often as wanted.

    Attributes:
        names: what each part is called in a mixture: its prompt, or else its folder.
        base: file of the base generator that adapters need; solved generators have none.
        write: weights of the parts, and the folder to write their mixture to.
    """

    names: tuple[str, ...]
    base: Path | None
    write: Callable[[Sequence[Fraction], Path], None]


def open_parts(paths: Sequence[PathLike], base: PathLike | None = None) -> Mixable:
    """Open what is to be mixed.

    Args:
        paths: at least one; PEFT folders of one base, or solved generators over one bank.
        base: the base generator of the adapters, when it is not found by its hash.

    Raises:
        WeightzooError: a part is absent, broken or of a kind that does not add up, or the parts do not belong together.
    """
    for path in paths:
        if not Path(path).exists():
            raise WeightzooError(f"no such adapter or generator: {path}; check the path")
    kinds = [is_peft(path) for path in paths]
    if all(kinds):
        return _open_adapters(paths, base)
    if any(kinds):
        one, other = paths[kinds.index(True)], paths[kinds.index(False)]
        raise WeightzooError(f"{one} is an adapter, and {other} a whole network; mix adapters, or solved generators")
    if base is not None:
        raise WeightzooError("--base names the base of adapters, and these are whole networks; leave it out")
    return _open_solved(paths)


def write_series(mixable: Mixable, steps: int, folder: Path) -> list[Path]:
    """Write mixtures of two parts, from the first part to the second, and return their folders.

    Args:
        steps: number of mixtures, both ends included.
        folder: gets `01`, `02`, ... and `series.json`, which lists their weights.

    Raises:
        WeightzooError: too few or too many steps.
    """
    weights = series(steps)
    if mixable.base is not None:
        keep_base(folder, mixable.base)  # once for all
    digits = max(2, len(str(steps)))
    folders = [folder / f"{number:0{digits}d}" for number in range(1, steps + 1)]
    rows = []
    for own, shares in track(list(zip(folders, weights, strict=True)), "mixing", unit="adapters"):
        mixable.write(shares, own)
        rows.append({"folder": own.name, **account(mixable.names, shares)})
    write_json(folder / SERIES, rows)
    return folders


def mix_adapters(generator: nn.Module, parts: Parts) -> Adapter:
    """Return the base's own adapter plus the weighted deviations of adapters from it.

    Args:
        generator: the base, with its LoRA factors.
        parts: adapters that fit it (`zoo.adapters.lora.check_adapter`), and their weights.
    """
    return weighted(
        [*parts, (initial_adapter(generator), Fraction(1) - sum((weight for _, weight in parts), Fraction(0)))]
    )


def _open_adapters(paths: Sequence[PathLike], base: PathLike | None) -> Mixable:
    known = [read_metadata(Path(path)) for path in paths]
    file = find_base(known[0], paths[0]) if base is None else Path(base)
    generator, sha256 = load_base(file), sha256_file(file)
    for path, about in zip(paths, known, strict=True):
        if about.get("base_sha256", sha256 if base else "") != sha256:
            other = paths[0] if base is None else file
            raise WeightzooError(f"{path} does not have the base of {other}; mix adapters of one base")
    adapters = [load_peft(path, generator)[0] for path in paths]
    names = tuple(_name(about, path) for about, path in zip(known, paths, strict=True))

    def write(weights: Sequence[Fraction], folder: Path) -> None:
        mixture = mix_adapters(generator, list(zip(adapters, weights, strict=True)))
        save_peft(folder, generator, mixture, {"base_sha256": sha256, "stage": "mix", **account(names, weights)})
        keep_base(folder, file)

    return Mixable(names, file, write)


def _open_solved(paths: Sequence[PathLike]) -> Mixable:
    generators = [_solved(path) for path in paths]
    check_one_bank(list(zip(map(str, paths), generators, strict=True)))
    folders = [Path(path) if Path(path).is_dir() else Path(path).resolve().parent for path in paths]
    known = [read_json_object(f / CONFIG) if (f / CONFIG).is_file() else {} for f in folders]
    names = tuple(_name(about, folder) for about, folder in zip(known, folders, strict=True))

    def write(weights: Sequence[Fraction], folder: Path) -> None:
        mixture = mix_solved(list(zip(generators, weights, strict=True)))
        gan = gan_name(mixture.config)
        write_tensors(folder / "generator.safetensors", mixture.state_dict(), {"gan": gan})
        about = {"gan": gan, "config": to_dict(mixture.config), "init": "mix"}
        write_json(folder / CONFIG, about | account(names, weights))

    return Mixable(names, None, write)


def _solved(path: PathLike) -> SolvedGenerator:
    generator = merge(load_generator(Path(path)))
    if not isinstance(generator, SolvedGenerator):
        raise WeightzooError(
            f"{path} is a whole network, whose weights do not add up; mix adapters (generate, finetune --mode adapter) "
            "or solved generators (finetune --pairs without a prompt)"
        )
    return generator


def _name(about: Mapping[str, Any], path: PathLike) -> str:
    return str(about.get("prompt") or "") or Path(path).resolve().name

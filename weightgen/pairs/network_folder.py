"""Networks of pairs as folders, which `weightzoo apply` takes, and pairs of a folder turned into one.

    about = generate_folder(model, "my-pairs/", "mine/", ["a charcoal drawing"])

`mine/` then holds `generator.safetensors` and `config.json`, as a fine-tuning leaves them, and `generate.json`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from weightgen.model_folder import ModelFolder
from weightgen.pairs.closed_form import picture
from weightgen.pairs.generate import PairReader
from zoo.config import to_dict
from zoo.files import rounded, write_json
from zoo.gans import gan_name
from zoo.gans.solved import SolvedGenerator
from zoo.pictures.pair_layouts import DIRECTIONS
from zoo.pictures.pairs import read_pair_set
from zoo.results import check_free, fresh_folder
from zoo.tensors import write_tensors

MAX_SHORT_SIDE = 1024  # pixels; larger pairs are reduced


def write_network(folder: Path, generator: SolvedGenerator, prompt: str, init: str) -> None:
    """Write a network and its config.

    Args:
        prompt: the edit in words, or "".
        init: what the network was made by.
    """
    gan = gan_name(generator.config)
    write_tensors(folder / "generator.safetensors", generator.state_dict(), {"gan": gan})
    about = {"prompt": prompt, "init": init}
    write_json(folder / "config.json", {"gan": gan, "config": to_dict(generator.config), **about})


def generate_folder(
    model: ModelFolder,
    pairs: str | Path,
    out_dir: str | Path,
    prompts: Sequence[str] = (),
    direction: str = DIRECTIONS[0],
    seed: int = 0,
    tell: Callable[[str], None] = lambda line: None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Generate the network of a folder of pairs, and write it.

    Args:
        prompts: the edit in words, beside the pairs.
        direction: which half is edited, of `zoo.pictures.pair_layouts.DIRECTIONS`.
        seed: of the pixels that are looked at.
        tell: called with each line that says what the pairs were taken for.
        overwrite: replace an earlier result in `out_dir`.

    Returns:
        The content of `generate.json`: `by` what the network was made, the `shares` of both ways in it, their errors
        on `left_out` pairs or parts of pairs, and the seconds that reading the files and making the network took.

    Raises:
        WeightzooError: unusable pairs, an earlier result, or a model that reads text alone.
    """
    check_free(out_dir, overwrite)
    reader = PairReader(model)
    started = time.perf_counter()
    read = read_pair_set(pairs, minimum=1, max_short_side=MAX_SHORT_SIDE, direction=direction)
    notes = [f"{pairs}: {line}" for line in (read.taken_as, *read.notes)]
    for line in notes:
        tell(line)
    pictures = [(picture(source), picture(target)) for _, source, target in read.pairs]
    loaded = time.perf_counter()
    start = reader.generate(pictures, prompts, seed)
    done = time.perf_counter()
    prompt = prompts[0] if prompts else ""
    about: dict[str, Any] = {
        "prompt": prompt,
        "prompts": list(prompts),
        "pairs": len(pictures),
        "direction": direction,
        "by": start.by,
        "shares": start.shares,
        "left_out_l1": {name: rounded(error) for name, error in start.left_out.items()},
        "image_size": start.generator.config.image_size,
        "seconds": {"reading": round(loaded - started, 3), "generating": round(done - loaded, 3)},
        "notes": notes,
    }
    with fresh_folder(out_dir) as folder:
        write_network(folder, start.generator, prompt, start.by)
        write_json(folder / "generate.json", about)
    return about

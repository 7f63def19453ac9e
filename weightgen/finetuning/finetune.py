"""Fine-tuning on a user's own pairs, from any start, through the same `zoo.training.train_gan` that trains the zoo.

    report = finetune("my_pairs/", "a charcoal drawing", "polished", "out/", Origins(zoo, model))
    report = resume("out/", steps=900)

`out/` then holds `generator.safetensors` + `config.json` (full mode) or a PEFT folder (adapter mode),
`finetune.json` (what was done, which pairs were held out), `training/` (the state that `resume` goes on from, see
`weightgen.finetuning.state`) and `metrics.jsonl`, one row per evaluation (see `weightgen.finetuning.measure`):

    {"contrast": 0.96, "error": 0.055, "kid": 0.021, "l1": 0.048, "psnr": 22.1, "seconds": 12.3, "step": 100,
     "train_contrast": 0.97, "train_error": 0.049, "train_l1": 0.043}

The network of these files is the best of those that were evaluated, which may be the start (see
`weightgen.finetuning.best`). Ctrl-C ends the training early and leaves the same files. Reading the pairs and fitting a
baseline to the zoo are not counted as time, for any start.
"""

from __future__ import annotations

import json
import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from weightgen.finetuning.best import CHOSEN_BY, ENOUGH
from weightgen.finetuning.loop import FinetuneConfig, Finetuned, advance, begin, check, time_left
from weightgen.finetuning.measure import PairTensors, Row
from weightgen.finetuning.origins import Origins
from weightgen.finetuning.pairs import LoadedPairs, fingerprint, load_pairs, pair_tensors
from weightgen.finetuning.starts import make_start, prepare
from weightgen.finetuning.state import TRAINING, Progress, load_progress, save_progress
from weightgen.generate import wordings
from weightgen.training.optim import pick_device
from weightgen.training.stopping import stop_between_steps
from zoo.adapters.peft_format import keep_base, save_peft
from zoo.config import from_dict, to_dict
from zoo.errors import WeightzooError, WeightzooWarning
from zoo.files import sha256_file, write_json, write_text
from zoo.gans import gan_name
from zoo.pictures.pair_layouts import DIRECTIONS
from zoo.progress import bar, working
from zoo.results import check_free, fresh_folder
from zoo.tensors import write_tensors
from zoo.training.train_gan import clock
from zoo.words import plural

STOPPED = "holds the best network so far; apply it as it is, or go on with: weightzoo finetune --resume"

OnRow = Callable[[Row], None]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What a fine-tuning was begun with, kept in its state.

    Args:
        prompts: the wordings of the concept.
        pairs, test_pairs: the folders, absolute.
        pairs_sha256: of the pairs as they are trained on and measured on.
    """

    prompts: list[str]
    init: str
    pairs: str
    test_pairs: str | None
    direction: str
    config: FinetuneConfig
    pairs_sha256: str = ""


def finetune(
    pairs: str | Path,
    prompt: str | Sequence[str],
    init: str,
    out_dir: str | Path,
    origins: Origins,
    config: FinetuneConfig | None = None,
    test_pairs: str | Path | None = None,
    on_row: OnRow | None = None,
    direction: str = DIRECTIONS[0],
    tell: Tell = lambda line: None,
    overwrite: bool = False,
) -> Row:
    """Fine-tune one concept on a folder of pairs and write the result to `out_dir`.

    Args:
        prompt: the concept in words, or several paraphrases of it.
        init: a name of `weightgen.finetuning.starts.INITS` or a path.
        test_pairs: another folder to measure on; without it 20 % of `pairs`, chosen by name, are held out.
        on_row: called with each evaluation's row.
        direction: which half of `pairs` and `test_pairs` is the source, one of `zoo.pictures.pair_layouts.DIRECTIONS`.
        tell: called with each line that says what the pairs were taken for, before the training.
        overwrite: replace an earlier result in `out_dir`, once the new one is complete.

    Returns:
        The content of `finetune.json`.

    Raises:
        WeightzooError: unusable pairs, prompt, init, model or folder, an earlier result, or training that diverged.
        Interrupted: Ctrl-C; `out_dir` holds the best network so far.
    """
    config, out_dir = config or FinetuneConfig(), Path(out_dir)
    check(config)
    [texts] = wordings([prompt])
    check_free(out_dir, overwrite)
    folders = [None if path is None else str(Path(path).resolve()) for path in (pairs, test_pairs)]
    loaded = load_pairs(pairs, test_pairs, direction)
    told(loaded, tell)
    request = Request(texts, init, str(folders[0]), folders[1], direction, config)
    with working("making the start"):
        prepare(init, origins)
        started = time.perf_counter()
        progress = begin(make_start(init, [texts], origins, config.mode), config, compared_by(loaded))
        progress.init_seconds = clock(progress.fleet.losses.device) - started
    tensors = tensors_of(progress, loaded, config)
    request = replace(request, pairs_sha256=fingerprint(tensors))
    with fresh_folder(out_dir) if overwrite else nullcontext(out_dir) as folder:
        if progress.start.base is not None:
            keep_base(folder, progress.start.base)  # what resuming needs
        try:
            return complete(folder, progress, loaded, tensors, request, on_row)
        except Diverged:
            for name in (TRAINING, "base"):
                shutil.rmtree(folder / name, ignore_errors=True)
            (folder / "metrics.jsonl").unlink(missing_ok=True)
            raise


def resume(
    out_dir: str | Path,
    steps: int | None = None,
    seconds: float | None = None,
    pairs: str | Path | None = None,
    test_pairs: str | Path | None = None,
    device: str = "auto",
    on_row: OnRow | None = None,
    tell: Tell = lambda line: None,
) -> Row:
    """Go on with the fine-tuning in `out_dir`, bit for bit as if it had not been interrupted.

    Args:
        steps: the new total; None leaves steps or seconds as they were. The learning rate goes on as if this had been
            the total from the beginning, so after a finished training it rises again.
        seconds: a new time budget in place of steps, what the training has taken so far included.
        pairs, test_pairs: where the pairs are now, if they were moved.

    Raises:
        WeightzooError: there is nothing to go on with or nothing left to do, or the pairs are others. After a training
            that diverged the earlier network is still there.
        Interrupted: Ctrl-C; `out_dir` holds the best network so far.
    """
    out_dir = Path(out_dir)
    progress, about = load_progress(out_dir, torch.device(pick_device(device)))
    request = from_dict(Request, about)
    config = replace(request.config, device=device)
    if steps is not None or seconds is not None:
        config = replace(config, steps=config.steps if steps is None else steps, seconds=seconds)
    check(config)
    check_rest(out_dir, progress, config)
    folders = (pairs or request.pairs, test_pairs or request.test_pairs)
    for option, folder in zip(("--pairs", "--test-pairs"), folders, strict=True):
        if folder is not None and not Path(folder).exists():
            raise WeightzooError(f"the pairs {folder} are no longer there; name where they are now with {option}")
    loaded = load_pairs(folders[0], folders[1], request.direction)
    told(loaded, tell)
    tensors = tensors_of(progress, loaded, config)
    if fingerprint(tensors) != request.pairs_sha256:
        raise WeightzooError(
            f"the pairs in {folders[0]} are not those that {out_dir} was begun with; restore them, or begin anew "
            f"from its network with --init {out_dir}"
        )
    moved = [None if folder is None else str(Path(folder).resolve()) for folder in folders]
    request = replace(request, config=config, pairs=str(moved[0]), test_pairs=moved[1])
    return complete(out_dir, progress, loaded, tensors, request, on_row)


class Diverged(WeightzooError):
    """A loss or gradient was not finite."""


def complete(
    out_dir: Path, progress: Progress, loaded: LoadedPairs, tensors: PairTensors, request: Request, on_row: OnRow | None
) -> Row:
    """Train to the end and writes everything; returns the content of `finetune.json`."""
    config = request.config

    def on_rows(rows: list[list[Row]]) -> None:
        lines = (json.dumps(row, sort_keys=True) + "\n" for row in rows[0])
        write_text(out_dir / "metrics.jsonl", "".join(lines))
        if on_row is not None:
            on_row(rows[0][-1])

    def save() -> None:
        if config.keeps_state:
            save_progress(out_dir, progress, to_dict(request))

    budget = time_left(progress, config)
    with stop_between_steps(out_dir, f"{STOPPED} {out_dir}") as stop:
        with bar() as display:
            unit = "seconds" if budget else "steps"
            task = display.add_task("fine-tuning", total=budget or config.steps, unit=unit)

            def show(step: int, spent: float) -> None:
                display.update(task, completed=min(spent, budget) if budget else step)

            done = advance(progress, tensors, config, on_rows, save, show, stop)
        if bool(done.result.diverged[0]):
            raise Diverged(f"training diverged ({done.result.reasons[0]}); lower --learning-rate")
        summary = {
            "prompt": request.prompts[0],
            "prompts": request.prompts,
            "init": request.init,
            "pairs": len(loaded.train),
            "test_pairs": [name for name, _, _ in loaded.test],
            "held_out": loaded.held_out,
            "direction": request.direction,
            "read_as": loaded.read_as,
            "notes": loaded.notes,
            "chosen_by": CHOSEN_BY[progress.best.by],
            **account_of(done, config),
        }
        save_network(out_dir, done, config.mode, summary)
        write_json(out_dir / "finetune.json", summary)
    return summary


def account_of(done: Finetuned, config: FinetuneConfig) -> Row:
    """Return how one network was fine-tuned, at what cost and with what result: its part of `finetune.json`."""
    return {
        "mode": config.mode,
        "learning_rate": done.learning_rate,
        "steps": done.result.steps,
        "init_seconds": round(done.init_seconds, 3),
        "seconds": round(done.init_seconds + done.result.seconds, 3),
        "feature_network": config.feature_network,
        "first": done.rows[0][0],
        "best": done.best[0],
        "last": done.rows[0][-1],
        "config": to_dict(config),
    }


def told(loaded: LoadedPairs, tell: Tell) -> None:
    """Say what the pairs were taken for, and warns of what may be wrong with them."""
    for line in loaded.read_as:
        tell(line)
    for line in loaded.notes:
        warnings.warn(line, WeightzooWarning, stacklevel=3)


def compared_by(loaded: LoadedPairs) -> str:
    """Return what the best network is chosen by: never by pairs that somebody gave to measure on."""
    return "error" if len(loaded.held_out) >= ENOUGH else "train_error"


def tensors_of(progress: Progress, loaded: LoadedPairs, config: FinetuneConfig) -> PairTensors:
    """Return the pairs at the size that the network is trained at."""
    return pair_tensors(loaded, progress.start.generator.config.image_size, config.crops, config.seed)


def check_rest(out_dir: Path, progress: Progress, config: FinetuneConfig) -> None:
    """Raise WeightzooError when a training has nothing left to do."""
    fleet, spent = progress.fleet, progress.init_seconds + progress.fleet.seconds
    if config.seconds is None and config.steps <= fleet.steps:
        more = f"add steps, for example --steps {2 * fleet.steps or 300}"
        raise WeightzooError(f"{out_dir} has done {plural(fleet.steps, 'step')} of {config.steps}; {more}")
    if config.seconds is not None and config.seconds <= spent:
        more = f"add time, for example --seconds {2 * spent:.0f}"
        raise WeightzooError(f"{out_dir} has trained for {spent:.1f} s of {config.seconds:g} s; {more}")


def save_network(out_dir: Path, done: Finetuned, mode: str, summary: Mapping[str, Any]) -> None:
    """Write the best network of the first concept: a PEFT folder (adapter mode) or weights and config (full mode)."""
    params = {name: value[0] for name, value in done.params.items()}
    about = {key: summary[key] for key in ("prompt", "init")}
    generator = done.start.generator
    if mode == "adapter":
        base = done.start.base
        assert base is not None  # whatever starts as an adapter comes with its base
        save_peft(out_dir, generator, params, about | {"base_sha256": sha256_file(base)})
        keep_base(out_dir, base)
        return
    gan = gan_name(generator.config)
    write_tensors(out_dir / "generator.safetensors", generator.state_dict() | params, {"gan": gan})
    write_json(out_dir / "config.json", {"gan": gan, "config": to_dict(generator.config), **about})

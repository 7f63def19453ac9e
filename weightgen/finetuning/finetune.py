"""Fine-tuning on a user's own pairs, from any start, through the same `zoo.train_gan` that trains the zoo.

    report = finetune("my_pairs/", "a charcoal drawing", "polished", "out/", Origins(zoo, model))

`out/` then holds `generator.safetensors` + `config.json` (full mode) or a PEFT folder (adapter mode),
`finetune.json` (what was done, which pairs were held out) and `metrics.jsonl`, one row per evaluation:

    {"kid": 0.021, "l1": 0.048, "psnr": 22.1, "seconds": 12.3, "step": 100}

Ctrl-C ends the training early and leaves the same files.
Seconds are initialisation (loading, text, generation, merging) plus training; the clock stands still during
evaluation. Reading the pairs and fitting a baseline to the zoo are not counted, for any start.
"""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from weightgen.finetuning.measure import Measure, PairTensors, Row
from weightgen.finetuning.rates import default_rate
from weightgen.finetuning.starts import Origins, Start, make_start, prepare
from weightgen.prompt_notes import has_words
from weightgen.training.optim import pick_device
from weightgen.training.stopping import stop_between_steps
from zoo.config import to_dict
from zoo.errors import WeightzooError, WeightzooWarning
from zoo.files import sha256_file, write_json, write_text
from zoo.gans import gan_name
from zoo.pair_layouts import DIRECTIONS
from zoo.pairs import Pair, pairs_to_tensors, read_pair_set, split_pairs
from zoo.peft_format import keep_base, save_peft
from zoo.progress import bar
from zoo.tensors import write_tensors
from zoo.train_gan import FleetResult, GanTrainConfig, Params, clock, train_fleet

KERNEL_RATE = 0.1  # in full mode, of convolution and projection weights; see `GanTrainConfig`
EMA = 0.98  # of the weights; an average over about the last tenth of the steps
POINTS = (0, 10, 25, 50, 75, 100, 150, 200, 300, 400, 600, 800, 1000, 1250)
SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of a time budget
MAX_CROPS, CROPS_TO_HAVE = 16, 256
STOPPED = "holds the network as it was then: apply it as it is, or run the same command to begin again"

OnRow = Callable[[Row], None]


@dataclass(frozen=True)
class FinetuneConfig:
    """How a start is fine-tuned.

    Args:
        mode: "full" trains all weights (adapter merged), "adapter" the adapter only.
        steps: training steps; with `seconds` a wall-clock budget (initialisation included) takes their place.
        learning_rate: None takes `weightgen.finetuning.rates.default_rate`.
        eval_every: steps between evaluations; None takes `POINTS`, or `SHARES` of a time budget.
        crops: training squares per pair; None: one where the pairs are hardly larger than the training size,
            otherwise as many as make about 256.
        feature_network: for KID; None leaves KID out.
        device: of training; "auto" takes a GPU where there is one.
    """

    mode: str = "full"
    steps: int = 300
    seconds: float | None = None
    learning_rate: float | None = None
    batch_size: int = 4
    adversarial_weight: float = 0.01
    eval_every: int | None = None
    crops: int | None = None
    feature_network: str | None = "efficientnet-lite0"
    seed: int = 0
    device: str = "auto"


@dataclass(frozen=True)
class Finetuned:
    """K fine-tuned networks.

    Args:
        rows: the evaluation rows of each concept.
        init_seconds: seconds of the start, for all K concepts together.
    """

    start: Start
    result: FleetResult
    rows: list[list[Row]]
    learning_rate: float
    init_seconds: float


@dataclass(frozen=True)
class LoadedPairs:
    """A user's pairs.

    Attributes:
        train, test: the pairs to train on and to measure on.
        held_out: names of those that were held out of the training folder.
        read_as: for each folder a line that says what was taken for the source.
        notes: a line for everything that was left out, guessed, aligned or looks wrong.
    """

    train: list[Pair]
    test: list[Pair]
    held_out: list[str]
    read_as: list[str]
    notes: list[str]


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
    tell: Callable[[str], None] = lambda line: None,
) -> Row:
    """Fine-tunes one concept on a folder of pairs and writes the result to `out_dir`.

    Args:
        prompt: the concept in words, or several paraphrases of it.
        init: a name of `weightgen.finetuning.starts.INITS` or a path.
        test_pairs: another folder to measure on; without it 20 % of `pairs`, chosen by name, are held out.
        on_row: called with each evaluation's row.
        direction: which half of `pairs` and `test_pairs` is the source, one of `zoo.pair_layouts.DIRECTIONS`.
        tell: called with each line that says what the pairs were taken for, before the training.

    Returns:
        The content of `finetune.json`.

    Raises:
        WeightzooError: unusable pairs, prompt, init, model or folder, or training that diverged.
        Interrupted: Ctrl-C; `out_dir` holds the network as it was then.
    """
    config, out_dir = config or FinetuneConfig(), Path(out_dir)
    check(config)
    wordings = [prompt] if isinstance(prompt, str) else list(prompt)
    if not wordings or not all(has_words(text) for text in wordings):
        raise WeightzooError('the prompt is empty; say in words what the edit does, for example "a charcoal drawing"')
    check_folder(out_dir, config.mode)
    loaded = load_pairs(pairs, test_pairs, direction)
    for line in loaded.read_as:
        tell(line)
    for line in loaded.notes:
        warnings.warn(line, WeightzooWarning, stacklevel=2)
    train, test = loaded.train, loaded.test
    prepare(init, origins)
    rows: list[Row] = []

    def record(_: int, row: Row) -> None:
        rows.append(row)
        write_text(out_dir / "metrics.jsonl", "".join(json.dumps(r, sort_keys=True) + "\n" for r in rows))
        if on_row is not None:
            on_row(row)

    def tensors(size: int) -> PairTensors:
        crops = config.crops or default_crops(train, size)
        parts = (*pairs_to_tensors(train, size, crops, config.seed), *pairs_to_tensors(test, size))
        return PairTensors(*(part[None] for part in parts))

    with stop_between_steps(out_dir, STOPPED) as stop:
        done = finetune_many([wordings], tensors, init, origins, config, record, stop)
        if bool(done.result.diverged[0]):
            raise WeightzooError(f"training diverged ({done.result.reasons[0]}); lower --learning-rate")
        summary = {
            "prompt": wordings[0],
            "prompts": wordings,
            "init": init,
            "pairs": len(train),
            "test_pairs": [name for name, _, _ in test],
            "held_out": loaded.held_out,
            "direction": direction,
            "read_as": loaded.read_as,
            "notes": loaded.notes,
            **account_of(done, config),
        }
        save_network(out_dir, done, config.mode, summary)
        write_json(out_dir / "finetune.json", summary)
    return summary


def account_of(done: Finetuned, config: FinetuneConfig) -> Row:
    """How one network was fine-tuned, at what cost and with what result: its part of `finetune.json`."""
    return {
        "mode": config.mode,
        "learning_rate": done.learning_rate,
        "steps": done.result.steps,
        "init_seconds": round(done.init_seconds, 3),
        "seconds": round(done.init_seconds + done.result.seconds, 3),
        "feature_network": config.feature_network,
        "first": done.rows[0][0],
        "last": done.rows[0][-1],
        "config": to_dict(config),
    }


def check(config: FinetuneConfig) -> None:
    """Raises WeightzooError for numbers that cannot be meant."""
    if config.seconds is None and config.steps < 0:
        raise WeightzooError(f"--steps {config.steps} is negative; use 0 or more")
    if config.seconds is not None and not (math.isfinite(config.seconds) and config.seconds > 0):
        raise WeightzooError(f"--seconds {config.seconds} is not a time limit; use a number above 0")
    if config.learning_rate is not None and not 0 < config.learning_rate < math.inf:
        raise WeightzooError(f"--learning-rate {config.learning_rate} must be a number above 0")
    if min(config.batch_size, config.eval_every or 1, config.crops or 1) < 1:
        raise WeightzooError("batch size, evaluation interval and crops must be at least 1")


def check_folder(out_dir: Path, mode: str) -> None:
    """Raises WeightzooError for a folder that holds a network of the other kind: `apply` could take the wrong one."""
    other = "generator.safetensors" if mode == "adapter" else "adapter_config.json"
    if (out_dir / other).exists():
        kind = "a whole generator" if mode == "adapter" else "an adapter"
        raise WeightzooError(f"{out_dir} holds {kind}, and --mode {mode} writes the other kind; choose another folder")


def load_pairs(
    pairs: str | Path, test_pairs: str | Path | None, direction: str = DIRECTIONS[0], fraction: float = 0.2
) -> LoadedPairs:
    """Reads the pairs to train on and those to measure on; without a folder for these some are held out."""
    read = read_pair_set(pairs, minimum=1, max_short_side=1024, direction=direction)
    everything, read_as = read.pairs, [f"{pairs}: {read.taken_as}"]
    notes = [f"{pairs}: {line}" for line in read.notes]
    if test_pairs is not None:
        test = read_pair_set(test_pairs, minimum=1, max_short_side=1024, direction=direction)
        notes += [f"{test_pairs}: {line}" for line in test.notes]
        return LoadedPairs(everything, test.pairs, [], [*read_as, f"{test_pairs}: {test.taken_as}"], notes)
    if len(everything) == 1:
        notes.append(f"{pairs}: the only pair is measured on as well; give --test-pairs to measure on others")
        return LoadedPairs(everything, everything, [], read_as, notes)
    _, held_out = split_pairs([name for name, _, _ in everything], fraction)
    chosen = set(held_out)
    train, test_part = ([pair for pair in everything if (pair[0] in chosen) == held] for held in (False, True))
    return LoadedPairs(train, test_part, held_out, read_as, notes)


def default_crops(pairs: Sequence[Pair], size: int) -> int:
    """One square per pair when most of them are about the training size already, else enough to make many."""
    sides = sorted(min(source.size) for _, source, _ in pairs)
    if sides[len(sides) // 2] <= 1.5 * size:
        return 1
    return max(1, min(MAX_CROPS, CROPS_TO_HAVE // len(pairs)))


def finetune_many(
    prompts: Sequence[Sequence[str]],
    tensors: PairTensors | Callable[[int], PairTensors],
    init: str,
    origins: Origins,
    config: FinetuneConfig,
    on_row: Callable[[int, Row], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Finetuned:
    """Fine-tunes K concepts at once from one kind of start.

    Args:
        prompts: the wordings of each concept, K lists.
        tensors: the pairs of all K concepts, or a function that makes them for the generator's image size.
        on_row: called as (concept index, row) at every evaluation.
        stop: asked before each step; where it says True, the networks are measured and training ends.
    """
    prepare(init, origins)
    device = torch.device(pick_device(config.device))
    started = time.perf_counter()
    start = make_start(init, prompts, origins, config.mode).to(device)
    init_seconds = clock(device) - started
    if not isinstance(tensors, PairTensors):
        tensors = tensors(start.generator.config.image_size)
    tensors = tensors.to(device)
    rate = config.learning_rate or default_rate(init)
    training = GanTrainConfig(
        steps=config.steps,
        batch_size=config.batch_size,
        learning_rate=rate,
        adversarial_weight=config.adversarial_weight,
        mode=config.mode,
        seed=config.seed,
        ema=EMA,
        kernel_rate=KERNEL_RATE,
    )
    budget = None if config.seconds is None else max(config.seconds - init_seconds, 0.0)
    rows: list[list[Row]] = [[] for _ in prompts]
    measure = Measure(tensors, config.feature_network)
    is_due = evaluation_times(config, budget)
    with bar() as progress:
        task = progress.add_task(f"fine-tuning ({init})", total=budget or config.steps)

        def on_step(step: int, spent: float, params: Params) -> None:
            progress.update(task, completed=min(spent, budget) if budget else step)
            if not is_due(step, spent) and not stop():
                return
            for k, row in enumerate(measure(start.generator, params)):
                full = {"step": step, "seconds": round(init_seconds + spent, 3), **row}
                rows[k].append(full)
                if on_row is not None:
                    on_row(k, full)

        result = train_fleet(
            start.generator, start.discriminator, tensors.sources, tensors.targets, training,
            initial=start.params, seconds=budget, on_step=on_step, stop=stop,
        )  # fmt: skip
    return Finetuned(start, result, rows, rate, init_seconds)


def evaluation_times(config: FinetuneConfig, budget: float | None) -> Callable[[int, float], bool]:
    """A function of (step, training seconds) that is True when an evaluation is due; once for each step."""
    if config.eval_every is None and budget is not None:
        waiting = [share * budget for share in SHARES]

        def by_time(step: int, spent: float) -> bool:
            due = [point for point in waiting if point <= spent]
            del waiting[: len(due)]
            return bool(due)

        return by_time
    if config.eval_every is None:
        points = {*POINTS, config.steps}
        return lambda step, spent: step in points
    every, last = config.eval_every, config.steps if budget is None else None
    return lambda step, spent: step % every == 0 or step == last or (budget is not None and spent >= budget)


def save_network(out_dir: Path, done: Finetuned, mode: str, summary: Mapping[str, Any]) -> None:
    """Writes the first network: a PEFT folder (adapter mode) or weights and config (full mode)."""
    params = {name: value[0] for name, value in done.result.params.items()}
    about = {key: summary[key] for key in ("prompt", "init")}
    generator = done.start.generator
    if mode == "adapter":
        base = done.start.base
        assert base is not None  # whatever starts as an adapter comes with its base
        save_peft(out_dir, generator, params, about | {"base_sha256": sha256_file(base)})
        keep_base(out_dir, base)
        return
    gan = gan_name(generator.config)
    write_tensors(out_dir / "generator.safetensors", params, {"gan": gan})
    write_json(out_dir / "config.json", {"gan": gan, "config": to_dict(generator.config), **about})

"""One fleet: K concepts trained at once, measured, gated and written as one shard. Runs inside a worker.

A :class:`FleetTask` names a run folder and a shard; everything else is read from the frozen folder, so a
task is the same on any machine that sees it. The shard is written last: its existence is the done marker.
"""

import functools
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.build_config import BuildConfig
from pipeline.sources import crops, load_photos, photo_paths
from pipeline.teachers import TEACHERS, Teacher
from zoo.concepts import Concept
from zoo.config import config_diff, load_config
from zoo.errors import WeightzooError
from zoo.features import load_features
from zoo.files import read_json, sha256_file, write_text
from zoo.layout import WeightLayout
from zoo.lora import load_base
from zoo.metrics import kid, l1, psnr
from zoo.records import WeightRecord, record_metadata
from zoo.shards import FORMATS, shard_stem
from zoo.tensors import load_discriminator
from zoo.train_gan import FleetResult, GanTrainConfig, run_generators, train_fleet

PHOTOGRAPHS_FILE = "photographs.json"


@dataclass(frozen=True)
class FleetTask:
    """One shard to be made: its place in the run folder and its concepts."""

    run_dir: str
    split: str
    index: int
    count: int
    concepts: tuple[Concept, ...]
    suffix: str
    device: str = "cpu"

    @property
    def stem(self) -> str:
        """The shard's name without suffix."""
        return shard_stem(self.split, self.index, self.count)

    @property
    def shard_path(self) -> Path:
        """Where the shard goes; once it exists, the fleet is done."""
        return Path(self.run_dir) / "weights" / f"{self.stem}{self.suffix}"

    @property
    def rejected_path(self) -> Path:
        """Where the rows of rejected and failed concepts go."""
        return Path(self.run_dir) / "rejected" / f"{self.stem}.jsonl"


@dataclass(frozen=True)
class FleetSummary:
    """What the driver hears of a finished fleet; ``seconds`` by stage."""

    ok: int
    rejected: int
    failed: int
    l1: tuple[float, ...]
    seconds: dict[str, float]


@dataclass(frozen=True)
class Workbench:
    """What all fleets of a run share, loaded once per worker."""

    config: BuildConfig
    layout: WeightLayout
    generator: nn.Module
    discriminator: nn.Module
    base_sha256: str
    teacher: Teacher
    train_sources: Tensor
    test_sources: Tensor
    features: nn.Module


@dataclass(frozen=True)
class Trained:
    """One attempt at one concept: its weights as stored and how good they are."""

    concept: Concept
    blocks: Tensor
    metrics: dict[str, float]
    step: int
    attempt: int
    reason: str | None


def run_fleet(task: FleetTask) -> FleetSummary:
    """Train, measure, gate and write one shard.

    Raises:
        WeightzooError: the run folder is damaged or a file cannot be written.
    """
    clock = _Clock()
    bench = _workbench(task.run_dir, task.device)
    prepare_process(bench.config.threads)
    clock.lap("load")
    concepts, targets, test_targets, failed = render_targets(bench, task.concepts)
    clock.lap("teacher")
    done = train_and_measure(bench, concepts, targets, test_targets) if concepts else []
    clock.lap("train")
    good = [item for item in done if item.reason is None]
    rejected = [_rejected_row(item) for item in done if item.reason is not None]
    if rejected or failed:
        rows = [
            json.dumps(row, sort_keys=True, ensure_ascii=False, allow_nan=False) for row in rejected + failed
        ]
        write_text(task.rejected_path, "\n".join(rows) + "\n")
    else:
        task.rejected_path.unlink(missing_ok=True)
    records = [_record(item, bench.config) for item in good]
    metadata = shard_metadata(bench, task.split)
    FORMATS[bench.config.shard_format].write_shard(task.shard_path, records, bench.layout, metadata)
    clock.lap("write")
    own = tuple(item.metrics["l1"] for item in good)
    return FleetSummary(len(good), len(rejected), len(failed), own, clock.laps)


def prepare_process(threads: int = 1) -> None:
    """Make this process compute the same bytes every time: fixed threads, fp32, deterministic algorithms."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def source_crops(config: BuildConfig) -> tuple[Tensor, Tensor]:
    """Source images to train on and to measure on, [N, 3, S, S] each, from different photographs."""
    train = crops(load_photos(config.train_photos), config.num_train_crops, config.image_size, config.seed)
    test = crops(load_photos(config.test_photos), config.num_test_crops, config.image_size, config.seed + 1)
    return train, test


def photograph_hashes(config: BuildConfig) -> dict[str, dict[str, str]]:
    """sha256 of every source photograph by file name, for train and test."""
    folders = {"train": config.train_photos, "test": config.test_photos}
    return {
        key: {path.name: sha256_file(path) for path in photo_paths(where)} for key, where in folders.items()
    }


def check_photographs(run_dir: Path, config: BuildConfig) -> None:
    """Raise ``WeightzooError`` when the photographs are not those that the run was started with."""
    difference = config_diff(read_json(run_dir / PHOTOGRAPHS_FILE), photograph_hashes(config))
    if difference:
        raise WeightzooError(
            f"the photographs differ from those that {run_dir} was started with: "
            f"{difference.splitlines()[0].partition(':')[0]}; restore them or build into another folder"
        )


def make_teacher(name: str) -> Teacher:
    """Return the teacher called ``name``.

    Raises:
        WeightzooError: unknown.
    """
    if name not in TEACHERS:
        raise WeightzooError(f"teacher {name!r} is unknown; use one of {', '.join(TEACHERS)}")
    return TEACHERS[name]()


def render_targets(
    bench: Workbench, concepts: tuple[Concept, ...]
) -> tuple[list[Concept], Tensor, Tensor, list[dict[str, Any]]]:
    """Edit all crops for every concept.

    Returns:
        The concepts that the teacher can do, their train and test targets [K, N, 3, S, S], and a row with the
        reason for each of the others.
    """
    kept, train, test, failed = [], [], [], []
    for concept in concepts:
        try:
            reason = bench.teacher.refusal(concept)
            if reason is None:
                targets = [bench.teacher.edit(concept, x) for x in (bench.train_sources, bench.test_sources)]
        except (MemoryError, OSError):
            raise  # the machine's fault: the fleet is tried again
        except Exception as error:
            reason = f"the teacher failed: {type(error).__name__}: {error}".splitlines()[0]
        if reason is not None:
            failed.append(_row(concept, "failed", reason, None, None))
            continue
        kept.append(concept)
        train.append(targets[0])
        test.append(targets[1])
    empty = torch.empty(0)
    return kept, torch.stack(train) if kept else empty, torch.stack(test) if kept else empty, failed


def train_and_measure(
    bench: Workbench, concepts: list[Concept], targets: Tensor, test_targets: Tensor
) -> list[Trained]:
    """Train all concepts at once, and those that diverge or miss the gate once more at half the rate."""
    done = _attempt(bench, concepts, targets, test_targets, bench.config.training, attempt=1)
    missed = [i for i, item in enumerate(done) if item.reason is not None]
    if missed:
        again = [concepts[i] for i in missed]
        second = _attempt(
            bench, again, targets[missed], test_targets[missed], bench.config.retry_training(), 2
        )
        for i, item in zip(missed, second, strict=True):
            done[i] = item
    return done


@torch.no_grad()
def measure(
    bench: Workbench, blocks: Tensor, test_targets: Tensor, test_sources: Tensor | None = None
) -> list[dict[str, float]]:
    """Quality of the weights as stored (float16) on the test crops, one dict per concept.

    Args:
        blocks: float16 [K, num_blocks, block_size].
        test_targets: [K, N, 3, S, S].
    """
    sources = bench.test_sources if test_sources is None else test_sources
    images = run_generators(bench.generator, bench.layout.from_blocks(blocks.float()), sources).clamp(0, 1)
    rows = []
    for own, target in zip(images, test_targets, strict=True):
        finite = bool(torch.isfinite(own).all() and torch.isfinite(target).all())
        distance = kid(bench.features(own), bench.features(target), paired=True) if finite else math.nan
        rows.append(
            {
                "l1": l1(own, target).mean().item(),
                "l1_copy": l1(sources, target).mean().item(),
                "psnr": psnr(own, target).mean().item(),
                "kid": float(distance),
            }
        )
    return rows


def shard_metadata(bench: Workbench, split: str) -> dict[str, str]:
    """The metadata by which this run's shards describe themselves."""
    return record_metadata(
        bench.layout,
        bench.base_sha256,
        bench.teacher.name,
        bench.teacher.licence,
        bench.config.gan,
        bench.config.feature_network,
        split=split,
    )


def load_workbench(run_dir: str, device: str = "cpu") -> Workbench:
    """Load what all fleets of a frozen run folder share."""
    folder = Path(run_dir)
    config = load_config(BuildConfig, folder / "config.json")
    check_photographs(folder, config)
    base = folder / "base" / "generator.safetensors"
    train, test = source_crops(config)
    return Workbench(
        config=config,
        layout=WeightLayout.load(folder / "layout.json"),
        generator=load_base(base).to(device),
        discriminator=load_discriminator(folder / "base" / "discriminator.safetensors").to(device),
        base_sha256=sha256_file(base),
        teacher=make_teacher(config.teacher),
        train_sources=train.to(device),
        test_sources=test.to(device),
        features=load_features(config.feature_network).to(device),
    )


_workbench = functools.lru_cache(maxsize=1)(load_workbench)


def _attempt(
    bench: Workbench,
    concepts: list[Concept],
    targets: Tensor,
    test_targets: Tensor,
    training: GanTrainConfig,
    attempt: int,
) -> list[Trained]:
    result = train_fleet(bench.generator, bench.discriminator, bench.train_sources, targets, training)
    blocks = bench.layout.to_blocks(result.params).half().cpu()
    metrics = measure(bench, blocks.to(bench.test_sources.device), test_targets)
    reasons = [_gate(bench.config, result, blocks[k], metrics[k], k) for k in range(len(concepts))]
    return [
        Trained(concept, blocks[k], metrics[k], result.steps, attempt, reasons[k])
        for k, concept in enumerate(concepts)
    ]


def _gate(
    config: BuildConfig, result: FleetResult, blocks: Tensor, metrics: dict[str, float], k: int
) -> str | None:
    """Return why concept ``k`` is not good enough, or ``None``."""
    if bool(result.diverged[k]):
        return f"diverged: {result.reasons[k]}"
    if not bool(torch.isfinite(blocks).all()):
        return "weights are not finite in float16"
    if not all(math.isfinite(value) for value in metrics.values()):
        return "a metric is not finite"
    limit = config.gate_limit(metrics["l1_copy"])
    return f"l1 {metrics['l1']:.4f} is above the gate {limit:.4f}" if metrics["l1"] > limit else None


def _record(item: Trained, config: BuildConfig) -> WeightRecord:
    concept = item.concept
    return WeightRecord(
        concept_id=concept.id,
        prompt=concept.prompt,
        paraphrases=concept.paraphrases,
        attributes=concept.attributes,
        split=concept.split,
        seed=config.training.seed,
        step=item.step,
        attempt=item.attempt,
        blocks=item.blocks.numpy(),
        metrics=item.metrics,
    )


def _rejected_row(item: Trained) -> dict[str, Any]:
    return _row(item.concept, "rejected", item.reason or "", item.metrics, item.attempt)


def _row(
    concept: Concept, status: str, reason: str, metrics: dict[str, float] | None, attempt: int | None
) -> dict[str, Any]:
    finite = {key: value if math.isfinite(value) else None for key, value in (metrics or {}).items()}
    return {
        "concept_id": concept.id,
        "prompt": concept.prompt,
        "split": concept.split,
        "status": status,
        "reason": reason,
        "strength": concept.attributes.get("strength", 1.0),
        "attempt": attempt,
        "metrics": finite,
    }


class _Clock:
    """Seconds between laps, by name."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 3)
        self._last = now

"""Training a weight generator on a zoo: the first stage, in this process or in several on a Ray cluster.

    train(PRESETS["small"](), load_zoo("runs/small"), "model", validation=load_zoo("runs/small", "validation"))
    train(PRESETS["paper"](), source, "model", validation, cluster=Cluster(num_workers=8, use_gpu=True))

Leaves a model folder (see `weightgen.model_folder`) plus `metrics.jsonl`, `config.json`, `checkpoints/` and
curves for TensorBoard. The same call again goes on from the newest checkpoint, and returns at once when the
folder is finished. With `seconds` the learning rate follows the elapsed time instead of the step.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from weightgen.training.config import TrainConfig
from weightgen.training.data import WeightDataset
from weightgen.training.loop import Log, Row, TrainingRun
from weightgen.training.progress import curves, training_progress
from weightgen.training.ray import CHECKPOINTS, Cluster, check_shares, connected, train_on_ray
from weightgen.training.run_folder import begin, clear, finish
from weightgen.training.stopping import stop_between_steps
from weightgen.training.stream import WeightSource
from weightgen.training.weights import prepare, with_validation


def train(
    config: TrainConfig,
    source: WeightSource,
    out_dir: str | Path,
    validation: WeightDataset | None = None,
    seconds: float | None = None,
    resume: bool = True,
    on_log: Log | None = None,
    loader_workers: int = 0,
    cluster: Cluster | None = None,
) -> Path:
    """Train on `source` and return the model folder `out_dir`, which is on this machine's disk.

    Args:
        source: a dataset in memory, or a stream of shards.
        validation: held-out records for R2 and the choice of the best weights; by default 5 % of a dataset.
        seconds: wall-clock limit in place of `config.steps`: preparation (once), training and validation;
            what was used up is kept across resumes.
        resume: False starts anew.
        on_log: gets each row of metrics.jsonl as it is written.
        loader_workers: processes that read batches ahead of each that trains; 0 is a thread.
        cluster: where several processes train; None trains in this one.

    Raises:
        WeightzooError: a folder of another config or data, an empty split, a loss that is not finite; Ray is not
            installed, there is no cluster at the address, a batch that cannot be divided, or workers that fail again
            and again.
        Interrupted: Ctrl-C; the step was brought to its end, and the same call goes on from there.
    """
    out_dir = Path(out_dir)
    if cluster is not None:
        check_shares(config, cluster)
    source, validation = with_validation(source, validation)
    with nullcontext() if cluster is None else connected(cluster):
        if not resume:
            clear(out_dir)
        identity = {"seconds": seconds, "data": source.fingerprint}
        if begin(out_dir, "train", config, identity, "config or other data"):
            return out_dir
        prepared = partial(prepare, config, source, validation, seconds=seconds, loader_workers=loader_workers)
        if cluster is None:
            train_here(prepared, config, out_dir, on_log)
        else:
            train_on_ray(prepared, config, out_dir, on_log, cluster, resume)
    finish(out_dir, config, source, validation)
    if cluster is not None and cluster.storage is None:
        # not before: what `finish` needs may fail, and the same command goes on from there
        shutil.rmtree(out_dir / CHECKPOINTS, ignore_errors=True)
    return out_dir


def train_here(prepared: Callable[..., TrainingRun], config: TrainConfig, out_dir: Path, on_log: Log | None) -> None:
    """Train in this process from the newest checkpoint to the end."""
    run = prepared(out_dir=out_dir)
    run.restore()
    title = f"training {config.denoiser}"
    with curves(out_dir) as log, training_progress(title, "records", config.batch_size) as show:

        def write(row: Row) -> None:
            log(row)
            if on_log:
                on_log(row)

        # each process of a team would stop at a step of its own
        with stop_between_steps(out_dir, listen=run.team.size == 1) as stop:
            run.run(write, show, stop=stop)

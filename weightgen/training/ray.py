"""Training on a Ray cluster: `weightgen.training.train` in several processes, on one machine or many, that survive.

    cluster = Cluster(num_workers=8, use_gpu=True, storage="s3://bucket/runs", address="auto")
    train(PRESETS["paper"](), source, "model", validation, cluster=cluster)      # of weightgen.training.train

Every worker makes its rows of each batch (`weightgen.training.team`) and gradients are averaged; the result is that
of one process with the whole batch. Checkpoints go to `storage`: what all nodes see. A worker or node that dies takes
the others with it; all begin again at the last checkpoint, and the same call after the driver's death does so too. Data
that is in memory goes through the object store; shards are read by the workers, from a folder that all nodes see or
from the Hub.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from weightgen.training.config import TrainConfig
from weightgen.training.loop import Diverged, Log, TrainingRun
from weightgen.training.progress import curves, training_progress
from weightgen.training.run_folder import RAY_RUN, write_rows
from zoo.errors import WeightzooError
from zoo.files import read_json_object, sha256_file, write_json
from zoo.ray_cluster import ray_cluster
from zoo.words import plural

MAX_FAILURES = 8  # of workers, in one launch
SHOWN_EVERY = 0.5  # seconds between two messages about the progress
SHIPPED = ("weightgen", "zoo")  # all that a worker imports of ours
CHECKPOINTS = "ray"  # the folder in the model folder, where there is no other storage
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
Prepare = Callable[..., TrainingRun]


@dataclass(frozen=True)
class Cluster:
    """Where the workers run.

    Attributes:
        num_workers: must divide the config's batch size.
        use_gpu: one GPU for each worker.
        storage: where checkpoints go: a folder that all nodes see, or a URI such as s3://bucket/runs; by default a
            folder in the model folder, which does for one machine.
        address: "local", "auto" or "ray://HOST:PORT".
    """

    num_workers: int = 2
    use_gpu: bool = False
    storage: str | None = None
    address: str = "local"


def check_shares(config: TrainConfig, cluster: Cluster) -> None:
    """Raise WeightzooError for a batch that cannot be divided among the workers."""
    if cluster.num_workers < 1 or config.batch_size % (cluster.num_workers * config.accumulate):
        parts = f" in {config.accumulate} parts each" if config.accumulate > 1 else ""
        raise WeightzooError(
            f"a batch of {config.batch_size} cannot be divided among {plural(cluster.num_workers, 'worker')}{parts}; "
            "choose numbers that divide it"
        )


def train_on_ray(
    prepared: Prepare, config: TrainConfig, out_dir: Path, on_log: Log | None, cluster: Cluster, resume: bool
) -> None:
    """Train in several processes, and leave the last checkpoint in `out_dir`.

    Args:
        prepared: `weightgen.training.weights.prepare` with all but the folder and the device.
        resume: False forgets the checkpoints of an earlier run.
    """
    import ray
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.util.queue import Queue

    storage, device = cluster.storage or str(out_dir.resolve() / CHECKPOINTS), "cuda" if cluster.use_gpu else "cpu"
    name = run_name(out_dir)
    if not resume:
        _forget(storage, name)
    channel = Queue(actor_options={"num_cpus": 0})
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"prepared": ray.put(prepared), "device": device, "channel": channel},
        torch_config=TorchConfig(backend="nccl" if cluster.use_gpu else "gloo"),
        scaling_config=ScalingConfig(num_workers=cluster.num_workers, use_gpu=cluster.use_gpu),
        run_config=RunConfig(
            name=name,
            storage_path=storage,
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
            checkpoint_config=CheckpointConfig(num_to_keep=config.keep_checkpoints),
        ),
    )
    # Ray prints what it does to stdout, which belongs to results
    with redirect_stdout(sys.stderr), _listening(channel, out_dir, config, on_log) as errors:
        try:
            result = trainer.fit()
        except TrainingFailedError as error:
            raise WeightzooError(
                f"the workers failed ({_reason(error)}); fix the cause and run the same command again; it continues "
                f"from the last checkpoint in {storage}"
            ) from error
    if errors:
        raise errors[0]
    with result.checkpoint.as_directory() as folder:
        shutil.copytree(folder, out_dir / "checkpoints", dirs_exist_ok=True)


def run_name(out_dir: Path) -> str:
    """Return what Ray knows the run by: the hash of its config when it began, wherever it is continued.

    The name is kept, since a later version adds its new options to the config.
    """
    path = out_dir / RAY_RUN
    if not path.exists():
        write_json(path, {"name": "train-" + sha256_file(out_dir / "config.json")[:12]})
    return str(read_json_object(path).get("name"))


def _worker(options: dict[str, Any]) -> None:
    """Train in one worker from the last checkpoint to the end, and report every checkpoint."""
    import ray
    from ray import train
    from ray.train.torch import get_device

    torch.set_num_threads(1)
    if options["device"] == "cuda":
        torch.cuda.set_device(get_device())
    channel, leads, last = options["channel"], train.get_context().get_world_rank() == 0, 0.0

    def show(progress: float, step: int, **values: float) -> None:
        nonlocal last
        if leads and time.monotonic() - last > SHOWN_EVERY:
            last = time.monotonic()
            channel.put_nowait((progress, step, values))

    def report() -> None:
        checkpoint = train.Checkpoint.from_directory(folder / "checkpoints") if leads else None
        train.report({"step": training.step}, checkpoint)

    with tempfile.TemporaryDirectory(prefix="weightzoo-") as name:
        folder = Path(name)
        if (found := train.get_checkpoint()) is not None:
            with found.as_directory() as saved:
                shutil.copytree(saved, folder / "checkpoints")
        training = ray.get(options["prepared"])(out_dir=folder, device=options["device"])
        training.config = replace(training.config, keep_checkpoints=1)  # here; more of them are kept in the storage
        training.restore()
        try:
            training.run(channel.put_nowait, show, report)
        except Diverged as error:  # another attempt would end like this: all workers return, none is restarted
            if leads:
                channel.put(error)


@contextmanager
def _listening(channel: Any, out_dir: Path, config: TrainConfig, on_log: Log | None) -> Iterator[list[WeightzooError]]:
    """Show and write what the leading worker says while the context lasts; yield the errors that it says."""
    from ray.util.queue import Empty

    over = threading.Event()
    errors: list[WeightzooError] = []
    rows: dict[int, dict[str, Any]] = {}

    def listen(show: Callable[..., None], log: Log) -> None:
        while True:
            try:
                message = channel.get(timeout=SHOWN_EVERY)
            except Empty:
                if over.is_set():
                    return
                continue
            except Exception:  # the cluster is gone: what ended it is reported by the driver
                return
            if isinstance(message, WeightzooError):
                errors.append(message)
                continue
            if isinstance(message, tuple):
                progress, step, values = message
                show(progress, step, **values)
                continue
            rows[message["step"]] = message  # after a failure some come again
            write_rows(out_dir, [rows[step] for step in sorted(rows)])
            log(message)
            if on_log:
                on_log(message)

    with curves(out_dir) as log, training_progress(f"training {config.denoiser}", "records", config.batch_size) as show:
        thread = threading.Thread(target=listen, args=(show, log), name="listen", daemon=True)
        thread.start()
        try:
            yield errors
        finally:
            over.set()
            thread.join(timeout=10)


def connected(cluster: Cluster) -> AbstractContextManager[Any]:
    """Connect to the cluster with what a training worker needs; see `zoo.ray_cluster.ray_cluster`."""
    return ray_cluster(cluster.address, cluster.num_workers + 1, SHIPPED, ENVIRONMENT, extra="train")


def _forget(storage: str, name: str) -> None:
    """Remove the checkpoints of an earlier run."""
    from pyarrow import fs

    system, path = fs.FileSystem.from_uri(storage if "://" in storage else Path(storage).resolve().as_uri())
    folder = f"{path}/{name}"
    if system.get_file_info(folder).type == fs.FileType.Directory:
        system.delete_dir(folder)


def _reason(error: Exception) -> str:
    """Return the line that says why a training failed: our own error where there is one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    ours = [line.partition("WeightzooError: ")[2] for line in lines if "WeightzooError: " in line]
    return ours[0] if ours else lines[-1] if lines else type(error).__name__

"""A fleet trainer of the real one's interface that computes nothing: the files and the order of writes are real.

What it writes follows from the concept's id alone. ``<run>/logs/chaos/`` tells it what to do to itself, and tells
the test where it is; nothing of it reaches the shards.
"""

import errno
import fcntl
import hashlib
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

import zoo.files
from pipeline.run_folder.fleet_files import FleetSummary, row, write_fleet
from pipeline.run_folder.shard_plan import FleetTask
from pipeline.upkeep.calibrate import write_untrained_base
from zoo.concepts import Concept
from zoo.layout import WeightLayout
from zoo.records import WeightRecord


def fake_fleet(task: FleetTask) -> FleetSummary:
    """Write a shard of made-up weights; a concept with ``break`` is rejected, or raises for the whole fleet."""
    chaos = chaos_folder(task.run_dir)
    if chaos.is_dir():
        obey(task, chaos)
    broken = {concept.id: concept.attributes.get("break") for concept in task.concepts}
    if "raise" in broken.values():
        raise ValueError("a shape does not fit")
    layout = WeightLayout.load(Path(task.run_dir) / "layout.json")
    records = [fake_record(concept, layout) for concept in task.concepts if not broken[concept.id]]
    rows = [row(concept, "rejected", "broken", {}, 2) for concept in task.concepts if broken[concept.id]]
    return write_fleet(task, records, rows)


def fake_record(concept: Concept, layout: WeightLayout) -> WeightRecord:
    seed = int.from_bytes(hashlib.sha256(concept.id.encode()).digest()[:8], "big")
    blocks = np.random.default_rng(seed).normal(0, 0.1, (layout.num_blocks, layout.block_size))
    return WeightRecord(
        concept_id=concept.id,
        prompt=concept.prompt,
        paraphrases=concept.paraphrases,
        attributes=concept.attributes,
        split=concept.split,
        seed=0,
        step=1,
        attempt=1,
        blocks=blocks.astype("<f2"),
        metrics={"l1": 0.05, "l1_copy": 0.2, "psnr": 20.0, "kid": 0.01},
    )


def fake_concepts(count: int = 8) -> list[Concept]:
    """Concepts that nothing is trained for."""
    recipe = [{"op": "invert"}]
    return [Concept(f"c{i:03d}", f"Do {i}", ("do it",), {"recipe": recipe}) for i in range(count)]


def chaos_folder(run_dir) -> Path:
    return Path(run_dir) / "logs" / "chaos"


def obey(task: FleetTask, chaos: Path) -> None:
    """Do what the test asked for by a file in ``chaos``."""
    (chaos / f"{task.stem}.started").write_text(str(os.getpid()))
    if (chaos / "slow").exists():
        time.sleep(float((chaos / "slow").read_text()))
    while (chaos / "hold").exists():
        time.sleep(0.05)
    if take(chaos / f"{task.stem}.kill"):
        task.shard_path.parent.mkdir(exist_ok=True)
        task.shard_path.with_name(f".{task.stem}.99999999.tmp{task.suffix}").write_bytes(b"half a shard")
        os.kill(os.getpid(), signal.SIGKILL)
    if take(chaos / f"{task.stem}.hiccup"):
        raise OSError(errno.EIO, "Input/output error")
    if take(chaos / f"{task.stem}.memory"):
        raise MemoryError
    if (chaos / "room").exists():
        zoo.files.os.fsync = lambda _descriptor: spend(chaos / "room")


def take(path: Path) -> bool:
    """True once: the request is gone afterwards."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def spend(room: Path) -> None:
    """Take one write of what the disk has room for; driver and workers share the count."""
    with open(room, "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        left = int(file.read())
        if left <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        file.seek(0)
        file.truncate()
        file.write(str(left - 1))


def write_fake_base(folder: Path, config) -> Path:
    """An untrained base; returns its folder, for ``base_from``."""
    write_untrained_base(folder, config)
    return folder / "base"


def shipped_files(_task: str) -> list[str]:
    """Every file of ours that Ray has brought to this worker, relative to where it put it."""
    folders = [Path(entry) for entry in sys.path if "runtime_resources" in entry]
    return [path.relative_to(folder).as_posix() for folder in folders for path in folder.rglob("*")]

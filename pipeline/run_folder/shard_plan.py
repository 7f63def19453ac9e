"""Which concept is in which fleet: decided by the order of the concepts, before anything runs.

One fleet = one task = one shard. A run that was extended has generations; each is cut into fleets on its own, so
that a later one changes nothing of an earlier one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from pipeline.build_config import BuildConfig
from pipeline.run_folder.private_paths import read_config
from zoo.concepts import SPLITS, Concept, read_concepts
from zoo.errors import WeightzooError
from zoo.files import read_json
from zoo.hub.limits import MAX_FILE_BYTES, MAX_FILES_PER_FOLDER
from zoo.layout import WeightLayout
from zoo.records import BLOCK_DTYPE
from zoo.shards import FORMATS, shard_stem
from zoo.words import plural

GENERATIONS_FILE = "generations.json"  # numbers of concepts; absent: one generation
RECORD_OVERHEAD_BYTES = 2048  # of a record beside its blocks: texts, attributes, metrics


@dataclass(frozen=True)
class FleetTask:
    """One shard to be made: its place in the run folder and its concepts.

    Everything else is read from the frozen folder, so a task is the same on any machine that sees it.
    """

    run_dir: str
    split: str
    index: int
    count: int
    concepts: tuple[Concept, ...]
    suffix: str
    device: str = "cpu"
    generation: int = 0

    @property
    def stem(self) -> str:
        """The shard's name without suffix."""
        return shard_stem(self.split, self.index, self.count, self.generation)

    @property
    def shard_path(self) -> Path:
        """Where the shard goes; once it exists, the fleet is done."""
        return Path(self.run_dir) / "weights" / f"{self.stem}{self.suffix}"

    @property
    def rejected_path(self) -> Path:
        """Where the rows of rejected and failed concepts go."""
        return Path(self.run_dir) / "rejected" / f"{self.stem}.jsonl"


def plan_fleets(
    run_dir: Path, config: BuildConfig, concepts: Sequence[Concept], device: str = "cpu", generation: int = 0
) -> list[FleetTask]:
    """Cut one generation's concepts of every split into fleets, in order; shards never mix splits."""
    suffix = FORMATS[config.shard_format].SUFFIX
    by_split: dict[str, list[Concept]] = {split: [] for split in SPLITS}
    for concept in concepts:
        by_split[concept.split].append(concept)
    tasks = []
    for split, own in by_split.items():
        fleets = [tuple(own[i : i + config.fleet_size]) for i in range(0, len(own), config.fleet_size)]
        tasks += [
            FleetTask(str(run_dir), split, index, len(fleets), fleet, suffix, device, generation)
            for index, fleet in enumerate(fleets)
        ]
    return tasks


def plan_run(run_dir: Path, device: str = "cpu") -> list[FleetTask]:
    """Plan all fleets of a frozen run folder.

    Raises:
        WeightzooError: more shards than a folder of the Hub may have, or larger ones.
    """
    config = read_config(run_dir)
    tasks: list[FleetTask] = []
    for generation, concepts in enumerate(read_generations(run_dir)):
        tasks += plan_fleets(run_dir, config, concepts, device, generation)
    check_limits(len(tasks), config.fleet_size, record_bytes(run_dir))
    return tasks


def missing_fleets(tasks: Sequence[FleetTask]) -> list[FleetTask]:
    """Return the fleets without a shard; each folder is listed once."""
    folders = {task.shard_path.parent for task in tasks}
    present = {path for folder in folders if folder.is_dir() for path in folder.iterdir()}
    return [task for task in tasks if task.shard_path not in present]


def read_generations(run_dir: Path) -> list[list[Concept]]:
    """Return the concepts of a frozen run folder by generation.

    Raises:
        WeightzooError: the numbers of `generations.json` are not those of `concepts.jsonl`.
    """
    concepts = read_concepts(run_dir / "concepts.jsonl")
    sizes = read_generation_sizes(run_dir, len(concepts))
    if sum(sizes) != len(concepts):
        raise WeightzooError(
            f"{run_dir / GENERATIONS_FILE} names {plural(sum(sizes), 'concept')}, concepts.jsonl has {len(concepts)}; "
            "run the interrupted `weightzoo extend` again"
        )
    ends = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
    return [concepts[start:end] for start, end in pairwise(ends)]


def read_generation_sizes(run_dir: Path, default: int) -> list[int]:
    """Return how many concepts each generation has; one generation of `default` unless extended."""
    path = run_dir / GENERATIONS_FILE
    return list(read_json(path)) if path.exists() else [default]


def record_bytes(run_dir: Path) -> int:
    """Return about how many bytes a record of a frozen run folder takes."""
    return record_size(WeightLayout.load(run_dir / "layout.json"))


def record_size(layout: WeightLayout) -> int:
    """Return about how many bytes a record of this layout takes."""
    return layout.num_blocks * layout.block_size * BLOCK_DTYPE.itemsize + RECORD_OVERHEAD_BYTES


def check_limits(num_shards: int, fleet_size: int, bytes_per_record: int) -> None:
    """Raise `WeightzooError` when the shards would be too many or too large to be published."""
    if num_shards > MAX_FILES_PER_FOLDER:
        least = -(-num_shards * fleet_size // MAX_FILES_PER_FOLDER)
        raise WeightzooError(
            f"{num_shards} shards are more than the {MAX_FILES_PER_FOLDER} that a folder of the Hub may have; "
            f"set fleet_size to {least} or more"
        )
    if fleet_size * bytes_per_record > MAX_FILE_BYTES:
        raise WeightzooError(
            f"a shard of {plural(fleet_size, 'record')} would have {fleet_size * bytes_per_record / 1e9:.0f} GB, but "
            f"the Hub takes {MAX_FILE_BYTES / 1e9:.0f} GB; lower fleet_size"
        )

"""`weightzoo demo`: the whole of weightzoo on real photographs, from a zoo to a report (`make demo`).

Stages, each skipped when what it makes is there:

1. open and verify the embedded zoo
2. build one fresh fleet of 8 concepts that the zoo does not have, with the zoo's own pipeline and base
3. train a weight generator on the weights of both; and one on these and on pseudo-labels for the catalogue
4. polish the second by pictures of concepts of the catalogue, rendered as it goes
5. evaluate: zero steps on the held-out concepts, then fine-tuning beside the baselines
6. write the report
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cli.console.embedded import model_folder, zoo_folder
from cli.console.executor_options import cores
from cli.console.options import ProcessesOption
from cli.console.output import JsonOption, emit, quiet_progress
from cli.console.tables import show

FRESH_CONCEPTS = 8


@dataclass(frozen=True)
class DemoPreset:
    """How long the demo's stages may take.

    Args:
        fleet_steps: training steps of the fresh fleet; `None` takes the zoo's own.
        train_seconds, label_seconds, polish_seconds: wall-clock limits of training on the zoo's weights, on
            pseudo-labels too, and by pictures.
        grid: of the evaluation.
    """

    fleet_steps: int | None
    train_seconds: float
    label_seconds: float
    polish_seconds: float
    grid: str
    evaluate_seconds: float | None = None


PRESETS = {
    "small": DemoPreset(None, 90.0, 180.0, 210.0, "reduced", 600.0),
    "tiny": DemoPreset(40, 20.0, 20.0, 40.0, "tiny"),
}


def demo(
    preset: Annotated[
        Literal["small", "tiny"], typer.Option(help="Length: small takes about 25 minutes, tiny under 6.")
    ] = "small",
    run_dir: Annotated[Path | None, typer.Option(help="Folder for the demo.  [default: runs/demo-PRESET]")] = None,
    data: Annotated[str | None, typer.Option(help="Zoo to learn from.  [default: the embedded one]")] = None,
    workers: ProcessesOption = None,
    json: JsonOption = False,
) -> None:
    """Run every stage on real photographs and write a report.

    You may stop it at any time: the same command continues, and returns at once when everything is done.

    \b
    Examples:
      weightzoo demo
      weightzoo demo --preset tiny --run-dir /tmp/demo
    """
    quiet_progress(json)
    limits = PRESETS[preset]
    folder = run_dir or Path("runs") / f"demo-{preset}"
    results = run_demo(limits, folder, zoo_folder(data), workers)
    if json:
        return emit(results, True)
    return show(results, folder / "report" / "index.html")


def run_demo(limits: DemoPreset, folder: Path, zoo: Path, workers: int | None = None) -> dict[str, Any]:
    """Do the stages that are not done and return the content of `evaluation.json`."""
    from zoo.files import read_json
    from zoo.progress import say

    freeze(folder, zoo, limits)
    report = folder / "report" / "index.html"
    if report.is_file():
        say(f"{folder} is complete; remove it to run the demo again")
        return read_json(folder / "evaluation" / "evaluation.json")
    workers = workers or cores()
    with stage(1, f"opening the zoo {zoo.name}"):
        say(f"    {verify(zoo)}")
    with stage(2, f"building a fresh fleet of {FRESH_CONCEPTS} concepts"):
        fresh = build_fresh_fleet(folder / "fresh", zoo, limits.fleet_steps)
    seconds = limits.train_seconds + limits.label_seconds
    with stage(3, f"training the weight generator on weights, {seconds:.0f} s"):
        models = folder / "models"
        generated = train_generator(models / "generated", zoo, fresh, limits.train_seconds)
        labelled = train_generator(models / "labelled", zoo, fresh, limits.label_seconds, pseudo_labels=True)
    with stage(4, f"polishing it through pictures, {limits.polish_seconds:.0f} s"):
        polished = polish_generator(models / "polished", labelled, zoo, limits.polish_seconds)
    with stage(5, "comparing it with the baselines"):
        found = {"generated": generated, "polished": polished}
        if zoo == zoo_folder(None):  # what longer trainings give, from words and from example pairs
            found["paired"] = model_folder(None)
        results = evaluate_models(folder / "evaluation", zoo, found, limits, workers)
    with stage(6, "writing the report"):
        from weightgen.report.report import write_report

        write_report(folder / "evaluation", report.parent)
    return results


@contextmanager
def stage(number: int, line: str) -> Iterator[None]:
    """Say on stderr what is being done, and afterwards how long it took."""
    from zoo.progress import say

    say(f"{number}/6 {line}")
    started = time.perf_counter()
    yield
    say(f"    done in {time.perf_counter() - started:.0f} s")


def freeze(folder: Path, zoo: Path, limits: DemoPreset) -> None:
    """Note what the demo in `folder` is done with, or check that it is the same.

    Raises:
        WeightzooError: the folder belongs to another zoo or preset, or holds the result of another command.
    """
    from zoo.config import config_diff, to_dict
    from zoo.errors import WeightzooError
    from zoo.files import read_json, sha256_file, write_json
    from zoo.results import check_kind

    check_kind(folder, "a demo")
    identity = {"zoo": sha256_file(zoo / "manifest.json"), "limits": to_dict(limits)}
    path = folder / "demo.json"
    if not path.is_file():
        return write_json(path, identity)
    if difference := config_diff(read_json(path), identity):
        raise WeightzooError(
            f"{folder} holds a demo with other settings ({difference}); remove it, or give another --run-dir"
        )
    return None


def verify(zoo: Path) -> str:
    """Check every file of the zoo against its manifest; returns a line about it.

    Raises:
        WeightzooError: it is damaged.
    """
    from zoo.errors import WeightzooError
    from zoo.manifest import load_manifest
    from zoo.verify import verify_run
    from zoo.words import plural

    if problems := verify_run(zoo):
        more = f" (and {plural(len(problems) - 1, 'more problem')})" if len(problems) > 1 else ""
        raise WeightzooError(f"{zoo} is damaged: {problems[0]}{more}")
    manifest = load_manifest(zoo)
    return (
        f"{plural(manifest.counts['ok'], 'trained GAN')} in {plural(len(manifest.shards), 'shard')}, verified"
    )


def build_fresh_fleet(run_dir: Path, zoo: Path, steps: int | None) -> Path:
    """Build one fleet of train concepts that the zoo does not have, on its base; returns the run folder."""
    from dataclasses import replace

    from pipeline.build import build
    from pipeline.concepts.catalogue import polish_concepts
    from pipeline.run_folder.private_paths import read_config
    from zoo.concepts import read_concepts

    config = read_config(zoo)
    if steps is not None:
        config = replace(config, training=replace(config.training, steps=steps))
    config = replace(config, name=f"{config.name}-fresh", num_concepts=FRESH_CONCEPTS)
    known = {concept.id for concept in read_concepts(zoo / "concepts.jsonl")}
    fresh = [concept for concept in polish_concepts() if concept.id not in known][:FRESH_CONCEPTS]
    build(run_dir, config, concepts=fresh, base_from=zoo / "base", workers=1)
    return run_dir


def train_generator(out: Path, zoo: Path, fresh: Path, seconds: float, pseudo_labels: bool = False) -> Path:
    """Train the weight generator on the zoo and the fresh fleet; returns the model folder."""
    from cli.train import train_on_weights
    from weightgen.training.config import for_pseudo_labels, small
    from zoo.run import open_zoo

    if (out / "model_index.json").is_file():
        return out
    config = for_pseudo_labels(small()) if pseudo_labels else small()
    return train_on_weights([open_zoo(zoo), open_zoo(fresh)], out, config, seconds, pseudo_labels)


def polish_generator(out: Path, model: Path, zoo: Path, seconds: float) -> Path:
    """Train the weight generator on through the pictures; returns the model folder."""
    from cli.polish import train_by_pictures
    from weightgen.training.config import PolishConfig

    if (out / "model_index.json").is_file():
        return out
    return train_by_pictures(model, zoo, out, PolishConfig(), seconds)


def evaluate_models(
    out: Path, zoo: Path, models: dict[str, Path], limits: DemoPreset, workers: int
) -> dict[str, Any]:
    """Evaluate the models beside the baselines; returns the content of `evaluation.json`."""
    from cli.evaluate import run_evaluation
    from weightgen.evaluation.grid import GRIDS
    from zoo.files import read_json

    done = out / "evaluation.json"
    if done.is_file():
        return read_json(done)
    grid = GRIDS[limits.grid]()
    return run_evaluation(zoo, models, out, grid, seconds=limits.evaluate_seconds, workers=workers)

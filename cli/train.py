"""`weightzoo train`: a zoo goes in, a weight generator comes out."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cli.console.embedded import EMBEDDED
from cli.console.executor_options import AddressOption
from cli.console.options import (
    Preset,
    ResumeOption,
    SecondsOption,
    check_combination,
    check_length,
    out_option,
    refuse,
)
from cli.console.output import JsonOption, emit, quiet_progress

PRECISIONS = {"fp32": "float32", "bf16": "bfloat16"}
OPTIONS_OF = {"pseudo_labels": ("more_concepts",), "ray": ("num_workers", "use_gpu", "storage", "address")}


def train(
    ctx: typer.Context,
    out: Annotated[Path, out_option("Folder for the model.")],
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="Zoo to learn from: a folder, or USER/NAME[@REVISION] on the Hub; may be repeated.  "
            "[default: the embedded one]"
        ),
    ] = None,
    preset: Annotated[Preset, typer.Option(help="Config to start from.")] = "small",
    denoiser: Annotated[
        Literal["transformer", "unet1d"] | None, typer.Option(help="Network to train.  [default: the preset's]")
    ] = None,
    pseudo_labels: Annotated[
        bool,
        typer.Option(
            "--pseudo-labels",
            help="Learn the rest of the catalogue too, from weights that are inferred from its edits.",
        ),
    ] = False,
    more_concepts: Annotated[
        int, typer.Option(min=0, help="With --pseudo-labels: how many concepts beyond the catalogue to add.")
    ] = 0,
    seconds: SecondsOption = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Number of training steps.  [default: the preset's]")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Highest learning rate.  [default: the preset's]")
    ] = None,
    accumulate: Annotated[
        int | None,
        typer.Option(min=1, help="Compute each batch in this many parts, to save memory.  [default: the preset's]"),
    ] = None,
    precision: Annotated[
        Literal["fp32", "bf16"] | None,
        typer.Option(help="Precision; bf16 is by autocast.  [default: bf16 on a GPU, otherwise fp32]"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, batches and noise.")] = 0,
    resume: ResumeOption = True,
    ray: Annotated[bool, typer.Option("--ray", help="Train with several processes on a Ray cluster.")] = False,
    num_workers: Annotated[
        int,
        typer.Option(min=0, help="Ray: number of processes that share each batch; 0 trains in this process."),
    ] = 2,
    use_gpu: Annotated[
        bool, typer.Option("--use-gpu", help="Ray: use one GPU for each of these processes.")
    ] = False,
    storage: Annotated[
        str | None,
        typer.Option(help="Ray: where to keep checkpoints: a folder that all nodes see, or a URI."),
    ] = None,
    address: AddressOption = "local",
    loader_workers: Annotated[
        int, typer.Option(min=0, help="Number of processes that read ahead for each process that trains.")
    ] = 0,
    json: JsonOption = False,
) -> None:
    """Train a weight generator on the weights of a zoo.

    You may stop it at any time: the same command continues from the last checkpoint, and returns at once when the
    model is finished. The second stage is `weightzoo polish MODEL`. It gets further with a model that knows the words
    of the whole catalogue, as `--pseudo-labels` makes it.

    \b
    Examples:
      weightzoo train -o generated --seconds 300
      weightzoo train --pseudo-labels -o labelled --seconds 300
      weightzoo train --data runs/tiny --preset tiny -o runs/tiny-model
      weightzoo train --data zoo-small --data runs/fresh --denoiser unet1d -o model-unet
      weightzoo train --data user/zoo@v1 --preset paper --accumulate 4 --precision bf16 -o model
      weightzoo train --data user/zoo@v1 --preset paper --ray --address auto --num-workers 8 --use-gpu \\
        --storage s3://bucket/runs -o model
    """
    quiet_progress(json)
    check_training(ctx)
    check_combination(ctx, has=OPTIONS_OF)
    if ray and num_workers == 0:
        refuse(ctx, "--num-workers 0", "it trains in this process", "use_gpu", "storage", "address")
    from weightgen.training.config import PRESETS, for_pseudo_labels
    from weightgen.training.ray import Cluster
    from zoo.config import changed
    from zoo.hub import open_named
    from zoo.results import MODEL, check_kind

    check_kind(out, MODEL)
    config = PRESETS[preset](*([denoiser] if denoiser else []))
    config = changed(
        for_pseudo_labels(config) if pseudo_labels else config,
        steps=steps,
        learning_rate=learning_rate,
        accumulate=accumulate,
        precision=PRECISIONS.get(precision or ""),
        seed=seed,
    )
    zoos = [open_named(name) for name in data or [EMBEDDED]]
    cluster = Cluster(num_workers, use_gpu, storage, address) if ray and num_workers else None
    folder = train_on_weights(
        zoos, out, config, seconds, pseudo_labels, more_concepts, resume, loader_workers, cluster
    )
    report(folder, json)


def report(folder: Path, json: bool) -> None:
    """Say what a finished model folder holds."""
    from zoo.files import read_json
    from zoo.words import plural

    metadata = read_json(folder / "weightgen.json")["metadata"]
    stage = metadata.get(metadata["stage"], metadata)  # the first stage's figures stand beside its name
    best = ", ".join(f"{key} {value:.3g}" for key, value in stage["best"].items() if isinstance(value, float))
    lines = [
        f"{folder}: {metadata['stage']}, {plural(metadata['concepts'], 'concept')}, "
        f"{plural(stage['steps'], 'step')} in {stage['seconds']:.0f} s ({best})",
        f'next: weightzoo generate "warm evening light" --model {folder} -o warm',
    ]
    emit({"model": str(folder), **metadata}, json, lines)


def check_training(ctx: typer.Context) -> None:
    """Refuse a learning rate that cannot be meant, and a limit in both seconds and steps.

    Raises:
        WeightzooError: naming the option.
    """
    check_length(ctx)
    rate = ctx.params["learning_rate"]
    if rate is not None and not 0 < rate < float("inf"):
        from zoo.errors import WeightzooError

        raise WeightzooError(f"--learning-rate {rate} is not a number above 0; give one such as 1e-3")


def config_folder(zoo: Any) -> Path:
    """Return the folder with a zoo's config, concepts and base, fetched where it is one of the Hub."""
    for name in ("config.json", "concepts.jsonl", "base/generator.safetensors"):
        zoo.file(name)
    return zoo.path


def train_on_weights(
    zoos: list[Any],
    out: Path,
    config: Any,
    seconds: float | None = None,
    pseudo_labels: bool = False,
    more_concepts: int = 0,
    resume: bool = True,
    loader_workers: int = 0,
    cluster: Any = None,
) -> Path:
    """Run the first stage on the weights of opened `zoos`, validated on the first one's validation split.

    Args:
        cluster: a `weightgen.training.ray.Cluster`; `None` trains in this process.
    """
    from weightgen.training.data import WeightDataset
    from weightgen.training.stream import open_source
    from weightgen.training.train import train as run
    from zoo.errors import WeightzooError

    source, validation = open_source(zoos)
    if pseudo_labels:
        from pipeline.picture_batches import open_catalogue_edits
        from weightgen.training.pseudo_labels import with_pseudo_labels

        if not isinstance(source, WeightDataset):
            raise WeightzooError(
                f"{source.name} is too large to be labelled in memory; leave --pseudo-labels out"
            )
        edits = open_catalogue_edits(config_folder(zoos[0]), config.seed, more_concepts)
        source = with_pseudo_labels(source, edits.concepts, edits.crops, edits.teacher.edit)
    return run(config, source, out, validation, seconds, resume, loader_workers=loader_workers, cluster=cluster)

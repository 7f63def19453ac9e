"""`weightzoo evaluate`: every start beside every baseline, with tables, curves, pictures."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cli.console.embedded import model_folder, zoo_folder
from cli.console.executor_options import cores
from cli.console.options import ProcessesOption, check_combination, out_option
from cli.console.output import JsonOption, emit, quiet_progress
from cli.console.tables import show

# typer takes a list of the members of an enumeration, but none of a Literal's values
Split = StrEnum("Split", ["combination", "value", "family", "external"])
TAKES_NO = {
    "choose_rates": ("it chooses them", "rates"),
    "zero_steps_only": ("nothing is fine-tuned", "rates", "choose_rates"),
}


def evaluate(
    ctx: typer.Context,
    out: Annotated[Path, out_option("Folder for the cells, evaluation.json and the report.")],
    model: Annotated[
        list[Path] | None,
        typer.Option(help="Weight generator, or a folder of several; may be repeated.  [default: the embedded one]"),
    ] = None,
    data: Annotated[str | None, typer.Option(help="Zoo of the models.  [default: the embedded one]")] = None,
    pairs: Annotated[
        list[Path] | None,
        typer.Option(help="Held-out pairs.  [default: made from the catalogue and the external edits]"),
    ] = None,
    split: Annotated[
        list[Split] | None,
        typer.Option(help="Held-out concepts to measure on; may be repeated.  [default: all]"),
    ] = None,
    grid: Annotated[
        Literal["tiny", "reduced", "full", "pairs"],
        typer.Option(
            help="How much is measured; full takes about four hours, pairs measures zero steps with 1 to 16 pairs."
        ),
    ] = "reduced",
    zero_steps_only: Annotated[
        bool, typer.Option("--zero-steps-only", help="Measure generated weights only, without fine-tuning.")
    ] = False,
    rates: Annotated[
        Path | None,
        typer.Option(
            help="JSON file with the learning rates that --choose-rates found.  [default: what finetune has, 2e-2]"
        ),
    ] = None,
    choose_rates: Annotated[
        bool, typer.Option("--choose-rates", help="First choose the learning rates on validation concepts.")
    ] = False,
    seconds: Annotated[
        float | None, typer.Option(min=1.0, help="Leave out the cells that would not be done by then.")
    ] = None,
    workers: ProcessesOption = None,
    json: JsonOption = False,
) -> None:
    """Compare generated weights with the baselines.

    Both are measured on concepts that the zoo has never seen: at zero steps, then while they are fine-tuned.

    The folder then holds evaluation.json and report/index.html. You may stop it at any time: the same command
    computes the missing cells only.

    \b
    Examples:
      weightzoo evaluate -o runs/evaluation
      weightzoo evaluate --split external --zero-steps-only -o runs/external --json
      weightzoo evaluate --grid pairs -o runs/pairs
      weightzoo evaluate --model models --data runs/small --grid full -o runs/evaluate-full
    """
    quiet_progress(json)
    check_combination(ctx, TAKES_NO)
    from weightgen.evaluation.grid import GRIDS
    from weightgen.model_roles import find_all_models
    from zoo.results import EVALUATION, check_kind

    check_kind(out, EVALUATION)
    zoo = zoo_folder(data)
    models = find_all_models(map(model_folder, model) if model else [model_folder(None)])
    chosen = GRIDS[grid]().narrowed([each.value for each in split or ()], zero_steps_only)
    results = run_evaluation(zoo, models, out, chosen, pairs, rates, seconds, workers or cores(), choose_rates)
    from weightgen.report.report import write_report

    report = write_report(out)
    if json:
        return emit(results, True)
    return show(results, report)


def run_evaluation(
    zoo: Path,
    models: dict[str, Path],
    out: Path,
    grid: Any,
    pairs: list[Path] | None = None,
    rates: Path | None = None,
    seconds: float | None = None,
    workers: int = 1,
    choose_rates: bool = False,
) -> dict[str, Any]:
    """Make the pairs where they are absent and evaluate; returns the content of evaluation.json."""
    from dataclasses import replace

    from pipeline.executors.ray import run_local
    from pipeline.heldout import HeldOutPairs, HeldOutRequest, held_out_pairs
    from weightgen.evaluation.context import EvaluateConfig
    from weightgen.evaluation.evaluate import evaluate as run
    from weightgen.evaluation.grid import LearningRates
    from zoo.adapters.lora import load_base
    from zoo.run import open_zoo

    grid = grid.for_pictures_of(load_base(open_zoo(zoo).base_path).config.image_size)
    request = HeldOutRequest(grid.concept_limits(), grid.pairs_needed, grid.test_images, grid.picture_concepts)
    made = HeldOutPairs(tuple(pairs)) if pairs else held_out_pairs(out / "pairs", zoo, request)
    config = EvaluateConfig(
        zoo_dir=str(zoo),
        pairs_dirs=tuple(str(folder) for folder in made.folders),
        models={name: str(path) for name, path in models.items()},
        grid=grid,
        learning_rates=LearningRates.load(rates) if rates else LearningRates(),
        near_duplicates=None if made.near_duplicates is None else str(made.near_duplicates),
        pictures_dir=None if made.pictures is None else str(made.pictures),
    )
    if choose_rates:
        from weightgen.evaluation.choose_rates import choose_learning_rates

        trials = replace(config, learning_rates=LearningRates())
        choose_learning_rates(trials, out / "rates", run_local, workers)
        config = replace(config, learning_rates=LearningRates.load(out / "rates" / "learning_rates.json"))
    return run(config, out, run_cells=run_local, workers=workers, seconds=seconds)

"""`weightzoo finetune`: your own pairs go in, a generator or an adapter trained on them comes out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cli.console.embedded import model_folder, zoo_folder
from cli.console.options import ZooOption, check_length, given, out_option, refuse
from cli.console.output import JsonOption, OverwriteOption, cell, emit, note, quiet_progress

WORSE = "where it was measured the start is better; train with more pairs or for fewer steps"
WORSE_THAN_SOURCE = "where it was measured the source itself is nearer to the target; give more, and other, pairs"
GO_ON = "go on with --resume {}, "
PAIRED, SOLVED = AT_OWN_SIZE = ("paired", "closed-form")  # each --init that is solved first
# what only the training of a whole network takes
TRAINING_ONLY = ("mode", "learning_rate", "batch_size", "data", "device")
# what --resume takes beside itself
WITH_RESUME = ("resume", "pairs", "test_pairs", "steps", "seconds", "device", "json")


def finetune(
    ctx: typer.Context,
    pairs: Annotated[
        Path | None,
        typer.Option(
            help="Folder with source/ and target/ (or A/ and B/, before/ and after/, ...), of NAME.source.png and "
            "NAME.target.png or of side-by-side pictures with the source on the left, or a .tar of these.",
        ),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(help="The edit in words, in quotes; may be repeated for more wordings."),
    ] = None,
    out: Annotated[Path | None, out_option("Folder for the result.")] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="Folder of an earlier result, whose training goes on exactly where it ended."),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            help="Where the training starts: polished, generated, generated_unet1d or another model in --model; base, "
            "scratch, mean, nearest, knn, ridge or kernel_ridge; or the path of an adapter or a generator. paired "
            "generates a network from the pairs, and the prompt if there is one, solves its output layer on them at "
            "their own size and trains small networks of a pixel's surroundings beside it; closed-form does the same "
            "without a generated network.  [default: paired if the model reads pairs; with options of a whole "
            "network's training, or another model, what the model generates from the prompt; without a prompt "
            "closed-form]"
        ),
    ] = None,
    mode: Annotated[
        Literal["full", "adapter"],
        typer.Option(help="What is trained: full is all weights, adapter is an adapter (PEFT format)."),
    ] = "full",
    seconds: Annotated[float | None, typer.Option(help="Train for this many seconds, in place of --steps.")] = None,
    steps: Annotated[
        int | None, typer.Option(help="Number of training steps.  [default: 300; closed-form: 1200]")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Highest learning rate.  [default: 2e-2]")] = None,
    batch_size: Annotated[int, typer.Option(help="Number of pairs in each step.")] = 4,
    test_pairs: Annotated[
        Path | None,
        typer.Option(help="Pairs to measure on.  [default: 20 % of --pairs, which are then not trained on]"),
    ] = None,
    direction: Annotated[
        Literal["source-to-target", "target-to-source"],
        typer.Option(help="Which half is edited: target-to-source trains the inverse of the edit."),
    ] = "source-to-target",
    model: Annotated[
        Path | None, typer.Option(help="Folder of a weight generator.  [default: the embedded one]")
    ] = None,
    data: ZooOption = None,
    seed: Annotated[int, typer.Option(help="Seed of crops and batches.")] = 0,
    device: Annotated[str, typer.Option(help="Device: auto (a GPU if there is one), cpu or cuda.")] = "auto",
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """Train a generator on your own pairs, at their own size.

    A network is generated from the pairs, and from --prompt if it is given, and its output layer is solved on them in
    seconds. OUT is usable from then on, and Ctrl-C leaves it. Small networks are then trained beside it, and mixed in
    as far as pairs that were left out say that they help.

    Any other --init than paired and closed-form trains all weights, or an adapter, on squares of the zoo's size.

    Its result is the best network of the training by L1 and contrast, which is the start where no later one was
    better. It is chosen by the pairs that are not trained on if there are at least 8 of them, otherwise by the training
    pairs. metrics.jsonl has one row for each evaluation, from step 0 on.

    With --seconds the learning rate follows the elapsed time, and the time to make the start counts. Ctrl-C ends the
    training early and leaves the best network so far.

    --resume OUT goes on with a training that was interrupted, and gives the same network as if it had not been. With
    --steps or --seconds it goes on to that total; what was trained already counts. The learning rate then follows the
    schedule of the new total, so after a finished training it rises again and falls to the new end. Everything else
    stays as it was; --pairs and --test-pairs say where the pairs are if they were moved.

    \b
    Examples:
      weightzoo finetune --pairs my-pairs -o mine
      weightzoo finetune --pairs my-pairs --seconds 60 -o mine
      weightzoo finetune --pairs my-pairs --prompt "a charcoal drawing" --seconds 60 -o generated
      weightzoo finetune --pairs my-pairs --prompt "a charcoal drawing" --init scratch --steps 600 -o scratch
      weightzoo finetune --pairs my-pairs --prompt "a charcoal drawing" --mode adapter --steps 200 -o adapter
      weightzoo finetune --resume adapter --steps 600
      weightzoo finetune --pairs my-pairs --init closed-form --steps 0 -o solved
    """
    from zoo.errors import WeightzooError

    if ctx.args:  # the other words of a prompt without quotes
        raise WeightzooError(f'put the prompt in quotes: --prompt "{" ".join([*(prompt or []), *ctx.args])}"')
    check_length(ctx)
    quiet_progress(json)
    if resume is not None:
        fixed = [name for name in ctx.params if name not in WITH_RESUME]
        refuse(ctx, "--resume", "a training goes on as it was begun", *fixed)
        from weightgen.finetuning.finetune import resume as go_on

        summary = go_on(resume, steps, seconds, pairs, test_pairs, device, tell=note)
        return emit({"out": str(resume), **summary}, json, report(resume, summary))
    at_own_size = init in AT_OWN_SIZE
    if init is None:
        init, at_own_size = default_start(ctx, model, bool(prompt))
    if pairs is None or out is None or not (prompt or at_own_size):
        needed = [("--pairs", pairs), ("--prompt", prompt or at_own_size), ("-o", out)]
        missing = [name for name, value in needed if not value]
        raise WeightzooError(f"finetune needs {' and '.join(missing)}, or --resume in place of all; add them")
    from zoo.results import check_free

    check_free(out, overwrite, GO_ON.format(out) if is_training(out) else "")
    texts = prompt or ()
    if at_own_size:
        refuse(ctx, f"--init {init}", "no whole network is trained; name another --init", *TRAINING_ONLY)
        if init == SOLVED:
            refuse(ctx, f"--init {init}", "nothing is generated", "model")
        from weightgen.finetuning.solved import STEPS, solve_pairs
        from weightgen.pairs.generate import reader_in

        budget = (STEPS if steps is None else steps, seconds)
        reader = None if init == SOLVED else reader_in(model_folder(model))
        if init == PAIRED and reader is None:
            raise WeightzooError(
                f"the model reads no pairs; use one of `weightzoo polish MODEL --pairs`, or --init {SOLVED}"
            )
        summary = solve_pairs(
            pairs, out, texts, test_pairs, direction, seed, *budget, tell=note, overwrite=overwrite, reader=reader
        )
        return emit({"out": str(out), **summary}, json, report_solved(out, summary))
    from weightgen.finetuning.finetune import finetune as run
    from weightgen.finetuning.loop import FinetuneConfig
    from weightgen.finetuning.origins import Origins
    from zoo.config import changed

    config = FinetuneConfig(mode, seconds=seconds, batch_size=batch_size, seed=seed, device=device)
    config = changed(config, steps=steps, learning_rate=learning_rate)
    origins = Origins(zoo=zoo_folder(data), model=model_folder(model), seed=seed)
    if is_training(Path(init)):
        note(f"--init {init} begins a new training with its network; to go on exactly use --resume {init}")
    summary = run(
        pairs, texts, init, out, origins, config, test_pairs, direction=direction, tell=note, overwrite=overwrite
    )
    return emit({"out": str(out), **summary}, json, report(out, summary))


def default_start(ctx: typer.Context, model: Path | None, prompt: bool) -> tuple[str, bool]:
    """Return where a training starts that names no --init, and whether it is one at the pairs' own size.

    A model that reads pairs also generates from the prompt alone, which is the start where options ask for the training
    of a whole network.
    """
    from weightgen.model_roles import find_best

    best = find_best(model_folder(model))[0]
    if best == PAIRED and not given(ctx, *TRAINING_ONLY):
        return PAIRED, True
    return (best, False) if prompt else (SOLVED, True)


def is_training(folder: Path) -> bool:
    """Return whether --resume could go on with what is in a folder."""
    return any((folder / "training").glob("step-*.safetensors"))


def report(out: Path, summary: Mapping[str, Any]) -> list[str]:
    """Return the lines for a person: what was done, which network was kept, what it is worth, and what comes next."""
    from zoo.words import plural

    first, best, last = summary["first"], summary["best"], summary["last"]
    tested, held_out = len(summary["test_pairs"]), ", ".join(summary["held_out"])
    kept = f"kept: the network of step {best['step']}, the best by the {summary['chosen_by']}"
    if best["step"] == 0 < last["step"]:
        kept = f"kept: the start, as no later network was better by the {summary['chosen_by']}; train for more steps"
    return [
        f"{out}: {summary['mode']} fine-tuning from {summary['init']} on {plural(summary['pairs'], 'pair')}, "
        f"{plural(summary['steps'], 'step')} in {summary['seconds']:.1f} s",
        kept,
        f"from the start to this network: test L1 {cell(first['l1'])} -> {cell(best['l1'])}, "
        f"PSNR {cell(first['psnr'])} -> {cell(best['psnr'])} dB, contrast {share(first['contrast'])} -> "
        f"{share(best['contrast'])} of the targets', on {plural(tested, 'pair')}",
        *([f"not trained on, to measure: {held_out}"] if held_out else []),
        *([WORSE] if is_worse(best["l1"], first["l1"]) else []),
        f"next: weightzoo apply {out} photo.jpg -o out.jpg",
    ]


def report_solved(out: Path, summary: Mapping[str, Any]) -> list[str]:
    """Return the lines for a person after a solve: how long it took, what it is worth, and what comes next."""
    from zoo.words import plural

    solved, best, held_out = summary["solved"], summary["best"], ", ".join(summary["held_out"])
    tested = plural(len(summary["test_pairs"]), "pair")
    kept = "kept: the prior, as no solved layer was better on what was left out; give more pairs, or other ones"
    trained = f" and trained for {plural(summary['steps'], 'step')}" if summary["steps"] else ""
    return [
        f"{out}: solved{trained} on {plural(summary['pairs'], 'pair')} at their own size in {summary['seconds']:.1f} s",
        *([kept] if summary["penalty_factor"] is None and not trained else []),
        f"test L1 {cell(best['l1'])} (copying the source: {cell(best['source_l1'])}, solved: {cell(solved['l1'])}, "
        f"before the solve: {cell(summary['first']['l1'])}), PSNR {cell(best['psnr'])} dB, on {tested}",
        *([f"mixed of: {weights_of(summary['weights'])}"] if trained else []),
        f"fine detail: {share(best['fine_energy'])} of the targets', correlation {cell(best['fine_correlation'])}",
        *([f"not solved on, to measure: {held_out}"] if held_out else []),
        *([WORSE_THAN_SOURCE] if is_worse(best["l1"], best["source_l1"]) else []),
        f"next: weightzoo apply {out} photo.jpg -o out.jpg",
    ]


def weights_of(weights: Mapping[str, float]) -> str:
    """Return the parts of a mixture in words, the largest first."""
    ordered = sorted(weights.items(), key=lambda item: -item[1])
    return ", ".join(f"{weight:.0%} {name}" for name, weight in ordered if weight > 0)


def is_worse(own: float | None, start: float | None) -> bool:
    """Return whether a network is worse than its start where it was measured."""
    return own is not None and start is not None and own > start


def share(value: float | None) -> str:
    """Return a share in per cent, or a dash where there is none."""
    return "-" if value is None else f"{value:.0%}"

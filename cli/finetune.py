"""``weightzoo finetune``: your own pairs go in, a generator or an adapter trained on them comes out."""

from pathlib import Path
from typing import Annotated

import typer

from cli.embedded import model_folder, zoo_folder
from cli.output import JsonOption, OverwriteOption, cell, emit, note, quiet_progress


def finetune(
    ctx: typer.Context,
    pairs: Annotated[
        Path,
        typer.Option(
            help="Folder with source/ and target/ (or A/ and B/, before/ and after/, ...), of NAME.source.png and "
            "NAME.target.png or of side-by-side pictures with the source on the left, or a .tar of these."
        ),
    ],
    prompt: Annotated[
        list[str], typer.Option(help="The edit in words, in quotes; may be repeated for more wordings.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the result.")],
    init: Annotated[
        str,
        typer.Option(
            help="Where the training starts: polished, generated, generated_unet1d or another model in --model; base, "
            "scratch, mean, nearest, knn, ridge or kernel_ridge; or the path of an adapter or a generator."
        ),
    ] = "polished",
    mode: Annotated[
        str, typer.Option(help="What is trained: full is all weights, adapter is an adapter (PEFT format).")
    ] = "full",
    seconds: Annotated[
        float | None, typer.Option(help="Train for this many seconds, in place of --steps.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Number of training steps.  [default: 300]")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Highest learning rate.  [default: 4e-2; 2e-2 from scratch]")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Number of pairs in each step.")] = 4,
    test_pairs: Annotated[
        Path | None,
        typer.Option(help="Pairs to measure on.  [default: 20 % of --pairs, which are then not trained on]"),
    ] = None,
    direction: Annotated[
        str, typer.Option(help="source-to-target; target-to-source trains the inverse of the edit.")
    ] = "source-to-target",
    model: Annotated[
        Path | None, typer.Option(help="Folder of a weight generator.  [default: the embedded one]")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Zoo of that model.  [default: the embedded one]")] = None,
    seed: Annotated[int, typer.Option(help="Seed of crops and batches.")] = 0,
    device: Annotated[str, typer.Option(help="Device: auto (a GPU if there is one), cpu or cuda.")] = "auto",
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """Train a GAN on your own pairs, from generated weights.

    The training can also start from other weights: see --init.

    With --seconds the learning rate follows the elapsed time, and the time to make the start counts. metrics.jsonl
    has one row for each evaluation, from step 0 on: step, seconds, l1, psnr, kid. Ctrl-C ends the training early
    and leaves the network as it is then.

    \b
    Examples:
      weightzoo finetune --pairs my-pairs --prompt "a charcoal drawing" --seconds 60 -o mine
      weightzoo finetune --pairs my-pairs --prompt "a charcoal drawing" --init scratch --steps 600 -o scratch
      weightzoo finetune --pairs my-pairs --prompt "a charcoal drawing" --mode adapter --steps 200 -o adapter
    """
    from zoo.errors import WeightzooError
    from zoo.words import plural

    if ctx.args:  # the other words of a prompt without quotes
        raise WeightzooError(f'put the prompt in quotes: --prompt "{" ".join([*prompt, *ctx.args])}"')
    if seconds is not None and steps is not None:
        raise WeightzooError("--seconds and --steps exclude each other; give one of them")
    quiet_progress(json)
    from zoo.results import check_free, fresh_folder

    check_free(out, overwrite)
    from contextlib import nullcontext

    from weightgen.finetune import FinetuneConfig
    from weightgen.finetune import finetune as run
    from weightgen.inits import Origins

    config = FinetuneConfig(
        mode=mode,
        steps=300 if steps is None else steps,
        seconds=seconds,
        learning_rate=learning_rate,
        batch_size=batch_size,
        seed=seed,
        device=device,
    )
    origins = Origins(zoo=zoo_folder(data), model=model_folder(model), seed=seed)
    with fresh_folder(out) if overwrite else nullcontext(out) as folder:
        summary = run(pairs, prompt, init, folder, origins, config, test_pairs, direction=direction, tell=note)
    first, last = summary["first"], summary["last"]
    held_out = ", ".join(summary["held_out"])
    lines = [
        f"{out}: {mode} fine-tuning from {init} on {plural(summary['pairs'], 'pair')}, "
        f"{plural(summary['steps'], 'step')} in {summary['seconds']:.1f} s",
        f"test L1 {cell(first['l1'])} -> {cell(last['l1'])}, "
        f"PSNR {cell(first['psnr'])} -> {cell(last['psnr'])} dB on {plural(len(summary['test_pairs']), 'pair')}",
        *([f"not trained on, to measure: {held_out}"] if held_out else []),
        f"next: weightzoo apply {out} photo.jpg -o out.jpg",
    ]
    emit({"out": str(out), **summary}, json, lines)

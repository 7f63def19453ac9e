"""`weightzoo generate`: a prompt goes in, an adapter folder comes out; pairs go in, a network comes out."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cli.console.embedded import model_source
from cli.console.options import ModelOption, out_option, refuse
from cli.console.output import JsonOption, OverwriteOption, emit, note, quiet_progress

WITHOUT_PAIRS = ("steps", "guidance", "strength", "fallback")


def generate(
    ctx: typer.Context,
    out: Annotated[Path, out_option("Folder for the adapter (PEFT format), or with --pairs for the network.")],
    prompt: Annotated[
        list[str] | None, typer.Argument(help="The edit in your own words, in quotes; with --pairs it may be left out.")
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(
            help="Folder of before/after pictures of the edit, as `weightzoo finetune` takes them; one pair will do."
        ),
    ] = None,
    direction: Annotated[
        Literal["source-to-target", "target-to-source"],
        typer.Option(help="With --pairs, which half is edited: target-to-source gives the inverse of the edit."),
    ] = "source-to-target",
    model: ModelOption = None,
    steps: Annotated[int, typer.Option(min=1, max=1000, help="Number of denoising steps.")] = 1,
    guidance: Annotated[float, typer.Option(min=0.0, help="Guidance scale; 1 turns guidance off.")] = 1.0,
    strength: Annotated[
        float,
        typer.Option(
            min=0.0, max=2.0, help="Strength of the edit: 0 gives the mean of the zoo, 1 what the prompt says."
        ),
    ] = 1.0,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Seed of the noise, with --pairs of the pixels.  [default: no noise for a single step, else 0]"
        ),
    ] = None,
    fallback: Annotated[
        Literal["nearest"] | None,
        typer.Option(help="For an unfamiliar prompt: nearest takes the closest concept that the model has learned."),
    ] = None,
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """Generate the weights of a GAN for a prompt, for before/after pairs, or for both.

    The folder is a PEFT adapter of the zoo's base generator: `weightzoo apply` uses it on photographs,
    `weightzoo finetune --init FOLDER` trains it further on your own pairs. Several prompts count as wordings of
    one edit, and the weights for them are averaged.

    With --pairs the network is generated from what the pairs show, and its output layer is solved on them at their own
    size, within seconds. OUT is the mean of that network and of what the pairs alone give: they are compared on pairs
    that are left out, and the better one weighs more. `weightzoo finetune --pairs` begins there and trains on.

    \b
    Examples:
      weightzoo generate "a charcoal drawing" -o charcoal
      weightzoo generate "a charcoal drawing" "sketched with charcoal on paper" -o charcoal-of-two
      weightzoo apply charcoal photo.jpg -o photo-charcoal.jpg
      weightzoo generate --pairs my-pairs -o mine
      weightzoo generate "a charcoal drawing" --pairs my-pairs -o mine
    """
    quiet_progress(json)
    if pairs is not None:
        refuse(ctx, "--pairs", "pairs say how strong the edit is, in one step", *WITHOUT_PAIRS)
        return from_pairs(prompt or [], pairs, out, model, direction, seed or 0, overwrite, json)
    from zoo.errors import WeightzooError

    refuse(ctx, "generate without --pairs", "a prompt has one direction", "direction")
    if not prompt:
        raise WeightzooError("generate needs a prompt in quotes, --pairs FOLDER, or both; add one")
    import time

    from zoo.progress import working
    from zoo.results import check_free, fresh_folder

    refuse_unquoted(prompt, out)
    check_free(out, overwrite)
    started = time.perf_counter()
    said: list[str] = []
    with working("loading the weight generator"):
        from weightgen import generate as library
        from weightgen.model_folder import load_model_folder
        from zoo.adapters.peft_format import keep_base

        library.wordings([prompt])  # an empty prompt is refused before anything is loaded
        opened = load_model_folder(library.open_model(model_source(model), tell=said.append))
    loaded = time.perf_counter()
    output, notes = library.generate_edit(opened, prompt, steps, guidance, seed, strength, fallback)
    said += notes
    with fresh_folder(out) as folder:
        library.save_adapter(opened, folder, output)
        keep_base(folder, opened.base_generator_path)
    done = time.perf_counter()
    count = sum(value.numel() for value in output.adapter().values())
    result: dict[str, Any] = {
        "prompt": prompt,
        "adapter": str(out),
        "model": str(opened.path),
        "parameters": count,
        "seconds": {"loading": round(loaded - started, 3), "generating": round(done - loaded, 3)},
        "warnings": said,
    }
    lines = [
        f"{out}: {count:,} weights for {output.prompts[0][0]!r} in {done - loaded:.2f} s "
        f"(after {loaded - started:.1f} s of loading)",
        *said,
        f"next: weightzoo apply {out} photo.jpg -o out.jpg",
    ]
    if output.ood is not None:
        result |= {"ood": float(output.ood[0]), "nearest": output.nearest[0]}
    emit(result, json, lines)


def from_pairs(
    prompts: list[str],
    pairs: Path,
    out: Path,
    model: str | None,
    direction: str,
    seed: int,
    overwrite: bool,
    json: bool,
) -> None:
    """Generate the network of pairs, and say what it is worth beside what the pairs alone give."""
    from zoo.progress import working
    from zoo.words import plural

    refuse_unquoted(prompts, out)
    with working("loading the weight generator"):
        from weightgen.generate import open_model, wordings
        from weightgen.model_folder import load_model_folder
        from weightgen.pairs.network_folder import generate_folder

        if prompts:
            wordings([prompts])  # an empty prompt is refused before anything is loaded
        opened = load_model_folder(open_model(model_source(model), tell=note))
    with working("generating"):
        about = generate_folder(opened, pairs, out, prompts, direction, seed, note, overwrite)
    errors = ", ".join(f"{name} {error:.3f}" for name, error in about["left_out_l1"].items() if error is not None)
    shares = " and ".join(f"{share:.0%} {name}" for name, share in about["shares"].items())
    lines = [
        f"{out}: a network for {plural(about['pairs'], 'pair')} of {about['image_size']} pixels in "
        f"{about['seconds']['generating']:.2f} s: {shares}",
        *([f"L1 on what was left out: {errors}"] if errors else []),
        f"next: weightzoo apply {out} photo.jpg -o out.jpg, or weightzoo finetune --pairs {pairs} -o OUT",
    ]
    emit({"out": str(out), "model": str(opened.path), **about}, json, lines)


def refuse_unquoted(prompt: list[str], out: Path) -> None:
    """Refuse several words that each came as a prompt of its own.

    Raises:
        WeightzooError: there are several prompts, and each is a single word.
    """
    from zoo.errors import WeightzooError

    if len(prompt) > 1 and all(len(text.split()) == 1 for text in prompt):
        raise WeightzooError(
            f"{len(prompt)} prompts of one word each; put the prompt in quotes: "
            f'weightzoo generate "{" ".join(prompt)}" -o {out}'
        )

"""``weightzoo generate``: a prompt goes in, an adapter folder comes out."""

from pathlib import Path
from typing import Annotated

import typer

from cli.embedded import model_folder
from cli.output import JsonOption, emit, quiet_progress


def generate(
    prompt: Annotated[str, typer.Argument(help="The concept in your own words.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Adapter folder to write (PEFT format).")],
    model: Annotated[
        Path | None, typer.Option(help="Weight generator; the embedded one when left out.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, max=1000, help="Denoising steps.")] = 1,
    guidance: Annotated[float, typer.Option(min=0.0, help="Guidance scale; 1 is off.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    json: JsonOption = False,
) -> None:
    """Generate the weights of a GAN for a concept, without training one.

    The folder is a PEFT adapter of the zoo's base generator, which is saved beside it: `weightzoo apply` uses it on
    photographs, `weightzoo finetune --init FOLDER` trains it further on your own pairs.

    \b
    Examples:
      weightzoo generate "a charcoal drawing" -o charcoal
      weightzoo apply charcoal photo.jpg -o photo-charcoal.jpg
    """
    from zoo.errors import WeightzooError

    if not prompt.strip():
        raise WeightzooError(
            'the prompt is empty; say what the edit looks like, for example "a charcoal drawing"'
        )
    quiet_progress(json)
    folder = model_folder(model)
    import time

    import torch

    from weightgen.sampling import WeightDiffusionPipeline

    started = time.perf_counter()
    pipe = WeightDiffusionPipeline.from_pretrained(str(folder))
    loaded = time.perf_counter()
    output = pipe(
        prompt,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(seed),
    )
    pipe.save_adapter(out, output, prompt=prompt)
    done = time.perf_counter()
    result = {
        "prompt": prompt,
        "adapter": str(out),
        "model": str(folder),
        "parameters": sum(tensor[0].numel() for tensor in output.adapters.values()),
        "seconds": {"loading": loaded - started, "generating": done - loaded},
    }
    emit(
        result,
        json,
        [
            f"{out}: {result['parameters']:,} parameters for {prompt!r} in {done - loaded:.2f} s "
            f"(loading {loaded - started:.1f} s)",
            f"next: weightzoo apply {out} photo.jpg -o out.jpg",
        ],
    )

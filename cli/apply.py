"""`weightzoo apply`: edit a photograph at its own size with an adapter or a generator."""

from pathlib import Path
from typing import Annotated

import typer

from cli.console.options import out_option
from cli.console.output import JsonOption, OverwriteOption, emit, quiet_progress


def apply(
    weights: Annotated[Path, typer.Argument(help="Adapter folder, generator folder or generator file.")],
    photo: Annotated[Path, typer.Argument(help="Photograph of any size.")],
    out: Annotated[Path, out_option("Picture to write; the suffix decides the format.")],
    base: Annotated[
        Path | None, typer.Option(help="Base generator of the adapter, if it cannot be found by its hash.")
    ] = None,
    scale: Annotated[
        int | None,
        typer.Option(
            help="Short side in pixels at which the network looks at the photograph, at most the photograph's own: a "
            "larger one makes lines and grain finer.  [default: the one that it was trained at]"
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """Edit a photograph at its own size.

    \b
    Examples:
      weightzoo apply charcoal photo.jpg -o photo-charcoal.jpg
      weightzoo apply finetuned photo.jpg -o photo-mine.png
      weightzoo apply finetuned photo.jpg --scale 1024 -o finer-lines.png
    """
    quiet_progress(json)
    import time

    from zoo.progress import working
    from zoo.results import check_free_file

    check_free_file(out, overwrite, photo.name)
    check_order(weights)
    with working(f"editing {photo.name}"):
        from zoo.pictures.apply import apply_to_photo

        started = time.perf_counter()
        apply_to_photo(weights, photo, out, base, scale)
    seconds = time.perf_counter() - started
    result = {"weights": str(weights), "photo": str(photo), "picture": str(out), "seconds": seconds}
    emit(result, json, [f"{out} ({seconds:.1f} s)"])


def check_order(weights: Path) -> None:
    """Refuse a picture in place of the weights, before torch is loaded.

    Raises:
        WeightzooError: naming the order of the arguments.
    """
    from zoo.errors import WeightzooError
    from zoo.pictures.photo_file import is_picture

    if weights.is_file() and is_picture(weights):
        raise WeightzooError(f"{weights} is a picture; the adapter comes first: weightzoo apply ADAPTER PHOTO -o OUT")

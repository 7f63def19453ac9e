"""`weightzoo apply`: edit photographs at their own size with an adapter or a generator."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.console.options import out_option, refuse
from cli.console.output import JsonOption, OverwriteOption, emit, note, quiet_progress


def apply(
    ctx: typer.Context,
    weights: Annotated[Path, typer.Argument(help="Adapter folder, generator folder or generator file.")],
    photos: Annotated[
        list[Path], typer.Argument(metavar="PHOTO...", help="Photographs of any size, or folders of them.")
    ],
    out: Annotated[
        Path,
        out_option("Picture to write, whose suffix decides the format; for several photographs or a folder, a folder."),
    ],
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
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of processes for several photographs; the pictures do not depend on it.  [default: one for "
            "each core, as far as the memory suffices]",
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """Edit photographs at their own size.

    Date, place, camera and resolution are kept, colours are sRGB, and a PNG or TIFF of 16 bits stays one.
    Several photographs, or a folder with all that is in it, go into the folder -o under their own names. Files that
    cannot be edited are listed at the end (exit code 1). What is there already is not done again, so the same
    command goes on after Ctrl-C.

    \b
    Examples:
      weightzoo apply charcoal photo.jpg -o photo-charcoal.jpg
      weightzoo apply finetuned photo.jpg --scale 1024 -o finer-lines.png
      weightzoo apply finetuned holiday/ -o holiday-mine/
      weightzoo apply finetuned a.jpg b.jpg c.tif -o mine/ --workers 2
    """
    quiet_progress(json)
    check_order(weights)
    if len(photos) > 1 or photos[0].is_dir():
        many(weights, photos, out, base, scale, workers, overwrite, json)
        return
    refuse(ctx, "a single photograph", "one process edits it", "workers")
    one(weights, photos[0], out, base, scale, overwrite, json)


def one(
    weights: Path, photo: Path, out: Path, base: Path | None, scale: int | None, overwrite: bool, json: bool
) -> None:
    """Edit one photograph into one file."""
    import time

    from zoo.progress import working
    from zoo.results import check_free_file

    check_free_file(out, overwrite, photo.name)
    with working(f"editing {photo.name}"):
        from zoo.pictures.apply import apply_to_photo

        started = time.perf_counter()
        apply_to_photo(weights, photo, out, base, scale)
    seconds = time.perf_counter() - started
    result = {"weights": str(weights), "photo": str(photo), "picture": str(out), "seconds": seconds}
    emit(result, json, [f"{out} ({seconds:.1f} s)"])


def many(
    weights: Path,
    photos: list[Path],
    out: Path,
    base: Path | None,
    scale: int | None,
    workers: int | None,
    overwrite: bool,
    json: bool,
) -> None:
    """Edit photographs into a folder; end with exit code 1 if some could not be edited."""
    import time

    from cli.console.executor_options import cores
    from cli.console.exits import FAILED, say_error
    from zoo.editing.photographs import Edit, edit_photographs, find_photographs, most_workers
    from zoo.errors import WeightzooError
    from zoo.pictures.photo_output import FORMATS
    from zoo.words import plural

    if out.suffix.lower() in FORMATS and not out.is_dir():
        raise WeightzooError(f"several photographs need a folder, and {out} names a picture; give -o a folder's name")
    started = time.perf_counter()
    todo = find_photographs(photos, out)
    for line in todo.left_out:
        note(line)
    edit = Edit(weights, base, scale)
    edited = edit_photographs(edit, todo, out, workers or min(cores(), most_workers()), overwrite)
    seconds = time.perf_counter() - started
    for line in edited.notes:
        say_error(f"warning: {line}")
    result: dict[str, Any] = {
        "weights": str(weights),
        "folder": str(out),
        "pictures": edited.done,
        "skipped": edited.skipped,
        "failed": edited.failed,
        "left_out": todo.left_out,
        "seconds": seconds,
    }
    parts = [plural(len(edited.done), "picture")]
    parts += [f"{edited.skipped:,} there already"] if edited.skipped else []
    parts += [f"{len(edited.failed):,} failed"] if edited.failed else []
    emit(result, json, [f"{out}: {', '.join(parts)} ({seconds:.1f} s)"])
    for row in edited.failed:
        say_error(row.reason)
    if edited.failed:
        raise typer.Exit(FAILED)


def check_order(weights: Path) -> None:
    """Refuse a picture in place of the weights, before torch is loaded.

    Raises:
        WeightzooError: naming the order of the arguments.
    """
    from zoo.errors import WeightzooError
    from zoo.pictures.photo_file import is_picture

    if weights.is_file() and is_picture(weights):
        raise WeightzooError(f"{weights} is a picture; the adapter comes first: weightzoo apply ADAPTER PHOTO -o OUT")

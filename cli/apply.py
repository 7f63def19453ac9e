"""`weightzoo apply`: edit photographs at their own size with an adapter or a generator."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.console.options import BaseOption, out_option, refuse
from cli.console.output import JsonOption, OverwriteOption, emit, note, quiet_progress


def apply(
    ctx: typer.Context,
    weights: Annotated[Path, typer.Argument(help="Adapter folder, generator folder or generator file.")],
    photos: Annotated[
        list[Path], typer.Argument(metavar="PHOTO...", help="Photographs of any size, folders of them, or one film.")
    ],
    out: Annotated[
        Path,
        out_option(
            "Picture or film to write, whose suffix decides the format; for several photographs or a folder, a folder."
        ),
    ],
    base: BaseOption = None,
    scale: Annotated[
        int | None,
        typer.Option(
            help="Short side in pixels at which the network looks at the photograph, at most the photograph's own: a "
            "larger one makes lines and grain finer.  [default: the one that it was trained at]"
        ),
    ] = None,
    strength: Annotated[
        float,
        typer.Option(
            help="Share of the edit, -1 to 2, in its mixture with the photograph: 0 is the photograph itself, 1 the "
            "edit, above 1 exaggerates it, below 0 turns it round."
        ),
    ] = 1.0,
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
    """Edit photographs at their own size, or a film.

    Date, place, camera and resolution are kept, colours are sRGB, and a PNG or TIFF of 16 bits stays one.
    Several photographs, or a folder with all that is in it, go into the folder -o under their own names. Files that
    cannot be edited are listed at the end (exit code 1). What is there already is not done again, so the same
    command goes on after Ctrl-C.
    A film (pip install 'weightzoo[video]') becomes one of the same size and sound, and is written when it is complete.

    \b
    Examples:
      weightzoo apply charcoal photo.jpg -o photo-charcoal.jpg
      weightzoo apply finetuned photo.jpg --scale 1024 -o finer-lines.png
      weightzoo apply charcoal photo.jpg --strength 0.5 -o half.jpg
      weightzoo apply finetuned film.mp4 -o film-mine.mp4
      weightzoo apply finetuned holiday/ -o holiday-mine/
      weightzoo apply finetuned a.jpg b.jpg c.tif -o mine/ --workers 2
    """
    quiet_progress(json)
    from zoo.editing.edit import Edit

    check_order(weights)
    edit = Edit(weights, base, scale, strength)
    from zoo.errors import WeightzooError
    from zoo.pictures.picture_files import is_film

    if len(photos) > 1 and (films := [path for path in photos if is_film(path)]):
        raise WeightzooError(f"{films[0]} is a film; edit each film by itself: weightzoo apply ADAPTER FILM -o OUT.mp4")
    if len(photos) > 1 or photos[0].is_dir():
        many(edit, photos, out, workers, overwrite, json)
        return
    refuse(ctx, "a single file", "one process edits it", "workers")
    if is_film(photos[0]):
        film(edit, photos[0], out, overwrite, json)
        return
    one(edit, photos[0], out, overwrite, json)


def one(edit: Any, photo: Path, out: Path, overwrite: bool, json: bool) -> None:
    """Edit one photograph into one file."""
    import time

    from zoo.progress import working
    from zoo.results import check_free_file

    check_free_file(out, overwrite, photo.name)
    with working(f"editing {photo.name}"):
        from zoo.pictures.apply import apply_to_photo

        started = time.perf_counter()
        apply_to_photo(edit.weights, photo, out, edit.base, edit.scale, edit.strength)
    seconds = time.perf_counter() - started
    result = {"weights": str(edit.weights), "photo": str(photo), "picture": str(out), "seconds": seconds}
    emit(result, json, [f"{out} ({seconds:.1f} s)"])


def film(edit: Any, source: Path, out: Path, overwrite: bool, json: bool) -> None:
    """Edit one film into one file."""
    import time

    from zoo.results import check_free_file

    check_free_file(out, overwrite, source.name)
    from zoo.editing.film import edit_film
    from zoo.words import plural

    started = time.perf_counter()
    frames = edit_film(edit, source, out)
    seconds = time.perf_counter() - started
    result = {"weights": str(edit.weights), "film": str(source), "out": str(out), "frames": frames, "seconds": seconds}
    emit(result, json, [f"{out}: {plural(frames, 'frame')} ({seconds:.1f} s)"])


def many(edit: Any, photos: list[Path], out: Path, workers: int | None, overwrite: bool, json: bool) -> None:
    """Edit photographs into a folder; end with exit code 1 if some could not be edited."""
    import time

    from cli.console.executor_options import cores
    from cli.console.exits import FAILED, say_error
    from zoo.editing.photographs import edit_photographs, find_photographs, most_workers
    from zoo.errors import WeightzooError
    from zoo.pictures.photo_output import FORMATS
    from zoo.words import plural

    if out.suffix.lower() in FORMATS and not out.is_dir():
        raise WeightzooError(f"several photographs need a folder, and {out} names a picture; give -o a folder's name")
    started = time.perf_counter()
    todo = find_photographs(photos, out)
    for line in todo.left_out:
        note(line)
    edited = edit_photographs(edit, todo, out, workers or min(cores(), most_workers()), overwrite)
    seconds = time.perf_counter() - started
    for line in edited.notes:
        say_error(f"warning: {line}")
    result: dict[str, Any] = {
        "weights": str(edit.weights),
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


def check_order(weights: Path, usage: str = "weightzoo apply ADAPTER PHOTO -o OUT") -> None:
    """Refuse a picture in place of the weights, before torch is loaded.

    Raises:
        WeightzooError: naming the order of the arguments.
    """
    from zoo.errors import WeightzooError
    from zoo.pictures.photo_file import is_picture

    if weights.is_file() and is_picture(weights):
        raise WeightzooError(f"{weights} is a picture; the adapter comes first: {usage}")

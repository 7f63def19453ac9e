"""`weightzoo export`: an edit as a file of other programs."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.apply import check_order
from cli.console.options import BaseOption, out_option, refuse, require
from cli.console.output import JsonOption, OverwriteOption, emit, quiet_progress

MOSTLY = 0.5  # share of an edit below which a look-up table is hardly worth having


def export(
    ctx: typer.Context,
    weights: Annotated[Path, typer.Argument(help="Adapter folder, generator folder or generator file.")],
    out: Annotated[Path, out_option("File to write: .onnx, .cube for a look-up table, or .html for a page.")],
    base: BaseOption = None,
    scale: Annotated[
        int | None,
        typer.Option(
            help="Short side in pixels at which the network looks at photographs, as in weightzoo apply.  "
            "[default: the one that it was trained at]"
        ),
    ] = None,
    strength: Annotated[
        float,
        typer.Option(help="Share of the edit in its mixture with the photograph, -1 to 2, as in apply."),
    ] = 1.0,
    size: Annotated[int, typer.Option(help="Entries of a side of a look-up table.")] = 33,
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """Write an edit as a file for other programs.

    .onnx (pip install 'weightzoo[export]'): photographs of any size, one at a time, in every program with onnxruntime
    or another ONNX runtime. It does what weightzoo apply does, which is checked on two photographs; where the results
    differ there is no file.
    .html (the same package): a page with the .onnx file inside, which edits photographs in a browser, offline and
    without a server.
    .cube: a 3D look-up table of colours, for video and photo editors. It holds what of the edit hangs on a pixel's
    colour alone; how much that is, is measured on photographs and told.

    \b
    Examples:
      weightzoo export charcoal -o charcoal.onnx
      weightzoo export finetuned --strength 0.5 -o half.onnx
      weightzoo export warm -o warm.cube
      weightzoo export warm -o warm.html
    """
    quiet_progress(json)
    from zoo.errors import WeightzooError
    from zoo.results import check_free_file

    check_order(weights, "weightzoo export ADAPTER -o edit.onnx")
    if out.suffix.lower() not in WRITERS:
        raise WeightzooError(f"cannot write {out}: unknown suffix {out.suffix!r}; use one of {', '.join(WRITERS)}")
    if out.suffix.lower() == ".cube":
        refuse(ctx, "a look-up table", "it knows nothing of sizes", "scale")
    else:
        require(ctx, "-o edit.cube", "size")
    check_free_file(out, overwrite, f"edit{next(iter(WRITERS))}")
    from zoo.progress import working

    with working("reading the network"):
        from zoo.pictures.apply import load_network

        network = load_network(weights, base)
    result, lines = WRITERS[out.suffix.lower()](network, out, scale, strength, size)
    emit({"weights": str(weights), "out": str(out)} | result, json, lines)


def test_photographs() -> list[Any]:
    """Return the photographs on which exports are checked and measured: those that nothing was trained on."""
    from pipeline.sources import load_photos

    return load_photos("test")


def onnx(network: Any, out: Path, scale: int | None, strength: float, _: int) -> tuple[dict[str, Any], list[str]]:
    """Write an ONNX file."""
    from zoo.progress import working

    with working(f"writing and checking {out.name}"):
        from zoo.export.onnx_file import write_onnx

        told = write_onnx(network, out, test_photographs()[:2], scale, strength)
    lines = [
        f"{out}: ONNX, opset {told.opset}, {told.bytes / 1e6:.1f} MB; photographs of any size, one at a time",
        *map(compared_line, told.compared),
        'input "photo": float32 [1, 3, height, width], RGB in [0, 1]; input "strength" [1] may be left out; '
        'output "edited": as "photo"',
    ]
    return {"opset": told.opset, "bytes": told.bytes, "compared": told.compared}, lines


def page(network: Any, out: Path, scale: int | None, strength: float, _: int) -> tuple[dict[str, Any], list[str]]:
    """Write a page."""
    from zoo.progress import working

    with working(f"writing and checking {out.name}"):
        from zoo.export.page import write_page

        told = write_page(network, out, test_photographs()[:2], scale, strength)
    length = out.stat().st_size
    lines = [f"{out}: a page, {length / 1e6:.1f} MB; open it in a browser", *map(compared_line, told.compared)]
    return {"opset": told.opset, "bytes": length, "compared": told.compared}, lines


def cube(network: Any, out: Path, _: int | None, strength: float, size: int) -> tuple[dict[str, Any], list[str]]:
    """Write a look-up table."""
    from zoo.export.table import check_size, write_table
    from zoo.progress import working

    check_size(size)
    from pipeline.sources import load_photos

    with working(f"measuring the edit's colours for {out.name}"):
        told = write_table(network, out, load_photos("train"), test_photographs(), size, strength, out.stem)
    lines = [
        f"{out}: look-up table of {told.size}x{told.size}x{told.size} colours (sRGB)",
        f"it carries {told.share:.0%} of what the edit changes on photographs that it was not fitted to "
        f"({min(told.shares):.0%} to {max(told.shares):.0%})",
    ]
    if told.share < MOSTLY:
        lines.append("most of this edit is no matter of colour alone; an .onnx file has all of it")
    return {"size": told.size, "share": told.share, "shares": told.shares}, lines


def compared_line(compared: Any) -> str:
    """Return how an ONNX file's edit of a photograph differs from weightzoo's, in words."""
    width, height = compared.size
    return f"checked on {width}x{height} pixels: differs from weightzoo apply by {compared.largest:.1g} at most"


WRITERS: dict[str, Callable[..., tuple[dict[str, Any], list[str]]]] = {
    ".onnx": onnx,
    ".cube": cube,
    ".html": page,
}

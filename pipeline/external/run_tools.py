"""The targets of the external edits made anew, with ffmpeg, GEGL and ImageMagick 6.

    python -m pipeline.external.run_tools [EDIT ...]
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.external.pairs import HERE, read_edits, target_path

WEBP_QUALITY = 85


def tool_command(edit: dict[str, Any], source: Path, target: Path, size: tuple[int, int]) -> list[str]:
    """Return the command line that makes `target` from `source` (both PNG of `size`)."""
    if edit["tool"] == "ffmpeg":
        chain = f"format=gbrp,{edit['args'][0]},format=rgb24"
        return ["ffmpeg", "-v", "error", "-y", "-i", str(source), "-vf", chain, "-frames:v", "1", str(target)]
    if edit["tool"] == "gegl":
        # Some operations grow the image, some give 16-bit grey.
        crop = ["gegl:crop", "x=0", "y=0", f"width={size[0]}", f"height={size[1]}"]
        rgb8 = ["gegl:convert-format", "format=R'G'B' u8"]
        return ["gegl", str(source), "-o", str(target), "--", *edit["args"], *crop, *rgb8]
    if edit["tool"] == "imagemagick":
        return ["/usr/bin/convert", str(source), *edit["args"], f"PNG24:{target}"]
    raise SystemExit(f"{edit['id']}: unknown tool {edit['tool']!r}; known are ffmpeg, gegl, imagemagick")


def run_tools(only: list[str]) -> None:
    """Edit every whole photograph with every tool, or with those `only`; store the results under `targets/`."""
    edits = [edit for edit in read_edits() if not only or edit["id"] in only]
    with tempfile.TemporaryDirectory() as folder:
        for photo in sorted((HERE / "photos").glob("*.jpg")):
            source = Path(folder) / f"{photo.stem}.png"
            with Image.open(photo) as image:
                image.convert("RGB").save(source)
            for edit in edits:
                run_tool(edit, source, Path(folder) / "target.png", target_path(photo.stem, edit["id"]))


def run_tool(edit: dict[str, Any], source: Path, target: Path, out: Path) -> None:
    """Edit the PNG `source` with one tool by way of `target`; store the result as the WebP file `out`."""
    target.unlink(missing_ok=True)
    with Image.open(source) as image:
        size = image.size
    subprocess.run(tool_command(edit, source, target, size), check=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(target) as image:
        if image.size != size:
            raise SystemExit(f"{edit['id']}: the target is {image.size}, the photograph {size}")
        image.convert("RGB").save(out, quality=WEBP_QUALITY, method=6)


if __name__ == "__main__":
    run_tools(sys.argv[1:])

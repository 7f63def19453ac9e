"""The external edits: pairs made by tools that the project's teacher does not use, asked for in free text.

`edits.json` lists the edits (prompt, paraphrases, tool, exact arguments). `photos/` holds six photographs
that are used nowhere else. `targets/<photo>/<edit id>.webp` are the tools' committed results: evaluation
needs no tool.

    python tests/external/make_edits.py --crops OUT    # pairs for evaluation, from the committed targets
    python tests/external/make_edits.py --run-tools    # the targets again: ffmpeg, gegl, ImageMagick 6

`--crops` writes OUT/<edit id>/{train,test}/{source,target}/<name>.png, 16 train pairs from four photographs
and 16 test pairs from the two others, and OUT/concepts.jsonl last. All edits share their source crops.
"""

import argparse
import json
import random
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
SPLITS = {"train": ("bridge", "kleiber", "rocket", "seeding"), "test": ("flower", "friends")}
PAIRS_PER_SPLIT = 16
CROP_SIZE = 96
SMALLEST_CROP = 0.35  # share of the short side; the largest is all of it
WEBP_QUALITY = 85


def read_edits() -> list[dict]:
    """The edits, in their committed order."""
    return json.loads((HERE / "edits.json").read_text(encoding="utf-8"))


def tool_command(edit: dict, source: Path, target: Path, size: tuple[int, int]) -> list[str]:
    """The command line that makes `target` from `source` (both PNG of `size`)."""
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


def run_tools(only: list[str] | None = None) -> None:
    """Edits every whole photograph with every tool and stores the results as WebP under `targets/`."""
    with tempfile.TemporaryDirectory() as folder:
        for photo in sorted((HERE / "photos").glob("*.jpg")):
            source = Path(folder) / f"{photo.stem}.png"
            with Image.open(photo) as image:
                size = image.size
                image.convert("RGB").save(source)
            for edit in read_edits():
                if only and edit["id"] not in only:
                    continue
                target = Path(folder) / "target.png"
                target.unlink(missing_ok=True)
                subprocess.run(tool_command(edit, source, target, size), check=True)
                out = HERE / "targets" / photo.stem / f"{edit['id']}.webp"
                out.parent.mkdir(parents=True, exist_ok=True)
                with Image.open(target) as image:
                    if image.size != size:
                        raise SystemExit(f"{edit['id']}: the target is {image.size}, the photograph {size}")
                    image.convert("RGB").save(out, quality=WEBP_QUALITY, method=6)


def crop_boxes(photo: str, size: tuple[int, int], count: int) -> list[tuple[int, int, int, int]]:
    """`count` square boxes inside an image of `size`, fixed by the photograph's name: equal for all edits."""
    rng = random.Random(f"external/{photo}")
    width, height = size
    boxes = []
    for _ in range(count):
        side = round(min(size) * rng.uniform(SMALLEST_CROP, 1.0))
        left, top = rng.randint(0, width - side), rng.randint(0, height - side)
        boxes.append((left, top, left + side, top + side))
    return boxes


def write_crops(image_path: Path, folder: Path, photo: str, count: int) -> None:
    """Writes the crops of one image as `folder/<photo>_<number>.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    with Image.open(image_path) as image:
        image = image.convert("RGB")
        for number, box in enumerate(crop_boxes(photo, image.size, count)):
            crop = image.resize((CROP_SIZE, CROP_SIZE), Image.Resampling.LANCZOS, box=box)
            crop.save(folder / f"{photo}_{number:02d}.png")


def concept_id(edit: dict) -> str:
    """The edit's id as a concept: the catalogue has names of its own, some of them the same."""
    return f"external-{edit['id']}"


def concept_row(edit: dict) -> dict:
    """The edit as a zoo concept. The first wording is the prompt as typed: it is the one of "1 prompt"."""
    concept = {"id": concept_id(edit), "prompt": edit["prompt"], "attributes": {}, "split": "external"}
    return concept | {"paraphrases": [edit["prompt"], *edit["paraphrases"]]}


def materialise(out: Path) -> None:
    """Writes the concepts and all pairs under `out`; `concepts.jsonl` comes last and marks it complete."""
    edits = read_edits()
    for edit in edits:
        for split, photos in SPLITS.items():
            for photo in photos:
                count = PAIRS_PER_SPLIT // len(photos)
                folder = out / concept_id(edit) / split
                write_crops(HERE / "photos" / f"{photo}.jpg", folder / "source", photo, count)
                write_crops(HERE / "targets" / photo / f"{edit['id']}.webp", folder / "target", photo, count)
    lines = [json.dumps(concept_row(edit), ensure_ascii=False, sort_keys=True) for edit in edits]
    (out / "concepts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the tools, or write pairs for evaluation.")
    parser.add_argument("--crops", type=Path, metavar="OUT", help="write pairs and concepts.jsonl here")
    parser.add_argument("--run-tools", action="store_true", help="make targets/ again with the tools")
    parser.add_argument("--only", nargs="*", metavar="ID", help="with --run-tools: these edits only")
    arguments = parser.parse_args()
    if not (arguments.crops or arguments.run_tools):
        parser.error("give --crops OUT or --run-tools")
    if arguments.run_tools:
        run_tools(arguments.only)
    if arguments.crops:
        materialise(arguments.crops)


if __name__ == "__main__":
    main()

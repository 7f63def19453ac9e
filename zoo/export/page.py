"""An edit as one HTML file: a page that edits photographs in a browser, without a server or a network connection.

    told = write_page(network, "edit.html", photographs)

The file holds the ONNX file and onnxruntime-web, compressed; it is opened with a double click. Browsers from 2023 on
run it.
"""

from __future__ import annotations

import gzip
import html
import json
import lzma
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch import nn

from zoo.export.onnx_file import OnnxFile, checked_model
from zoo.files import PathLike, write_text
from zoo.pictures.mixing import check_strength

PAGE = Path(__file__).with_name("page.html")
RUNTIME = Path(__file__).with_name("runtime")


def write_page(
    network: nn.Module,
    out: PathLike,
    photos: Sequence[Image.Image],
    scale: int | None = None,
    strength: float = 1.0,
) -> OnnxFile:
    """Write a network's edit as a page, after its ONNX file was checked; see `zoo.export.onnx_file.write_onnx`.

    Args:
        strength: where the page's slider stands at first.

    Raises:
        WeightzooError: as there.
    """
    check_strength(strength)
    data, told = checked_model(network, photos, scale)  # the page mixes photograph and edit itself
    name = Path(out).stem
    parts = {
        "title": html.escape(name),
        "file": json.dumps(name)[1:-1].replace("`", "").replace("$", "").replace("<", ""),
        "strength": f"{strength:g}",
        "runtime": packed((RUNTIME / "ort.wasm.bundle.min.mjs").read_bytes()),
        "wasm": packed(lzma.decompress((RUNTIME / "ort-wasm-simd-threaded.wasm.xz").read_bytes())),
        "model": packed(data),
        "licence": (RUNTIME / "LICENSE").read_text(encoding="utf-8").strip(),
    }
    text = PAGE.read_text(encoding="utf-8")
    for key, value in parts.items():
        text = text.replace("{{" + key + "}}", value)
    write_text(out, text)
    return told


def packed(data: bytes) -> str:
    """Return bytes as gzip in base64, the same for the same bytes."""
    return b64encode(gzip.compress(data, mtime=0)).decode()

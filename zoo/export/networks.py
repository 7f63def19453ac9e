"""The generators of the zoo in ONNX: how each looks at a photograph before its edit is carried to the full size.

    seen = NETWORKS["e2gan"](op, network, photo, sizes)

Adding one is one file with such a function and one line here.
"""

from __future__ import annotations

from zoo.export.e2gan import look as look_e2gan
from zoo.export.pix2pix import look as look_pix2pix
from zoo.export.solved import look as look_solved

NETWORKS = {"e2gan": look_e2gan, "pix2pix": look_pix2pix, "solved": look_solved}

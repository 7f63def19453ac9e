"""The sample photographs of the page: small crops of photographs that no network was trained on.

Who made them, and their licences, stand in `page/samples/ATTRIBUTION.md`.
"""

from pathlib import Path

from weightgen.server.problems import Problem

SAMPLES = {path.stem: path for path in sorted((Path(__file__).parent / "page" / "samples").glob("*.jpg"))}
FIRST = "pavilion"


def read_sample(name: str) -> bytes:
    """Return the bytes of a sample's JPEG.

    Raises:
        Problem: 404 for an unknown name.
    """
    if name not in SAMPLES:
        raise Problem(404, f"no such sample; known: {', '.join(SAMPLES)}")
    return SAMPLES[name].read_bytes()

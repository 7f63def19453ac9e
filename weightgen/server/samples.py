"""The sample photographs of the page: small crops of photographs that no network was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from weightgen.server.problems import Problem

FOLDER = Path(__file__).parent / "page" / "samples"


@dataclass(frozen=True)
class Sample:
    """A photograph in `page/samples`; who made it and its licence stand in ATTRIBUTION.md there."""

    name: str
    title: str

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.name}.jpg"


SAMPLES = (
    Sample("pavilion", "Pavilion"),
    Sample("mountain", "Mountain"),
    Sample("cat", "Cat"),
    Sample("motorcycle", "Motorcycle"),
    Sample("fig", "Fig"),
    Sample("drum", "Drum"),
)


def read_sample(name: str) -> bytes:
    """Return the bytes of a sample's JPEG.

    Raises:
        Problem: 404 for an unknown name.
    """
    found = next((sample for sample in SAMPLES if sample.name == name), None)
    if found is None:
        raise Problem(404, f"no such sample; known: {', '.join(sample.name for sample in SAMPLES)}")
    return found.path.read_bytes()

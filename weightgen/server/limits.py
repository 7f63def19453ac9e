"""What one visitor may ask of a server, and where the server finds its model and zoo."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

PROMPT_CHARACTERS = 300
MAX_STEPS = 50
MAX_GUIDANCE = 10.0
MAX_STRENGTH = 2.0
MAX_PAIRS = 64
MAX_PARTS = 8  # of a mixture
ID_CHARACTERS = 4000  # of an adapter's id, which is its recipe
MIN_TOKEN = 16  # characters
FORM_BYTES = 64_000  # everything of a form that is no file, and whole JSON bodies


@dataclass(frozen=True)
class Limits:
    """Bounds on memory and time.

    Args:
        photo_bytes, photo_pixels: of one uploaded photograph; pixels are checked before anything is decoded.
        pairs_bytes, pairs_pixels: of all pictures of one fine-tuning job together, as they are sent.
        inside: requests that compute or wait to; more are answered 503.
        request_seconds: for one answer; then 504.
        body_seconds, upload_seconds: for each part of a body to arrive, and for all of it; then 408.
        batch: prompts that are answered together.
        adapters, pictures: how many are kept in memory.
        jobs_running, jobs_waiting: fine-tuning jobs; more are answered 429.
        jobs_kept: finished jobs whose results can still be fetched.
        job_seconds: the longest training that may be asked for.
    """

    photo_bytes: int = 20_000_000
    photo_pixels: int = 40_000_000
    pairs_bytes: int = 100_000_000
    pairs_pixels: int = 1_000_000_000
    inside: int = 256
    request_seconds: float = 60.0
    body_seconds: float = 30.0
    upload_seconds: float = 600.0
    batch: int = 64
    adapters: int = 512
    pictures: int = 1024
    jobs_running: int = 1
    jobs_waiting: int = 4
    jobs_kept: int = 32
    job_seconds: float = 120.0


@dataclass(frozen=True)
class ServerSettings:
    """What a server is made of.

    Args:
        model: folder of the weight generator.
        zoo: folder of the zoo that it was trained on.
        state: folder of the fine-tuning jobs; replicas on one machine share it.
        token: what clients must send as `Authorization: Bearer`; None asks for nothing.
        hosts: names by which browsers may reach the server ("*" is all): another site's page cannot pass as it.
    """

    model: Path
    zoo: Path
    state: Path
    token: str | None = None
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]")
    limits: Limits = field(default_factory=Limits)

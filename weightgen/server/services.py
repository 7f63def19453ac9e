"""The services of the server: what the routes share, made once per process.

services = Services(engine, settings)
await services.close()
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import torch
from fastapi import Depends, Request

from weightgen.server.adapters import Adapters
from weightgen.server.admission import Admission
from weightgen.server.engine import Engine
from weightgen.server.finetuning.jobs import Jobs
from weightgen.server.limits import ServerSettings
from weightgen.server.measures import Measures
from weightgen.server.neighbours import Neighbours


class Services:
    """What the routes share: the engine, its threads and queues, the jobs, and what counts them."""

    def __init__(self, engine: Engine, settings: ServerSettings) -> None:
        limits = settings.limits
        self.engine, self.limits = engine, limits
        self.admission = Admission(limits.inside, limits.request_seconds)
        # weights: one thread, so that a prompt's bits never depend on the machine; photographs: what torch may use
        self.weights = ThreadPoolExecutor(1, "weights", torch.set_num_threads, (1,))
        workers = max(1, (os.cpu_count() or 1) // 2)
        threads = max(1, torch.get_num_threads() // workers)
        self.photos = ThreadPoolExecutor(workers, "photos", torch.set_num_threads, (threads,))
        self.jobs = Jobs(settings)
        self.measures = Measures()
        self.measures.inside.set_function(lambda: self.admission.inside)
        self.measures.jobs.labels("waiting").set_function(lambda: len(self.jobs.waiting))
        self.measures.jobs.labels("running").set_function(lambda: len(self.jobs.running))
        self.adapters = Adapters(engine, self.jobs, self.weights, limits, self.measures)
        self.neighbours = Neighbours(engine)
        self.pictures: dict[tuple[str, str, int], bytes] = {}  # thumbnails, oldest first

    async def close(self) -> None:
        """Let nothing new in and wait for what runs to end."""
        self.admission.closed = True
        self.neighbours.stopped = True
        await self.jobs.close()
        self.weights.shutdown()
        self.photos.shutdown()


def shared(request: Request) -> Services:
    """Return what the app shares."""
    return request.app.state.services


Shared = Annotated[Services, Depends(shared)]

"""The FastAPI app: its parts put together.

app = create_app(Engine(model, zoo), ServerSettings(model, zoo, state, token=None))
"""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import torch
from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from weightgen.server import finetune_routes, routes
from weightgen.server.adapters import Adapters
from weightgen.server.admission import Admission
from weightgen.server.engine import Engine
from weightgen.server.guard import Guard
from weightgen.server.jobs import Jobs
from weightgen.server.limits import ServerSettings
from weightgen.server.measures import Measures
from weightgen.server.neighbours import Neighbours
from weightgen.server.problems import add_handlers

PAGE = Path(__file__).parent / "page"
DESCRIPTION = (
    "Turns a prompt, or pairs of pictures, into the weights of a trained image-to-image GAN. "
    "Errors are JSON with one line that says what to do; with 429 and 503, Retry-After says when to try again."
)


class Services:
    """What the routes share."""

    def __init__(self, engine: Engine, settings: ServerSettings) -> None:
        limits = settings.limits
        self.engine, self.settings, self.limits = engine, settings, limits
        self.measures = Measures()
        self.admission = Admission(limits.inside, self.measures.inside.set)
        # weights: one thread, so that a prompt's bits never depend on the machine; photographs: what torch may use
        self.weights = ThreadPoolExecutor(1, "weights", torch.set_num_threads, (1,))
        workers = max(1, (os.cpu_count() or 1) // 2)
        threads = max(1, torch.get_num_threads() // workers)
        self.photos = ThreadPoolExecutor(workers, "photos", torch.set_num_threads, (threads,))
        self.jobs = Jobs(settings, self._count_jobs)
        self.adapters = Adapters(
            engine, self.jobs, self.weights, limits.adapters, limits.batch, self.measures
        )
        self.neighbours = Neighbours(engine)
        self.pictures: dict[tuple[str, str, int], bytes] = {}  # thumbnails, oldest first

    def _count_jobs(self, waiting: int, running: int) -> None:
        self.measures.jobs.labels("waiting").set(waiting)
        self.measures.jobs.labels("running").set(running)

    async def close(self) -> None:
        """Nothing new comes in, what runs comes to its end."""
        self.admission.closed = True
        self.neighbours.stopped = True
        await self.jobs.close()
        self.weights.shutdown()
        self.photos.shutdown()


def create_app(engine: Engine, settings: ServerSettings) -> FastAPI:
    """The app; its state has the `services`."""
    services = Services(engine, settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        settings.state.mkdir(parents=True, exist_ok=True)
        reader = threading.Thread(target=services.neighbours.read, name="neighbours", daemon=True)
        reader.start()
        yield
        await services.close()

    app = FastAPI(
        title="weightzoo",
        version="1",
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # these pages would load scripts from elsewhere
        redoc_url=None,
        middleware=[
            Middleware(Guard, settings=settings, measures=services.measures),
            Middleware(TrustedHostMiddleware, allowed_hosts=list(settings.hosts), www_redirect=False),
        ],
    )
    app.state.services = services
    add_handlers(app)
    app.include_router(routes.router(services.limits))
    app.include_router(finetune_routes.router(services.limits))
    app.mount("/static", StaticFiles(directory=PAGE), name="static")

    @app.get("/", include_in_schema=False)
    async def page() -> Any:
        return FileResponse(PAGE / "index.html", headers={"Cache-Control": "no-cache"})

    return app

"""The FastAPI app: its parts put together.

app = create_app(Engine(model, zoo), ServerSettings(model, zoo, state, token=None))
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from weightgen.server import mixtures, routes
from weightgen.server.engine import Engine
from weightgen.server.finetuning import routes as finetuning
from weightgen.server.guard import Guard
from weightgen.server.limits import ServerSettings
from weightgen.server.problems import add_handlers
from weightgen.server.services import Services

PAGE = Path(__file__).parent / "page"
DESCRIPTION = (
    "Turns a prompt, or pairs of pictures, into the weights of a trained image-to-image GAN. "
    "Errors are JSON with one line that says what to do; with 429 and 503, Retry-After says when to try again."
)


def create_app(engine: Engine, settings: ServerSettings) -> FastAPI:
    """Return the app; its state has the `services`."""
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
    app.include_router(mixtures.router())
    app.include_router(finetuning.router(services.limits))
    app.mount("/static", StaticFiles(directory=PAGE), name="static")

    @app.get("/", include_in_schema=False)
    async def page() -> Any:
        return FileResponse(PAGE / "index.html", headers={"Cache-Control": "no-cache"})

    return app

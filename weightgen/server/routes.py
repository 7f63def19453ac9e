"""The routes that answer at once: adapters, images, the zoo's concepts, the model, health and figures."""

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, File, Form, Path, Query, Request, UploadFile
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

from weightgen.server import photos
from weightgen.server.admission import in_pool
from weightgen.server.limits import FORM_BYTES, ID_CHARACTERS, MAX_PAIRS, PROMPT_CHARACTERS, Limits
from weightgen.server.members import Member
from weightgen.server.problems import Problem
from weightgen.server.samples import FIRST, read_sample
from weightgen.server.schemas import (
    BINARY,
    EXAMPLE_PROMPT,
    PROBLEMS,
    AdapterRequest,
    ConceptRow,
    Concepts,
    Format,
    Guidance,
    ModelInfo,
    Nearest,
    Neighbour,
    Prompt,
    Recipe,
    Seed,
    Share,
    Steps,
)
from weightgen.server.services import Services, Shared
from zoo.errors import WeightzooError
from zoo.files import finite

REPLACED = 0.1  # seconds within which a job puts a better network in the place of an earlier one
WARNED = "X-Warnings is a JSON list of what the model does not read or understand of the prompt."
WARNED_OF_BOTH = f"{WARNED} It says, too, what of the photograph is not used, such as all frames but the first."
FILES: dict[str, Any] = {"application/vnd.safetensors": BINARY, "application/zip": BINARY}
AdapterId = Annotated[str, Path(max_length=ID_CHARACTERS, examples=["c-charcoal"])]


def router(limits: Limits) -> APIRouter:
    """Return the routes; `limits` decides how large a body each of them takes."""
    routes = APIRouter(responses=PROBLEMS, max_body_size=FORM_BYTES)

    @routes.get("/healthz", tags=["server"])
    async def healthz(services: Shared) -> dict[str, str]:
        """Return whether the server answers."""
        return {"status": "closing" if services.admission.closed else "ok"}

    @routes.get("/metrics", tags=["server"], response_class=Response)
    async def metrics(services: Shared) -> Response:
        """Return metrics for Prometheus, from the replica that answers."""
        return Response(services.measures.text(), media_type=CONTENT_TYPE_LATEST)

    @routes.get("/v1/model", tags=["server"])
    async def model(services: Shared) -> ModelInfo:
        """Return the model that is served, and the limits of the server."""
        engine = services.engine
        return ModelInfo(
            name=engine.model_path.name,
            stage=str(engine.model.metadata.get("stage", engine.name)),
            fingerprint=engine.fingerprint,
            parameters=engine.model.layout.num_values,
            concepts=len(engine.members.all),
            image_size=engine.base.config.image_size,
            prompt_characters=PROMPT_CHARACTERS,
            photo_bytes=limits.photo_bytes,
            photo_pixels=limits.photo_pixels,
            pairs=MAX_PAIRS,
            job_seconds=limits.job_seconds,
        )

    @routes.post(
        "/v1/adapters",
        tags=["adapters"],
        response_class=Response,
        responses={200: {"content": FILES, "description": f"The adapter; its id is in X-Adapter-Id. {WARNED}"}},
    )
    async def make_adapter(services: Shared, request: Request, wanted: AdapterRequest) -> Response:
        """Generate the weights of a GAN for a prompt."""
        answer = await adapter_file(services, request, services.adapters.id(wanted.recipe()), wanted.format)
        answer.headers.update(warnings(await prompt_notes(services, wanted.prompt)))
        return answer

    @routes.get(
        "/v1/adapters/{adapter}",
        tags=["adapters"],
        response_class=Response,
        responses={200: {"content": FILES, "description": "The adapter."}},
    )
    async def get_adapter(
        services: Shared,
        request: Request,
        adapter: AdapterId,
        format: Annotated[Format, Query()] = "safetensors",  # noqa: A002
    ) -> Response:
        """Return the file of an adapter: `g-...` generated, `m-...` mixed, `c-...` of the zoo."""
        return await adapter_file(services, request, adapter, format)

    @routes.post(
        "/v1/images",
        tags=["images"],
        response_class=Response,
        max_body_size=limits.photo_bytes + FORM_BYTES,
        form_limits={"max_files": 1, "max_fields": 12, "max_part_size": 8192},
        responses={200: {"content": {"image/png": BINARY}, "description": f"The edited photograph. {WARNED_OF_BOTH}"}},
    )
    async def edit(
        services: Shared,
        request: Request,
        photo: Annotated[UploadFile, File(description="JPEG, PNG, WebP or TIFF")],
        prompt: Annotated[Prompt | None, Form(examples=[EXAMPLE_PROMPT])] = None,
        adapter: Annotated[str | None, Form(max_length=ID_CHARACTERS, examples=["c-charcoal"])] = None,
        steps: Annotated[Steps, Form()] = 1,
        seed: Annotated[Seed | None, Form()] = None,
        guidance: Annotated[Guidance, Form()] = 1.0,
        strength: Annotated[
            Share,
            Form(description="share of the edit: 0 is the photograph itself, above 1 exaggerates, below 0 turns round"),
        ] = 1.0,
        max_side: Annotated[
            int | None, Form(ge=16, le=20000, description="scale the photograph down to this many pixels first")
        ] = None,
    ) -> Response:
        """Edit a photograph as a prompt says, or with an adapter, and answer with a PNG of the same size."""
        if (prompt is None) == (adapter is None):
            raise Problem(422, "give either a prompt or an adapter")
        if prompt is not None:
            recipe = Recipe(prompt=prompt, steps=steps, seed=seed, guidance=guidance)
            adapter = services.adapters.id(recipe)
        named = str(adapter)

        async def work() -> Response:
            started = time.perf_counter()
            weights = await services.adapters.find(named)
            generated = time.perf_counter()
            edited, said = await in_pool(
                services.photos, edit_upload, services, weights, photo.file, max_side, strength
            )
            told = await prompt_notes(services, prompt) if prompt is not None else []
            spent = {"generate": generated - started, "edit": time.perf_counter() - generated}
            timing = ", ".join(f"{name};dur={1000 * seconds:.1f}" for name, seconds in spent.items())
            return Response(
                edited,
                media_type="image/png",
                headers={"Server-Timing": timing, "X-Adapter-Id": named, **warnings([*told, *said])},
            )

        return await services.admission.run(request, work)

    @routes.get("/v1/nearest", tags=["zoo"])
    async def nearest(
        services: Shared,
        request: Request,
        prompt: Annotated[Prompt, Query(examples=[EXAMPLE_PROMPT])],
        count: Annotated[int, Query(ge=1, le=20)] = 4,
    ) -> Nearest:
        """Return the zoo's concepts nearest to a prompt, and what to know about the prompt."""

        async def search() -> list[tuple[Member, float]]:
            while not services.neighbours.ready.is_set():  # in the first seconds of a server
                await asyncio.sleep(0.1)
            return await asyncio.to_thread(services.neighbours.nearest, prompt, count)

        found = await services.admission.run(request, search)
        said = await prompt_notes(services, prompt)
        rows = [Neighbour(id=m.id, prompt=m.prompt, adapter=f"c-{m.id}", similarity=s) for m, s in found]
        warning = "; ".join(said) or None
        return Nearest(prompt=prompt, similarity=rows[0].similarity, warning=warning, warnings=said, nearest=rows)

    @routes.get("/v1/concepts", tags=["zoo"])
    async def concepts(
        services: Shared,
        query: Annotated[str, Query(max_length=PROMPT_CHARACTERS, examples=["charcoal"])] = "",
        offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
        limit: Annotated[int, Query(ge=1, le=200)] = 24,
    ) -> Concepts:
        """Return the zoo's concepts that have all words of the query in one of their wordings."""
        found = services.engine.members.search(query)
        rows = [
            ConceptRow(id=m.id, prompt=m.prompt, split=m.split, adapter=f"c-{m.id}", metrics=finite(m.metrics))
            for m in found[offset : offset + limit]
        ]
        return Concepts(total=len(found), concepts=rows)

    @routes.get(
        "/v1/concepts/{concept}/picture",
        tags=["zoo"],
        response_class=Response,
        responses={200: {"content": {"image/jpeg": BINARY}, "description": "What it does to a sample."}},
    )
    async def picture(
        services: Shared,
        request: Request,
        concept: Annotated[str, Path(max_length=200)],
        sample: Annotated[str, Query(max_length=40, examples=[FIRST])] = FIRST,
        side: Annotated[int, Query(ge=32, le=320)] = 192,
    ) -> Response:
        """Return a small picture of what the zoo's own adapter does to one of the sample photographs."""
        key = (concept, sample, side)
        data = services.pictures.get(key)
        if data is None:
            shown = read_sample(sample)

            async def work() -> bytes:
                weights = await services.adapters.find(f"c-{concept}")
                return await in_pool(services.photos, thumbnail, services, weights, shown, side)

            data = await services.admission.run(request, work)
            services.pictures[key] = data
            while len(services.pictures) > limits.pictures:
                del services.pictures[next(iter(services.pictures))]
        return Response(data, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})

    return routes


async def prompt_notes(services: Services, prompt: str) -> list[str]:
    """Return what to know about a prompt."""
    return await asyncio.to_thread(services.engine.notes, prompt)


def warnings(said: Sequence[str]) -> dict[str, str]:
    """Return the header with what a visitor should know, a JSON list in ASCII; nothing where all is well."""
    return {"X-Warnings": json.dumps(said)} if said else {}


async def adapter_file(services: Services, request: Request, adapter: str, kind: Format) -> Response:
    """Return an adapter as a download."""
    if adapter.startswith("j-"):
        raise Problem(404, "a fine-tuned network is fetched by GET /v1/finetune/JOB/result")

    async def work() -> bytes:
        weights: Any = await services.adapters.find(adapter)
        write = services.engine.safetensors if kind == "safetensors" else services.engine.peft_zip
        return await asyncio.to_thread(write, weights, services.adapters.about(adapter))

    data = await services.admission.run(request, work)
    media, name = {
        "safetensors": ("application/vnd.safetensors", "adapter.safetensors"),
        "peft": ("application/zip", "adapter.zip"),
    }[kind]
    headers = {"X-Adapter-Id": adapter, "Content-Disposition": f'attachment; filename="{name}"'}
    return Response(data, media_type=media, headers=headers)


def edit_upload(
    services: Services, weights: Any, file: BinaryIO, most_side: int | None, strength: float
) -> tuple[bytes, tuple[str, ...]]:
    """Return the edited PNG of an uploaded file, and notes on how it was read; runs in the photographs' pool."""
    photo = photos.shrink(photos.read_upload(file.read(), services.limits), most_side)
    edited = services.engine.edit(network(services, weights), photo, strength)
    return photos.png(edited, photo.alpha), photo.notes


def network(services: Services, weights: Any) -> Any:
    """Return the network of an adapter or of a job, whose folder may have been replaced or removed since."""
    if not isinstance(weights, FilePath):
        return services.engine.network(weights)
    try:
        return services.engine.network(weights)
    except (OSError, WeightzooError):
        time.sleep(REPLACED)
        if not weights.is_dir():
            raise Problem(404, "this job's result was removed to make room; start the job again") from None
        return services.engine.network(weights)


def thumbnail(services: Services, weights: Any, sample: bytes, side: int) -> bytes:
    """Return a small JPEG of an edited sample photograph."""
    photo = photos.shrink(photos.read_upload(sample, services.limits), side)
    return photos.jpeg(services.engine.edit(services.engine.network(weights), photo))

"""The routes of fine-tuning: a prompt and pairs become a job with events and a result."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import Executor
from pathlib import PurePosixPath
from typing import Annotated, Any, BinaryIO, Literal

from fastapi import APIRouter, Depends, File, Form, Header, Path, Request, UploadFile
from fastapi.responses import Response
from fastapi.routing import APIRoute
from fastapi.sse import EventSourceResponse, ServerSentEvent
from PIL import Image

from weightgen.finetuning.solved import SOLVED
from weightgen.server.admission import in_pool
from weightgen.server.engine import zip_folder
from weightgen.server.finetuning.files import PairImages, last_event
from weightgen.server.limits import FORM_BYTES, MAX_PAIRS, Limits
from weightgen.server.photos import read_upload
from weightgen.server.problems import Problem
from weightgen.server.schemas import BINARY, EXAMPLE_PROMPT, PROBLEMS, JobEvent, JobStarted, Prompt
from weightgen.server.services import Shared, shared
from zoo.pictures.picture_files import nfc
from zoo.words import plural

PAIR_SIDES = (512, 1024)  # pixels of the short and the long side that are kept of a pair
Job = Annotated[str, Path(max_length=64, examples=["0" * 32])]


class JobRoute(APIRoute):
    """Takes a new job's place before the body is read: as many bodies are held as jobs can wait."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()
        if "POST" not in (self.methods or ()):
            return handler

        async def with_room(request: Request) -> Response:
            with shared(request).jobs.room():
                return await handler(request)

        return with_room


def existing(services: Shared, job: Job) -> str:
    """Return a job's id, after a look whether there is such a job: once a stream has begun it cannot be a 404."""
    services.jobs.folder(job)
    return job


def router(limits: Limits) -> APIRouter:
    """Return the routes; `limits` decides how long and how much."""
    routes = APIRouter(responses=PROBLEMS, tags=["finetune"], max_body_size=FORM_BYTES, route_class=JobRoute)

    @routes.post(
        "/v1/finetune",
        status_code=202,
        max_body_size=limits.pairs_bytes + FORM_BYTES,
        form_limits={"max_files": 2 * MAX_PAIRS, "max_fields": 8, "max_part_size": 8192},
    )
    async def start(
        services: Shared,
        request: Request,
        sources: Annotated[list[UploadFile], File(description="photographs")],
        targets: Annotated[
            list[UploadFile],
            File(description="what the photographs should become; both files of a pair have the same name"),
        ],
        prompt: Annotated[Prompt | None, Form(examples=[EXAMPLE_PROMPT])] = None,
        seconds: Annotated[float, Form(ge=1, le=limits.job_seconds, allow_inf_nan=False)] = min(
            30.0, limits.job_seconds
        ),
        mode: Annotated[Literal["full", "adapter", "closed-form"], Form()] = "full",
    ) -> JobStarted:
        """Fine-tune the prompt's generated network on pairs of photographs.

        With the mode closed-form an output layer is solved on the pairs at their own size, and small networks are
        trained beside it. A model that reads pairs generates the network that this begins with, from the pairs and the
        prompt, which may be left out; otherwise the prompt is only noted.
        """
        if prompt is None and mode != SOLVED:
            raise Problem(422, f"the mode {mode} begins with the prompt's network; give a prompt, or mode={SOLVED}")
        matched = match_pairs(sources, targets)
        pairs, said = await services.admission.run(request, lambda: decode_pairs(matched, limits, services.photos))
        job = await services.jobs.submit(prompt or "", seconds, mode, pairs)
        where = f"/v1/finetune/{job}"
        warnings = await asyncio.to_thread(services.engine.notes, prompt) if prompt else []
        return JobStarted(
            id=job, events=f"{where}/events", result=f"{where}/result", adapter=f"j-{job}", warnings=[*warnings, *said]
        )

    @routes.get("/v1/finetune/{job}")
    async def status(services: Shared, job: Job) -> JobEvent:
        """Return the job's latest event."""
        return last_event(services.jobs.folder(job)) or JobEvent(event="waiting")

    @routes.get("/v1/finetune/{job}/events", response_class=EventSourceResponse)
    async def events(
        services: Shared,
        job: Annotated[str, Depends(existing)],
        last_event_id: Annotated[int | None, Header(ge=0, le=10**9)] = None,
    ) -> AsyncIterator[ServerSentEvent]:
        """Stream the job's events (server-sent events); Last-Event-ID continues after an interruption."""
        async for number, event in services.jobs.events(job, last_event_id or 0):
            data = json.dumps(event.model_dump(exclude_none=True))
            yield ServerSentEvent(event=event.event, id=str(number), raw_data=data)

    @routes.get(
        "/v1/finetune/{job}/result",
        response_class=Response,
        responses={200: {"content": {"application/zip": BINARY}, "description": "The folder that finetune writes."}},
    )
    async def result(services: Shared, job: Job) -> Response:
        """Return the fine-tuned network as a zipped folder for `weightzoo apply`."""
        try:
            data = await asyncio.to_thread(zip_folder, services.jobs.result(job))
        finally:
            services.jobs.result(job)  # removed meanwhile is a 404, and not a part of it
        headers = {"Content-Disposition": 'attachment; filename="finetuned.zip"'}
        return Response(data, media_type="application/zip", headers=headers)

    @routes.delete("/v1/finetune/{job}")
    async def cancel(services: Shared, job: Job) -> JobEvent:
        """Cancel a job that is waiting or running."""
        services.jobs.cancel(job)
        return last_event(services.jobs.folder(job)) or JobEvent(event="cancelled")

    return routes


def match_pairs(sources: Sequence[UploadFile], targets: Sequence[UploadFile]) -> list[tuple[UploadFile, UploadFile]]:
    """Return sources and targets of equal names (the suffix may differ), in the order of the names.

    Raises:
        Problem: 422 when names repeat or have no partner, or there are too few or too many pairs.
    """
    by_name = [{stem(file): file for file in files} for files in (sources, targets)]
    if len(by_name[0]) < len(sources) or len(by_name[1]) < len(targets):
        raise Problem(422, "two pictures have the same name; rename one")
    if alone := sorted(by_name[0].keys() ^ by_name[1].keys()):
        raise Problem(422, f"{alone[0][:80]!r} has no partner; give both pictures of a pair the same name")
    if not 1 <= len(sources) <= MAX_PAIRS:
        raise Problem(422, f"{plural(len(sources), 'pair')} cannot be used; give 1 to {MAX_PAIRS}")
    return [(by_name[0][name], by_name[1][name]) for name in sorted(by_name[0])]


def stem(file: UploadFile) -> str:
    """Return the name of an uploaded file without its suffix."""
    return nfc(PurePosixPath((file.filename or "").replace("\\", "/")).stem)


async def decode_pairs(
    files: Sequence[tuple[UploadFile, UploadFile]], limits: Limits, pool: Executor
) -> tuple[list[PairImages], list[str]]:
    """Return RGB images of uploaded pairs, none larger than `PAIR_SIDES`, and notes on them.

    One pair at a time is read and decoded in the pool, so that nothing more is when the request is given up.

    Raises:
        Problem: 400 or 413 for a picture, 413 for too many pixels of all together, 422 for a pair of two sizes.
    """
    pairs: list[PairImages] = []
    said: list[str] = []
    left = limits.pairs_pixels
    for number, (source, target) in enumerate(files, start=1):
        pair, notes, pixels = await in_pool(pool, decode_pair, number, (source.file, target.file), limits)
        left -= pixels
        if left < 0:
            most = f"{limits.pairs_pixels // 10**6} megapixels"
            raise Problem(413, f"the pictures have more than {most} together; give fewer or smaller ones")
        pairs.append(pair)
        said += notes
    return pairs, said


def decode_pair(number: int, files: tuple[BinaryIO, BinaryIO], limits: Limits) -> tuple[PairImages, list[str], int]:
    """Return source and target as they are kept, notes on them, and how many pixels they had."""
    names = (f"source {number}", f"target {number}")
    photos = [read_upload(file.read(), limits, name) for name, file in zip(names, files, strict=True)]
    notes = [f"{name}: {note}" for name, photo in zip(names, photos, strict=True) for note in photo.notes]
    source, target = (photo.on_white() for photo in photos)
    if source.size != target.size:
        sizes = " and ".join(f"{image.width}x{image.height}" for image in (source, target))
        raise Problem(422, f"the pictures of pair {number} have {sizes} pixels; both must have one size")
    size = kept_size(source.size)
    pair = source.resize(size, Image.Resampling.LANCZOS), target.resize(size, Image.Resampling.LANCZOS)
    return pair, notes, 2 * source.width * source.height


def kept_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return width and height of a picture when both of its sides are within `PAIR_SIDES`."""
    scale = min(1.0, PAIR_SIDES[0] / min(size), PAIR_SIDES[1] / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))

"""The route of mixtures: prompts and adapters with weights become one adapter.

    curl -d '{"parts": [{"prompt": "a charcoal drawing", "weight": 0.7}, {"adapter": "c-warm", "weight": 0.5}]}' \\
      -H "Content-Type: application/json" localhost:8000/v1/mixes -o both.safetensors

The id of the answer stands for the mixture in the other routes.
"""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from weightgen.server.limits import FORM_BYTES
from weightgen.server.routes import FILES, WARNED, adapter_file, prompt_notes, warnings
from weightgen.server.schemas import PROBLEMS, MixtureRequest
from weightgen.server.services import Shared

ANSWER: dict[int | str, dict[str, Any]] = {
    200: {"content": FILES, "description": f"The mixture; its id is in X-Adapter-Id. {WARNED}"}
}


def router() -> APIRouter:
    """Return the route."""
    routes = APIRouter(responses=PROBLEMS, tags=["adapters"], max_body_size=FORM_BYTES)

    @routes.post("/v1/mixes", response_class=Response, responses=ANSWER)
    async def make_mixture(services: Shared, request: Request, wanted: MixtureRequest) -> Response:
        """Add up the deviations of adapters from the base, each with its weight."""
        named = wanted.mixture().id(services.engine.fingerprint)
        answer = await adapter_file(services, request, named, wanted.format)
        prompts = [part.prompt for part in wanted.parts if part.prompt is not None]
        said = [note for prompt in dict.fromkeys(prompts) for note in await prompt_notes(services, prompt)]
        answer.headers.update(warnings(list(dict.fromkeys(said))))
        return answer

    return routes

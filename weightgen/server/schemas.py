"""What goes in and out of the API, with the examples that OpenAPI shows.

A `Recipe` says how an adapter is made, and an adapter's id *is* its recipe: every replica can make the adapter
again, today or after a restart, and nothing has to be stored for a client.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from weightgen.prompt_notes import has_words
from weightgen.server.limits import ID_CHARACTERS, MAX_GUIDANCE, MAX_PARTS, MAX_STEPS, MAX_STRENGTH, PROMPT_CHARACTERS
from weightgen.server.problems import Problem
from zoo.adapters.weighted_sum import MOST_WEIGHT
from zoo.pictures.mixing import STRENGTHS

EXAMPLE_PROMPT = "a charcoal drawing"


def _is_said(prompt: str) -> str:
    """Refuse a prompt of blanks and punctuation."""
    if not has_words(prompt):
        raise ValueError("the prompt is empty; say what the pictures should look like")
    return prompt


Prompt = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=PROMPT_CHARACTERS), AfterValidator(_is_said)
]
Steps = Annotated[int, Field(ge=1, le=MAX_STEPS)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Guidance = Annotated[float, Field(ge=0, le=MAX_GUIDANCE, allow_inf_nan=False)]
Strength = Annotated[float, Field(ge=0, le=MAX_STRENGTH, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=STRENGTHS[0], le=STRENGTHS[1], allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=-MOST_WEIGHT, le=MOST_WEIGHT, allow_inf_nan=False)]
Format = Literal["safetensors", "peft"]


Made = TypeVar("Made", bound=BaseModel)


def encoded(made: BaseModel, kind: str, model: str) -> str:
    """Return the id of what the model with this fingerprint makes by a description."""
    text = made.model_dump_json(exclude_defaults=True).encode()
    return f"{kind}-{model}-{base64.urlsafe_b64encode(text).decode().rstrip('=')}"


def decoded(cls: type[Made], kind: str, adapter: str, model: str) -> Made:
    """Return the inverse of `encoded`.

    Raises:
        Problem: 404 for a text that is no id, 410 for one of another model.
    """
    found, _, rest = adapter.partition("-")
    made_by, _, text = rest.partition("-")
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        made = cls.model_validate_json(data)
    except (ValidationError, ValueError, binascii.Error):
        made = None
    if found != kind or made is None:
        raise Problem(404, "no such adapter; generate one with POST /v1/adapters")
    if made_by != model:
        raise Problem(410, "this adapter was made by another model; generate it again")
    return made


class Recipe(BaseModel):
    """How an adapter is generated.

    Args:
        seed: draws the noise; without one a single step gives the mean prediction.
        strength: of the weights: 0 gives the mean of the zoo, 1 what the prompt says.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra={"examples": [{"prompt": EXAMPLE_PROMPT}]})
    prompt: Prompt
    steps: Steps = 1
    seed: Seed | None = None
    guidance: Guidance = 1.0
    strength: Strength = 1.0

    def batch_key(self) -> tuple[int, float, int | None]:
        """Return a key: recipes with the same key can be generated in one batch."""
        return self.steps, self.guidance, self.seed

    def id(self, model: str) -> str:
        """Return the id of the adapter that the model with this fingerprint makes by this recipe."""
        return encoded(self, "g", model)

    @classmethod
    def from_id(cls, adapter: str, model: str) -> Recipe:
        """Return the inverse of `id`.

        Raises:
            Problem: 404 for a text that is no id, 410 for one of another model.
        """
        return decoded(cls, "g", adapter, model)


class Part(BaseModel):
    """A part of a mixture: a prompt or an adapter, and its weight; 1 is the whole edit, below 0 takes it away."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    weight: Weight
    prompt: Prompt | None = None
    adapter: str | None = Field(None, max_length=ID_CHARACTERS, examples=["c-charcoal"])

    @model_validator(mode="after")
    def _is_one(self) -> Part:
        if (self.prompt is None) == (self.adapter is None):
            raise ValueError("give each part either a prompt or an adapter")
        return self


class Mixture(BaseModel):
    """Parts whose deviations from the base are added up with their weights."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [{"parts": [{"prompt": EXAMPLE_PROMPT, "weight": 0.7}, {"adapter": "c-warm", "weight": 0.5}]}]
        },
    )
    parts: tuple[Part, ...] = Field(min_length=1, max_length=MAX_PARTS)

    def id(self, model: str) -> str:
        """Return the id of the mixture that the model with this fingerprint makes.

        Raises:
            Problem: 422 where it is too long for a request.
        """
        adapter = encoded(self, "m", model)
        if len(adapter) > ID_CHARACTERS:
            raise Problem(422, "the parts of the mixture are too long together; shorten the prompts, or mix fewer")
        return adapter

    @classmethod
    def from_id(cls, adapter: str, model: str) -> Mixture:
        """Return the inverse of `id`; raise `Problem` as `Recipe.from_id` does."""
        return decoded(cls, "m", adapter, model)


class MixtureRequest(Mixture):
    """A mixture, and the file that is wanted."""

    format: Format = "safetensors"

    def mixture(self) -> Mixture:
        return Mixture(parts=self.parts)


class AdapterRequest(Recipe):
    """A recipe, and the file that is wanted."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"prompt": EXAMPLE_PROMPT, "steps": 1, "format": "safetensors"}]}
    )
    format: Format = "safetensors"

    def recipe(self) -> Recipe:
        return Recipe(**self.model_dump(exclude={"format"}))


class Error(BaseModel):
    """The body of every answer that is an error."""

    error: str = Field(examples=["the photograph is not a readable image; give a JPEG, PNG, WebP or TIFF"])
    request_id: str = Field(examples=["4f0c1a9be2d34a6f"])


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Error, "description": text}
    for status, text in {
        400: "Something in the request cannot be used; `error` says what.",
        401: "The server's token is missing or wrong.",
        403: "The request comes from a page of another site.",
        404: "It does not exist.",
        408: "The body did not arrive in time.",
        409: "The job has no result.",
        410: "The adapter was made by another model.",
        413: "Too many bytes or pixels.",
        422: "A field is missing or out of its range.",
        429: "Too many jobs; Retry-After says when to try again.",
        503: "Too many requests; Retry-After says when to try again.",
        504: "It took too long.",
    }.items()
}
BINARY = {"schema": {"type": "string", "format": "binary"}}


class ConceptRow(BaseModel):
    """One trained GAN of the zoo; metrics are of its own adapter on photographs that it has not seen."""

    id: str = Field(examples=["charcoal"])
    prompt: str = Field(examples=[EXAMPLE_PROMPT])
    split: str = Field(examples=["train"])
    adapter: str = Field(examples=["c-charcoal"], description="for POST /v1/images and GET /v1/adapters")
    metrics: dict[str, float | None] = Field(examples=[{"l1": 0.025, "l1_copy": 0.16, "psnr": 29.1}])


class Concepts(BaseModel):
    """A page of the zoo's concepts."""

    total: int = Field(examples=[528])
    concepts: list[ConceptRow]


class Neighbour(BaseModel):
    """A concept of the zoo near a prompt."""

    id: str
    prompt: str
    adapter: str
    similarity: float = Field(examples=[0.91], description="cosine of the two texts")


class Nearest(BaseModel):
    """The zoo's concepts nearest to a prompt, and what to know about the prompt."""

    prompt: str
    similarity: float
    warning: str | None = Field(None, description="the warnings as one text")
    warnings: list[str] = Field([], description="what the model does not read or understand")
    nearest: list[Neighbour]


class ModelInfo(BaseModel):
    """The model that is served, and the limits of the server."""

    name: str
    stage: str
    fingerprint: str
    parameters: int = Field(description="numbers in one adapter")
    concepts: int
    image_size: int
    prompt_characters: int
    photo_bytes: int
    photo_pixels: int
    pairs: int
    job_seconds: float


class JobStarted(BaseModel):
    """The answer to a new fine-tuning job."""

    id: str
    events: str = Field(examples=["/v1/finetune/JOB/events"])
    result: str = Field(examples=["/v1/finetune/JOB/result"])
    adapter: str = Field(examples=["j-JOB"], description="for POST /v1/images, from the first event on that names it")
    warnings: list[str] = Field(
        [], description="what the model does not read or understand of the prompt, or use of the pictures"
    )


class JobEvent(BaseModel):
    """One line of a job's life; `l1` and `psnr` on the held-out pairs, or on the only one."""

    event: Literal["waiting", "running", "progress", "done", "failed", "cancelled"]
    step: int | None = None
    seconds: float | None = None
    l1: float | None = None
    psnr: float | None = None
    pairs: int | None = None
    error: str | None = None
    adapter: str | None = Field(default=None, description="of the best network so far, where there is one")
    warnings: list[str] | None = Field(default=None, description="what looks wrong with the pairs, or was mended")

    @property
    def final(self) -> bool:
        return self.event in ("done", "failed", "cancelled")

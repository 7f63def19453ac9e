"""Mixtures in the API: prompts and adapters with weights are one adapter, and what does not add up is a 4xx."""

import pytest
import torch
from safetensors.torch import load

from tests.weightgen.server.conftest import opened, picture
from weightgen.server.schemas import Mixture

PROMPT, OTHER = "a charcoal drawing", "a warm look"


def mixed(client, *parts, **more):
    return client.post("/v1/mixes", json={"parts": list(parts), **more})


def test_halves_of_an_adapter_are_the_adapter(client) -> None:
    alone = client.post("/v1/adapters", json={"prompt": PROMPT})
    named = alone.headers["x-adapter-id"]
    answer = mixed(client, {"prompt": PROMPT, "weight": 0.5}, {"adapter": named, "weight": 0.5})
    assert answer.status_code == 200, answer.text
    expected, found = load(alone.content), load(answer.content)
    assert expected.keys() == found.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_mixture_has_an_id_that_edits_and_does_not_depend_on_the_order(client) -> None:
    parts = [{"prompt": PROMPT, "weight": 0.7}, {"adapter": "c-warm", "weight": 0.5}, {"prompt": OTHER, "weight": -0.2}]
    answers = [mixed(client, *order) for order in (parts, parts[::-1])]
    first, other = [load(answer.content) for answer in answers]
    assert all(torch.equal(first[name], other[name]) for name in first)
    named = answers[0].headers["x-adapter-id"]
    assert client.get(f"/v1/adapters/{named}").content == answers[0].content
    edited = client.post("/v1/images", data={"adapter": named}, files={"photo": picture(50, 30)})
    assert edited.status_code == 200 and opened(edited.content).size == (50, 30)


def test_ids_are_recipes() -> None:
    mixture = Mixture(parts=({"prompt": PROMPT, "weight": 0.7}, {"adapter": "c-warm", "weight": 0.5}))
    assert Mixture.from_id(mixture.id("abc"), "abc") == mixture


@pytest.mark.parametrize(
    ("parts", "status", "words"),
    [
        ([], 422, "parts"),
        ([{"prompt": PROMPT}], 422, "weight"),
        ([{"weight": 1}], 422, "either a prompt or an adapter"),
        ([{"prompt": PROMPT, "adapter": "c-warm", "weight": 1}], 422, "either a prompt or an adapter"),
        ([{"prompt": PROMPT, "weight": 11}], 422, "weight"),
        ([{"adapter": "c-nothing", "weight": 1}], 404, "no such concept"),
        ([{"adapter": "g-nothing", "weight": 1}], 404, "no such adapter"),
        ([{"adapter": "m-00000000-e30", "weight": 1}], 422, "give its parts instead"),
        ([{"adapter": "j-1", "weight": 1}], 422, "weightzoo mix"),
        ([{"prompt": PROMPT, "weight": 1}] * 9, 422, "parts"),
        ([{"prompt": "x" * 300, "weight": 1}] * 8 + [], 200, ""),
        ([{"prompt": "\u6728" * 300, "weight": 1}] * 8, 422, "too long together"),
    ],
)
def test_mistakes_are_one_line(client, parts, status, words) -> None:
    answer = mixed(client, *parts)
    assert answer.status_code == status, answer.text
    assert status == 200 or (words in answer.json()["error"] and "\n" not in answer.json()["error"])

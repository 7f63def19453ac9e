"""Many requests at once: batches, one computation for equal requests, back-pressure, clients that leave."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.weightgen.server.conftest import Slow, picture, post_as_a_server, until
from weightgen.server.batching import Batcher
from weightgen.server.engine import Engine
from weightgen.server.schemas import Recipe

PROMPTS = [
    f"a drawing in {colour}, number {i}" for i in range(4) for colour in ("red", "deep sea blue", "ochre")
]


def test_what_arrives_during_a_batch_is_the_next_batch() -> None:
    batches = []

    def run(items: list[int]) -> list[int]:
        batches.append(list(items))
        return [-item for item in items]

    async def ask() -> list[int]:
        with ThreadPoolExecutor(1) as pool:
            batcher: Batcher[int, int] = Batcher(run, lambda item: item % 2, pool, most=3)
            return await asyncio.gather(*(batcher.submit(item) for item in range(10)))

    assert asyncio.run(ask()) == [-item for item in range(10)]
    assert batches == [[0, 2, 4], [1, 3, 5], [6, 8], [7, 9]]


def test_an_item_that_fails_does_so_alone() -> None:
    def run(items: list[int]) -> list[int]:
        if 13 in items:
            raise ValueError("unlucky")
        return items

    async def ask() -> list[object]:
        with ThreadPoolExecutor(1) as pool:
            batcher: Batcher[int, int] = Batcher(run, lambda item: 0, pool)
            asked = (batcher.submit(item) for item in (1, 13, 2))
            first = await asyncio.gather(*asked, return_exceptions=True)
            return [*first, await batcher.submit(3)]

    answers = asyncio.run(ask())
    assert answers[0] == 1 and isinstance(answers[1], ValueError) and answers[2:] == [2, 3]


def test_items_whose_client_is_gone_are_not_computed() -> None:
    seen: list[int] = []

    def run(items: list[int]) -> list[int]:
        seen.extend(items)
        return items

    async def ask() -> int:
        with ThreadPoolExecutor(1) as pool:
            batcher: Batcher[int, int] = Batcher(run, lambda item: item, pool)
            tasks = [asyncio.create_task(batcher.submit(item)) for item in range(3)]
            await asyncio.sleep(0)
            tasks[1].cancel()
            return await tasks[2]

    assert asyncio.run(ask()) == 2 and seen == [0, 2]


def test_a_prompt_has_the_same_bits_in_every_batch(engine: Engine) -> None:
    recipes = [Recipe(prompt=prompt) for prompt in PROMPTS]

    def files(batch: list[Recipe]) -> list[bytes]:
        return [engine.safetensors(adapter, {}) for adapter in engine.generate(batch)]

    alone = {recipe.prompt: files([recipe])[0] for recipe in recipes}
    assert len(set(alone.values())) == len(PROMPTS)
    for size in (2, 3, 5, len(PROMPTS)):
        assert files(recipes[-size:]) == [alone[recipe.prompt] for recipe in recipes[-size:]]


def test_concurrent_answers_are_not_crossed(client) -> None:
    alone = {p: client.post("/v1/adapters", json={"prompt": p, "seed": 1}).content for p in PROMPTS}
    client.app.state.services.adapters.batcher.results.clear()
    with ThreadPoolExecutor(12) as pool:
        asked = PROMPTS * 3
        answers = list(pool.map(lambda p: client.post("/v1/adapters", json={"prompt": p, "seed": 1}), asked))
    assert [answer.content for answer in answers] == [alone[prompt] for prompt in asked]


def test_equal_requests_are_computed_once_and_the_cache_is_bounded(serve, monkeypatch) -> None:
    client = serve()
    adapters = client.app.state.services.adapters
    slow = Slow(adapters.batcher.run)
    monkeypatch.setattr(adapters.batcher, "run", slow)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(client.post, "/v1/adapters", json={"prompt": "once"}) for _ in range(4)]
        until(lambda: client.app.state.services.admission.inside == 4)
        slow.go.set()
        assert len({answer.result().content for answer in asked}) == 1
    assert slow.calls == 1
    for prompt in PROMPTS:
        client.post("/v1/adapters", json={"prompt": prompt})
    assert len(adapters.batcher.results) == 8


def test_what_nobody_waits_for_is_not_generated(serve, monkeypatch) -> None:
    """Of three recipes that wait behind a batch, one loses its only client and one of two."""
    adapters = serve().app.state.services.adapters
    generated: list[str] = []
    generate = adapters.batcher.run

    def note(recipes: list[Recipe]) -> object:
        generated.extend(recipe.prompt for recipe in recipes)
        return generate(recipes)

    slow = Slow(note)
    monkeypatch.setattr(adapters.batcher, "run", slow)

    async def ask() -> None:
        def get(prompt: str) -> asyncio.Task[object]:
            return asyncio.create_task(adapters.batcher.submit(Recipe(prompt=prompt)))

        begun = get("begun")
        await asyncio.to_thread(until, lambda: slow.calls == 1)
        left, left_by_one, wanted = get("left"), get("wanted"), get("wanted")
        await asyncio.sleep(0)  # each has asked
        for task in (begun, left, left_by_one):
            task.cancel()
        await asyncio.wait({begun, left, left_by_one})
        again = get("begun")
        slow.go.set()
        await asyncio.gather(wanted, again)

    asyncio.run(ask())
    assert generated == ["begun", "wanted"], "what is in a batch already is kept for who asks again"
    assert adapters.batcher.waiting == {}
    assert {recipe.prompt for recipe in adapters.batcher.results} == {"begun", "wanted"}


def test_a_recipe_that_was_given_up_can_be_requested_at_once(serve, monkeypatch) -> None:
    adapters = serve().app.state.services.adapters
    slow = Slow(adapters.batcher.run)
    monkeypatch.setattr(adapters.batcher, "run", slow)

    async def ask() -> int:
        first = asyncio.create_task(adapters.batcher.submit(Recipe(prompt="first")))
        await asyncio.to_thread(until, lambda: slow.calls == 1)
        given_up = asyncio.create_task(adapters.batcher.submit(Recipe(prompt="twice")))
        await asyncio.sleep(0)
        given_up.cancel()
        again = asyncio.create_task(adapters.batcher.submit(Recipe(prompt="twice")))
        slow.go.set()
        return len(await asyncio.gather(first, again))

    assert asyncio.run(ask()) == 2


def test_pictures_of_concepts_are_not_begun_on_a_full_server(serve, monkeypatch) -> None:
    client = serve(limits={"inside": 1})
    services = client.app.state.services
    concept = Slow(services.engine.concept)
    concept.go.set()
    monkeypatch.setattr(services.engine, "concept", concept)
    slow = Slow(services.adapters.batcher.run)
    monkeypatch.setattr(services.adapters.batcher, "run", slow)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.post, "/v1/adapters", json={"prompt": "one"})
        until(lambda: services.admission.inside == 1)
        assert client.get("/v1/concepts/red/picture").status_code == 503
        slow.go.set()
        assert asked.result().status_code == 200
    assert concept.calls == 0
    assert client.get("/v1/concepts/red/picture").status_code == 200


def test_a_full_server_answers_503_with_retry_after(serve, monkeypatch) -> None:
    client = serve(limits={"inside": 2})
    services = client.app.state.services
    slow = Slow(services.adapters.batcher.run)
    monkeypatch.setattr(services.adapters.batcher, "run", slow)
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(client.post, "/v1/adapters", json={"prompt": p}) for p in ("one", "two")]
        until(lambda: services.admission.inside == 2)
        refused = client.post("/v1/images", data={"prompt": "three"}, files={"photo": picture()})
        assert refused.status_code == 503 and int(refused.headers["retry-after"]) >= 1
        assert client.get("/healthz").status_code == 200
        slow.go.set()
        assert [answer.result().status_code for answer in asked] == [200, 200]
    assert client.post("/v1/adapters", json={"prompt": "three"}).status_code == 200


def test_what_takes_too_long_is_answered_504(serve, monkeypatch) -> None:
    client = serve(limits={"request_seconds": 0.2})
    services = client.app.state.services
    slow = Slow(services.engine.edit)
    monkeypatch.setattr(services.engine, "edit", slow)
    answer = client.post("/v1/images", data={"adapter": "c-red"}, files={"photo": picture()})
    assert answer.status_code == 504 and "0.2 s" in answer.json()["error"]
    slow.go.set()
    until(lambda: services.admission.inside == 0)
    assert client.get("/v1/model").status_code == 200


@pytest.mark.parametrize("path", ["/v1/adapters", "/v1/images"])
def test_a_client_that_leaves_frees_its_place(serve, path) -> None:
    """The app is called as a server does, with a client that hangs up at once."""
    client, body, kind = serve(), b'{"prompt": "left alone"}', b"application/json"
    if path == "/v1/images":
        body = b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na\r\n--x'
        kind = b"multipart/form-data; boundary=x"
    messages = [{"type": "http.request", "body": body, "more_body": False}, {"type": "http.disconnect"}]

    async def receive() -> dict[str, object]:
        return messages.pop(0) if len(messages) > 1 else messages[0]

    assert post_as_a_server(client, path, kind, receive) in (200, 400, 422, 499)
    assert client.app.state.services.admission.inside == 0
    assert client.post("/v1/adapters", json={"prompt": "next"}).status_code == 200


def test_texts_are_forgotten(engine: Engine, monkeypatch) -> None:
    monkeypatch.setattr("weightgen.server.engine.REMEMBERED_TEXTS", 3)
    for prompt in PROMPTS:
        engine.generate([Recipe(prompt=prompt)])
    assert len(engine.encoder._cache) <= 5  # and the filler

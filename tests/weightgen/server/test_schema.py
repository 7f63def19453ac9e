"""Random requests by the OpenAPI schema: whatever comes, the answer is no 500 and errors look alike."""

import json

import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st

from tests.weightgen.server.conftest import SMALL, picture, taken_turn
from weightgen.server.app import create_app

OPERATIONS = [
    ("GET", "/healthz"), ("GET", "/v1/model"), ("POST", "/v1/adapters"), ("GET", "/v1/adapters/{adapter}"),
    ("POST", "/v1/mixes"), ("POST", "/v1/images"), ("GET", "/v1/nearest"), ("GET", "/v1/concepts"),
    ("GET", "/v1/concepts/{concept}/picture"), ("POST", "/v1/finetune"), ("GET", "/v1/finetune/{job}"),
    ("GET", "/v1/finetune/{job}/events"), ("GET", "/v1/finetune/{job}/result"), ("DELETE", "/v1/finetune/{job}"),
    ("GET", "/metrics"),
]  # fmt: skip
EXAMPLES = hypothesis.settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)


def check(answer) -> None:
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert set(answer.json()) == {"error", "request_id"}, answer.text


@pytest.fixture(scope="module")
def served(engine, toy, tmp_path_factory):
    """One app for all examples; jobs do not start, because training is not what is tested here."""
    from fastapi.testclient import TestClient

    from weightgen.server.limits import ServerSettings

    settings = ServerSettings(toy / "model", toy / "zoo", tmp_path_factory.mktemp("jobs"), limits=SMALL)
    app = create_app(engine, settings)
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client, taken_turn(client):
        yield client


def test_every_operation_is_listed(served) -> None:
    paths = served.get("/openapi.json").json()["paths"]
    assert sorted(OPERATIONS) == sorted((m.upper(), path) for path, methods in paths.items() for m in methods)


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=lambda value: value)
def test_no_500_by_the_schema(served, method, path) -> None:
    schema = schemathesis.openapi.from_dict(served.get("/openapi.json").json())
    schema.app = served.app
    strategy = schema[path][method].as_strategy()
    negative = schema[path][method].as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)

    @EXAMPLES
    @hypothesis.given(case=st.one_of(strategy, negative))
    def ask(case) -> None:
        jobs = served.app.state.services.jobs
        for job in list(jobs.waiting):
            jobs.cancel(job)
        check(send(served, case))

    ask()


def send(client, case):
    """One generated case through the test client, as it stands."""
    arguments = case.as_transport_kwargs(base_url="http://127.0.0.1")
    known = {"method", "url", "params", "headers", "cookies", "json", "data", "files"}
    kwargs = {key: value for key, value in arguments.items() if key in known and value}
    if isinstance(kwargs.get("data"), (bytes, str)):
        kwargs["content"] = kwargs.pop("data")
    kwargs.pop("cookies", None)
    kwargs["headers"] = {**dict(kwargs.get("headers", {})), "Host": "127.0.0.1"}
    return client.request(**kwargs)


@EXAMPLES
@hypothesis.given(data=st.one_of(st.binary(max_size=200), st.integers(1, 400)), name=st.text(max_size=20))
def test_no_500_whatever_the_photograph(served, data, name) -> None:
    """Random bytes, and a PNG with one byte changed."""
    if isinstance(data, int):
        whole = bytearray(picture(12, 8))
        whole[data % len(whole)] ^= 0xFF
        data = bytes(whole)
    check(served.post("/v1/images", data={"adapter": "c-red"}, files={"photo": (name or "x", data)}))


@EXAMPLES
@hypothesis.given(prompt=st.text(max_size=320), adapter=st.text(max_size=60))
def test_no_500_whatever_the_words(served, prompt, adapter) -> None:
    body = json.dumps({"prompt": prompt}).encode()
    check(served.post("/v1/adapters", content=body, headers={"Content-Type": "application/json"}))
    check(served.post("/v1/images", data={"adapter": adapter}, files={"photo": picture(4, 4)}))
    check(served.get("/v1/nearest", params={"prompt": prompt}))

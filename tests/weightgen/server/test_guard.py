"""Who may use a server: tokens, names, other sites' pages, bodies that do not come; and what a bind needs."""

import asyncio
import shutil

import pytest

from tests.weightgen.server.conftest import picture, post_as_a_server
from weightgen.server.engine import Engine
from weightgen.server.run import check_binding, is_loopback
from zoo.adapters.lora import load_base, save_base
from zoo.errors import WeightzooError

TOKEN = "correct-horse-battery"


def test_without_its_token_only_the_page_and_health_answer(serve) -> None:
    client = serve(token=TOKEN)
    assert client.get("/").status_code == client.get("/healthz").status_code == 200
    assert client.get("/static/page.css").status_code == 200
    for path in ("/v1/concepts", "/v1/model", "/metrics", "/openapi.json", "/nothing"):
        answer = client.get(path)
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    assert client.post("/v1/images", data={"prompt": "a"}, files={"photo": picture()}).status_code == 401
    for wrong in ("Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer é"):
        headers = {"Authorization": wrong.encode("utf-8")}
        assert client.get("/v1/model", headers=headers).status_code == 401
    assert client.get("/v1/model", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_tokens_are_compared_in_constant_time(serve, monkeypatch) -> None:
    seen = []
    real = __import__("hmac").compare_digest
    monkeypatch.setattr(
        "weightgen.server.guard.hmac.compare_digest", lambda a, b: seen.append((a, b)) or real(a, b)
    )
    serve(token=TOKEN).get("/v1/model", headers={"Authorization": "Bearer short"})
    assert len(seen) == 1 and len(seen[0][0]) == len(seen[0][1]) == 32  # digests: lengths tell nothing either


@pytest.mark.parametrize("name", ["evil.example", "127.0.0.1.evil.example"])
def test_other_names_are_refused(client, name) -> None:
    answer = client.get("/v1/model", headers={"Host": name})
    assert answer.status_code == 400 and "--allow-host" in answer.json()["error"]


def test_pages_of_other_sites_are_refused(client) -> None:
    headers = {"Sec-Fetch-Site": "cross-site"}
    assert client.post("/v1/adapters", json={"prompt": "a"}, headers=headers).status_code == 403
    assert client.post(
        "/v1/adapters", json={"prompt": "a"}, headers={"Sec-Fetch-Site": "same-origin"}
    ).is_success


@pytest.mark.parametrize("limits", [{"body_seconds": 0.1}, {"upload_seconds": 0.0}], ids=["stops", "trickles"])
def test_a_body_that_does_not_come_is_given_up(serve, limits) -> None:
    parts = iter(range(1000))

    async def receive() -> dict[str, object]:
        await asyncio.sleep(60 if "body_seconds" in limits else 0)
        assert next(parts) < 999, "it is still read"
        return {"type": "http.request", "body": b"", "more_body": True}

    assert post_as_a_server(serve(limits=limits), "/v1/adapters", b"application/json", receive) == 408


def test_an_unexpected_error_is_a_line_with_the_requests_id(client, monkeypatch, caplog) -> None:
    monkeypatch.setattr(client.app.state.services.engine.members, "search", lambda query: 1 / 0)
    answer = client.get("/v1/concepts", headers={"X-Request-Id": "mine"})
    assert answer.status_code == 500 and answer.json()["request_id"] == "mine"
    assert "division" not in answer.text and answer.headers["x-request-id"] == "mine"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert 'method="GET",route="/v1/concepts",status="500"' in client.get("/metrics").text
    assert client.get("/v1/model").status_code == 200


def test_a_model_and_a_zoo_of_different_bases_are_refused(toy, tmp_path) -> None:
    shutil.copytree(toy / "zoo", tmp_path / "zoo")
    base = tmp_path / "zoo" / "base" / "generator.safetensors"
    save_base(base, load_base(base), {"changed": "yes"})
    with pytest.raises(WeightzooError, match="different bases"):
        Engine(toy / "model", tmp_path / "zoo")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.0.0.5"])
def test_this_machine_needs_no_token(host) -> None:
    assert is_loopback(host)
    check_binding(host, None)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "", "127.0.0.1.evil.example"]
)
def test_a_public_address_needs_a_token(host) -> None:
    with pytest.raises(WeightzooError, match="--token"):
        check_binding(host, None)
    with pytest.raises(WeightzooError, match="16"):
        check_binding(host, "short")
    check_binding(host, TOKEN)

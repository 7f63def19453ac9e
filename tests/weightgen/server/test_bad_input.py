"""Bad input is answered by a 4xx of one line, and the next request works."""

import io
import struct
import zlib

import pytest
from PIL import Image

from tests.weightgen.server.conftest import SMALL, picture

GOOD = {"prompt": "a charcoal drawing"}


def bomb(width: int = 30_000, height: int | None = None) -> bytes:
    """A PNG of black pixels, a few kilobytes of it present; a square by default."""
    header = struct.pack(">IIBBBBB", width, height or width, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(3 * width + 1) * 20)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def animated() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (10, 10)).save(buffer, "GIF")
    return buffer.getvalue()


def refused(answer, status: int) -> str:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"error", "request_id"} and "\n" not in body["error"]
    return body["error"]


@pytest.fixture(autouse=True)
def next_request_works(client):
    yield
    answer = client.post("/v1/images", data=GOOD, files={"photo": picture(16, 16)})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("", "at least 1"), ("   \n", "at least 1"), ("\x1c \x1f", "is empty"), ("x" * 100_000, ""),
        ("x" * 301, "at most 300"),
    ],
    ids=["empty", "blank", "separators only", "100,000 characters", "a little too long"],
)
def test_prompts_that_are_refused(client, prompt, words) -> None:
    status = 413 if len(prompt) > 64_000 else 422
    assert words in refused(client.post("/v1/adapters", json={"prompt": prompt}), status)
    assert client.get("/v1/nearest", params={"prompt": prompt[:2000]}).status_code == 422


@pytest.mark.parametrize(
    "prompt", ["🎉🎉🎉", "木炭画", "рисунок углём", "a\u0000b", "\u202etfel ot thgir", "ﷺ" * 99]
)
def test_prompts_in_other_scripts_work(client, prompt) -> None:
    assert client.post("/v1/adapters", json={"prompt": prompt}).status_code == 200
    assert client.get("/v1/nearest", params={"prompt": prompt}).status_code == 200


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"prompt": "\\ud800"}', b'{"prompt": 1}', b'{"prompt": "a", "steps": 0}', b"\xff\xfe",
     b'{"prompt": "a", "steps": 1000000}', b'{"prompt": "a", "guidance": NaN}', b'{"prompt": "a", "seed": -1}',
     b'{"prompt": "a", "format": "pickle"}', b'{"prompt": "a", "unknown": 1}'],
)  # fmt: skip
def test_bodies_that_are_refused(client, body) -> None:
    answer = client.post("/v1/adapters", content=body, headers={"Content-Type": "application/json"})
    assert refused(answer, answer.status_code) and answer.status_code in (400, 422)


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (b"this is text", 400, "not a readable image"),
        (b"", 400, "not a readable image"),
        (picture()[:200], 400, "cut off"),
        (picture(400, 300, "JPEG")[:9000], 400, "cut off"),
        (animated(), 400, "not a readable image"),
        (bomb(), 413, "pixels"),
        (bomb(600), 413, "600x600"),
        (picture(280, 280), 413, "bytes"),
        (bomb(65_501, 1), 400, "65501x1, limit 65500"),
    ],
    ids=["text", "nothing", "cut PNG", "cut JPEG", "GIF", "30,000 x 30,000", "600 x 600", "too many bytes", "thin"],
)
def test_photographs_that_are_refused(client, data, status, words) -> None:
    upload = {"photo": ("../../etc/photo.png", data, "image/png")}
    assert words in refused(client.post("/v1/images", data=GOOD, files=upload), status)


def test_a_body_beyond_the_limit_is_not_read(client) -> None:
    def undeclared():
        for _ in range(40):
            yield bytes(10_000)

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    declared = client.post("/v1/images", content=bytes(SMALL.photo_bytes + 100_000), headers=headers)
    assert "large" in refused(declared, 413).lower()
    streamed = client.post("/v1/images", content=undeclared(), headers=headers)
    assert streamed.status_code in (400, 413)


@pytest.mark.parametrize(
    "data",
    [{}, {"prompt": "a", "adapter": "c-red"}, {"prompt": ""}, {"prompt": "a", "steps": "many"},
     {"prompt": "a", "max_side": 1}, {"prompt": "a", "strength": "inf"},
     {"prompt": "a", "strength": -1.5}, {"adapter": "c-red", "strength": 2.1}, {"adapter": "c-red", "strength": "x"}],
)  # fmt: skip
def test_forms_that_are_refused(client, data) -> None:
    refused(client.post("/v1/images", data=data, files={"photo": picture()}), 422)


def test_a_photo_that_is_no_file(client) -> None:
    refused(client.post("/v1/images", data={**GOOD, "photo": "text"}), 422)
    refused(client.post("/v1/images", data=GOOD), 422)


@pytest.mark.parametrize(
    ("adapter", "status"),
    [
        ("nonsense", 404), ("g-", 404), ("g-00000000-e30", 404), ("g-00000000-%%%", 404), ("c-nothing", 404),
        ("c-../../etc", 404), ("j-" + "0" * 32, 404), ("j-../../etc", 404), ("x" * 4001, 422),
        ("g-00000000-eyJwcm9tcHQiOiJhIn0", 410), ("g-é-e30", 404),
    ],
)  # fmt: skip
def test_adapters_that_are_not_there(client, adapter, status) -> None:
    refused(client.post("/v1/images", data={"adapter": adapter}, files={"photo": picture()}), status)
    if "/" not in adapter and "%" not in adapter:
        assert client.get(f"/v1/adapters/{adapter}").status_code in (404, 410, 422)


def test_things_that_are_not_there(client) -> None:
    refused(client.get("/v1/concepts/nothing/picture"), 404)
    refused(client.get("/v1/concepts/red/picture", params={"sample": "../../etc/passwd"}), 404)
    refused(client.get("/v1/finetune/nothing"), 404)
    refused(client.get("/v1/finetune/nothing/events"), 404)
    refused(client.get("/nothing"), 404)
    refused(client.get("/static/../app.py"), 404)
    refused(client.put("/v1/adapters"), 405)


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "L"), ("PNG", "RGBA"), ("JPEG", "RGB"), ("WEBP", "RGBA"), ("TIFF", "RGB")]
)
def test_photographs_that_are_taken(client, kind, mode) -> None:
    upload = {"photo": picture(kind=kind, mode=mode)}
    assert client.post("/v1/images", data=GOOD, files=upload).status_code == 200


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (3, 2)])
def test_odd_sizes(client, size) -> None:
    answer = client.post("/v1/images", data=GOOD, files={"photo": picture(*size)})
    assert answer.status_code == 200
    assert Image.open(io.BytesIO(answer.content)).size == size

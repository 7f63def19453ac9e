"""What the API answers to good requests."""

import io
import json
import zipfile

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load

from tests.weightgen.server.conftest import opened, picture
from weightgen.generate import generate
from weightgen.server.schemas import Recipe
from zoo.adapters.lora import check_adapter
from zoo.pictures.apply import apply_to_photo
from zoo.pictures.photo_file import read_photo

PROMPT = "a charcoal drawing"
FAR = "quarterly earnings report of a bank"


def test_an_adapter_is_what_the_library_generates(client, engine, tmp_path) -> None:
    answer = client.post("/v1/adapters", json={"prompt": PROMPT})
    assert answer.status_code == 200, answer.text
    adapter = load(answer.content)
    check_adapter(engine.base, adapter)
    for name, value in generate(engine.model, [PROMPT]).adapter(0).items():
        torch.testing.assert_close(adapter[name], value)
    (tmp_path / "a.safetensors").write_bytes(answer.content)
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert file.metadata()["prompt"] == PROMPT
        assert file.metadata()["base_sha256"] == engine.model.base_sha256


@pytest.mark.parametrize(
    "recipe",
    [
        {"prompt": PROMPT, "seed": 3},
        {"prompt": PROMPT, "strength": 0.5},
        {"prompt": PROMPT, "guidance": 1.5},
        {"prompt": "木炭画 🎨 рисунок"},
    ],
    ids=["seed", "strength", "guidance", "other scripts"],
)
def test_an_id_gives_the_same_file_again(client, recipe) -> None:
    first = client.post("/v1/adapters", json=recipe)
    again = client.get(f"/v1/adapters/{first.headers['x-adapter-id']}")
    assert first.status_code == again.status_code == 200
    assert first.content == again.content
    assert first.content != client.post("/v1/adapters", json={"prompt": "something else"}).content


def test_ids_are_recipes(engine) -> None:
    recipe = Recipe(prompt="  weiß & grün  ", seed=7)
    assert recipe.prompt == "weiß & grün"
    assert Recipe.from_id(recipe.id("abc"), "abc") == recipe


def test_a_peft_zip_edits_photographs(client, tmp_path) -> None:
    answer = client.post("/v1/adapters", json={"prompt": PROMPT, "format": "peft"})
    zipfile.ZipFile(io.BytesIO(answer.content)).extractall(tmp_path)
    (tmp_path / "photo.png").write_bytes(picture())
    apply_to_photo(tmp_path / "adapter", tmp_path / "photo.png", tmp_path / "out.png")
    served = client.post("/v1/images", data={"prompt": PROMPT}, files={"photo": picture()})
    (tmp_path / "served.png").write_bytes(served.content)
    difference = abs(
        read_photo(tmp_path / "out.png").pixels.astype(int) - read_photo(tmp_path / "served.png").pixels
    )
    assert difference.max() <= 1


def test_an_image_keeps_its_size_and_alpha_unless_asked_otherwise(client) -> None:
    upload = {"photo": picture(50, 30, mode="RGBA")}
    answer = client.post("/v1/images", data={"prompt": PROMPT}, files=upload)
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/png"
    assert opened(answer.content).size == (50, 30) and opened(answer.content).mode == "RGBA"
    assert "generate;dur=" in answer.headers["server-timing"]
    small = client.post("/v1/images", data={"prompt": PROMPT, "max_side": 20}, files=upload)
    assert opened(small.content).size == (20, 12)


def test_prompt_and_adapter_id_give_the_same_image(client) -> None:
    upload = {"photo": picture()}
    by_prompt = client.post("/v1/images", data={"prompt": PROMPT}, files=upload)
    adapter = by_prompt.headers["x-adapter-id"]
    by_id = client.post("/v1/images", data={"adapter": adapter}, files=upload)
    of_zoo = client.post("/v1/images", data={"adapter": "c-red"}, files=upload)
    assert by_prompt.content == by_id.content != of_zoo.content


@pytest.mark.parametrize("edit", [{"prompt": PROMPT}, {"adapter": "c-red"}], ids=["prompt", "zoo"])
def test_strength_mixes_photograph_and_edit(client, edit) -> None:
    upload = {"photo": picture(mode="RGBA")}
    answers = [client.post("/v1/images", data={**edit, "strength": s}, files=upload) for s in (0, 1, -1, 2, 0.5)]
    assert len({answer.headers["x-adapter-id"] for answer in answers}) == 1
    photo = np.asarray(opened(upload["photo"]))
    assert np.array_equal(np.asarray(opened(answers[0].content)), photo)
    assert len({answer.content for answer in answers}) == 5
    assert client.post("/v1/images", data=edit, files=upload).content == answers[1].content


def test_concepts_are_searched_and_paged(client) -> None:
    everything = client.get("/v1/concepts").json()
    assert everything["total"] == len(everything["concepts"]) == 10
    page = client.get("/v1/concepts", params={"offset": 8, "limit": 5}).json()
    assert [c["id"] for c in page["concepts"]] == [c["id"] for c in everything["concepts"]][8:]
    found = client.get("/v1/concepts", params={"query": "RED look"}).json()["concepts"]
    assert [c["id"] for c in found] == ["red"]
    assert found[0]["metrics"]["l1"] == 0.1
    assert load(client.get(f"/v1/adapters/{found[0]['adapter']}").content)


def test_the_nearest_concept_comes_first_and_far_prompts_are_warned_of(client) -> None:
    near = client.get("/v1/nearest", params={"prompt": "make it red", "count": 3}).json()
    assert [row["id"] for row in near["nearest"]][0] == "red" and len(near["nearest"]) == 3
    assert near["similarity"] > 0.99 and near["warning"] is None and near["warnings"] == []
    far = client.get("/v1/nearest", params={"prompt": FAR}).json()
    assert far["warnings"] == [far["warning"]] and "unlike" in far["warning"]


@pytest.mark.parametrize("prompt", ["make it red", FAR, "木炭画"])
def test_every_answer_to_a_prompt_warns_of_what_is_not_understood(client, prompt) -> None:
    told = client.get("/v1/nearest", params={"prompt": prompt}).json()["warnings"]
    adapter = client.post("/v1/adapters", json={"prompt": prompt})
    image = client.post("/v1/images", data={"prompt": prompt}, files={"photo": picture()})
    assert [json.loads(answer.headers.get("x-warnings", "[]")) for answer in (adapter, image)] == [told, told]
    assert bool(told) == (prompt != "make it red")


def test_what_is_not_used_of_a_photograph_is_told(client) -> None:
    pages, buffer = [opened(picture(seed=seed)) for seed in (1, 2, 3)], io.BytesIO()
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])
    for asked in ({"adapter": "c-red"}, {"adapter": "c-red", "max_side": "20"}, {"prompt": "make it red"}):
        answer = client.post("/v1/images", data=asked, files={"photo": buffer.getvalue()})
        assert json.loads(answer.headers["x-warnings"]) == ["the first of 3 pages is used"]


def test_pictures_of_concepts(client) -> None:
    answer = client.get("/v1/concepts/red/picture", params={"sample": "cat", "side": 48})
    assert opened(answer.content).format == "JPEG" and max(opened(answer.content).size) == 48
    again = client.get("/v1/concepts/red/picture", params={"sample": "cat", "side": 48})
    assert again.content == answer.content


def test_model_health_figures_and_page(serve) -> None:
    client = serve()
    assert client.get("/healthz").json() == {"status": "ok"}
    model = client.get("/v1/model").json()
    assert model["concepts"] == 10 and model["stage"] == "polished"
    client.post("/v1/adapters", json={"prompt": PROMPT})
    figures = client.get("/metrics").text
    assert 'weightzoo_requests_total{method="POST",route="/v1/adapters",status="200"} 1.0' in figures
    assert "weightzoo_batch_size_count 1.0" in figures
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]


def test_openapi_has_examples_and_says_what_errors_look_like(client) -> None:
    schema = client.get("/openapi.json").json()
    text = json.dumps(schema)
    assert schema["openapi"].startswith("3.") and PROMPT in text
    assert set(schema["paths"]["/v1/images"]["post"]["responses"]) >= {"200", "413", "422", "503"}
    assert client.get("/docs").status_code == 404  # it would load scripts from elsewhere


def test_requests_have_ids_and_one_line_in_the_log(client, caplog) -> None:
    with caplog.at_level("INFO", "weightzoo.serve"):
        answer = client.post("/v1/adapters", json={"prompt": PROMPT}, headers={"X-Request-Id": "mine-1"})
        other = client.get("/healthz", headers={"X-Request-Id": "not\tfit {}"})
    assert answer.headers["x-request-id"] == "mine-1"
    assert len(other.headers["x-request-id"]) == 16
    fields = [record.fields for record in caplog.records if record.getMessage() == "request"]
    assert fields[0]["route"] == "/v1/adapters" and fields[0]["status"] == 200
    assert PROMPT not in caplog.text

"""``publish`` of a weight generator's folder, and ``generate`` from where it is then."""

import shutil

from huggingface_hub import constants

from tests.weightgen.test_ood import strict
from tests.weightgen.test_publish_model import ROWS
from tests.weightgen.tiny_world import add_ood_score
from zoo.files import write_json


def test_publish_a_model_and_generate_from_it(run, world, hub, tmp_path):
    model = shutil.copytree(world / "models" / "generated", tmp_path / "model")
    strict(add_ood_score(model, world / "zoo"))
    published = run("publish", model, "--repo", "user/model", "--private", "--json")
    assert published.code == 0, published.err
    (report,) = published.json["published"]
    assert report["url"].endswith("/user/model") and report["files"] == 10
    assert "already up to date" in run("publish", model, "--repo", "user/model").out
    made = run("generate", "make it red", "--model", "user/model", "-o", tmp_path / "red", "--json")
    assert made.code == 0 and made.json["nearest"] == "make it red" and isinstance(made.json["ood"], float)
    strange = run("generate", "the annual report of a bank", "--model", "user/model", "-o", tmp_path / "odd")
    assert strange.code == 0 and "is unlike the English prompts" in strange.out and not strange.err
    other = run(
        "generate", "the annual report of a bank", "--fallback", "nearest", "--model", "user/model",
        "-o", tmp_path / "near",
    )  # fmt: skip
    assert other.code == 0 and "was generated instead" in other.out


def test_a_model_of_the_cache_is_told_as_such(run, world, hub, tmp_path, monkeypatch):
    model = shutil.copytree(world / "models" / "generated", tmp_path / "model")
    assert run("publish", model, "--repo", "user/model").code == 0
    made = ("generate", "make it red", "--model", "user/model", "-o")
    assert "not checked" not in run(*made, tmp_path / "online").out
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    offline, told = run(*made, tmp_path / "offline"), "user/model is the copy that the cache got on"
    assert offline.code == 0 and told in offline.out and not offline.err
    assert told in run(*made, tmp_path / "json", "--json").json["warnings"][0]
    absent = run("generate", "make it red", "--model", "user/absent", "-o", tmp_path / "absent")
    assert absent.code == 1 and "has no copy of user/absent, and HF_HUB_OFFLINE is set" in absent.error


def test_with_what_evaluate_has_measured(run, world, hub, tmp_path):
    model = shutil.copytree(world / "models" / "generated", tmp_path / "model")
    write_json(tmp_path / "evaluation" / "evaluation.json", {"zero_step": ROWS})
    published = run("publish", model, "--repo", "user/model", "--evaluation", tmp_path / "evaluation")
    assert published.code == 0, published.err
    head = hub.repos["model", "user/model"].find("main").files
    assert b"| **generated** | 0.140" in head["README.md"].data and "evaluation.json" in head
    absent = run("publish", model, "--repo", "user/model", "--evaluation", tmp_path / "nothing")
    assert absent.code == 2 and "nothing does not exist" in absent.error
    zoo = run("publish", world / "zoo", "--repo", "user/zoo", "--evaluation", tmp_path / "evaluation")
    assert zoo.code == 2 and "--evaluation belongs to a weight generator" in zoo.error

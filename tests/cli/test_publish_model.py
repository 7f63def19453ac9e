"""``publish`` of a weight generator's folder, and ``generate`` from where it is then."""

import shutil

from tests.weightgen.test_familiar import strict
from tests.weightgen.test_publish_model import ROWS
from weightgen.familiar import add
from zoo.files import write_json


def test_publish_a_model_and_generate_from_it(run, world, hub, tmp_path):
    model = shutil.copytree(world / "models" / "generated", tmp_path / "model")
    strict(add(model, world / "zoo"))
    published = run("publish", model, "--repo", "user/model", "--private", "--json")
    assert published.code == 0, published.err
    (report,) = published.json["published"]
    assert report["url"].endswith("/user/model") and report["files"] == 10
    assert "already up to date" in run("publish", model, "--repo", "user/model").out
    made = run("generate", "make it red", "--model", "user/model", "-o", tmp_path / "red", "--json")
    assert made.code == 0 and made.json["nearest"] == "make it red" and isinstance(made.json["ood"], float)
    strange = run("generate", "the annual report of a bank", "--model", "user/model", "-o", tmp_path / "odd")
    assert strange.code == 0 and "unlike what the model has learned" in strange.out and not strange.err
    other = run(
        "generate", "the annual report of a bank", "--fallback", "nearest", "--model", "user/model",
        "-o", tmp_path / "near",
    )  # fmt: skip
    assert other.code == 0 and "taken instead" in other.out


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
    assert zoo.code == 2 and "--evaluation is of a weight generator" in zoo.error

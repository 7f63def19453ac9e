"""``publish --pairs``: the shards that a build keeps of an expensive teacher, read by plain clients."""

import hashlib
from dataclasses import replace

import pytest

from tests.pipeline.conftest import building_inline, micro_concepts, micro_config
from tests.pipeline.fake_fleet import fake_fleet, write_fake_base
from tests.pipeline.test_teachers import save_random_pipeline

# what strangers run who have never heard of weightzoo; the first loop is the card's own example
PAIR_READER = """
import hashlib, io, json, sys
from pathlib import Path
import webdataset
from datasets import load_dataset
from PIL import Image

repo, folder = sys.argv[1:]
pairs, read = {}, {}
before = {row["__key__"]: row["source.png"] for row in load_dataset(repo, "sources", split="train")}
for split in ("train", "validation"):
    for row in load_dataset(repo, "targets", split=split, streaming=True):
        concept_id, name = row["__key__"].split("/")
        pictures = before[name], row["target.png"]
        pairs[row["__key__"]] = [hashlib.sha256(p.convert("RGB").tobytes()).hexdigest() for p in pictures]
for shard in sorted(Path(folder, "pairs").glob("targets-*.tar")):
    for row in webdataset.WebDataset(str(shard), shardshuffle=False, empty_check=False):
        picture = Image.open(io.BytesIO(row["target.png"])).convert("RGB")
        read[row["__key__"]] = hashlib.sha256(picture.tobytes()).hexdigest()
assert not {"zoo", "pipeline", "weightgen"} & set(sys.modules)
print(json.dumps({"datasets": pairs, "webdataset": read}))
"""


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Rendered by a teacher of random weights, which cannot do three of the concepts; fleets are made up."""
    from pipeline.build import build
    from pipeline.teachers.instruct_pix2pix import InstructPix2PixTeacher

    folder = tmp_path_factory.mktemp("pairs")
    save_random_pipeline(folder / "tiny")
    options = {"model": str(folder / "tiny" / "model"), "steps": 1, "batch_size": 4}
    config = replace(
        micro_config(),
        teacher="instruct_pix2pix",
        teacher_options=options,
        num_train_crops=2,
        num_test_crops=2,
    )
    base = write_fake_base(folder / "base", config)
    cannot = ("invert-2", "invert-3", "check-2")  # the whole first shard, and the second of another
    with building_inline(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            InstructPix2PixTeacher,
            "refusal",
            lambda self, c: f"/tmp/x/{c.id} cannot" if c.id in cannot else None,
        )
        build(folder / "run", config, micro_concepts(), base_from=base, fleet=fake_fleet)
    return folder / "run"


def digest(image):
    return hashlib.sha256((image * 255).round().byte().permute(1, 2, 0).numpy().tobytes()).hexdigest()


def test_real_pair_shards_are_read_by_plain_clients(run, hub, zoo, plain_reader, tmp_path):
    from pipeline.fleets.shared import source_crops
    from pipeline.run_folder.pair_shards import read_targets
    from pipeline.run_folder.private_paths import read_config
    from pipeline.run_folder.shard_plan import plan_run

    published = run("publish", zoo, "--repo", "user/own", "--pairs", "--json")
    assert published.code == 0, published.err
    weights, pairs = published.json["published"]
    assert pairs["url"].endswith("/datasets/user/own-pairs") and pairs["commits"] > 0
    assert not [name for name in hub.files("user/own") if name.startswith("pairs/")]
    again = run("publish", zoo, "--repo", "user/own", "--pairs")
    assert again.out.count("already up to date") == 2

    out = tmp_path / "out"
    assert "4 files of pairs, verified" in run("download", "user/own-pairs", "-o", out).out
    read = plain_reader(PAIR_READER, "user/own-pairs", out)
    sources = dict(zip(("train", "test"), source_crops(read_config(zoo)), strict=True))
    expected = {}
    for task in plan_run(zoo):
        for name, targets in read_targets(task).items():
            for part, images in zip(
                ("train", "test"), () if isinstance(targets, str) else targets, strict=False
            ):
                for i, (source, target) in enumerate(zip(sources[part], images, strict=True)):
                    expected[f"{name}/{part}-{i:04d}"] = [digest(source), digest(target)]
    assert len(expected) == 2 * 4 and read["datasets"] == expected
    assert read["webdataset"] == {key: target for key, (_, target) in expected.items()}
    reasons = read_targets(plan_run(zoo)[0])
    assert reasons == {"invert-2": "invert-2 cannot", "invert-3": "invert-3 cannot"}
    assert not [name for name, data in hub.files("user/own-pairs").items() if b"/tmp/x" in data]

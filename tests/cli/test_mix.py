"""weightzoo mix: adapters and series of them, and what a person can get wrong."""

import filecmp

import pytest
from PIL import Image

FILES = ("adapter_model.safetensors", "weightzoo.json", "adapter_config.json")


@pytest.fixture(scope="module")
def edits(step, world, tmp_path_factory):
    """a/ and b/: two adapters of one base."""
    folder = tmp_path_factory.mktemp("edits")
    for name, prompt in (("a", "a warm look"), ("b", "a cold look")):
        step("generate", prompt, "--model", world / "models" / "polished", "-o", folder / name)
    return folder


@pytest.fixture
def photo(tmp_path):
    Image.effect_mandelbrot((60, 40), (-2, -1, 1, 1), 60).convert("RGB").save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_the_order_of_the_parts_changes_no_file(run, edits, tmp_path):
    first = run("mix", f"{edits}/a:0.7", f"{edits}/b:0.5", "-o", tmp_path / "ab", "--json")
    assert first.code == 0 and first.json["weights"] == [0.7, 0.5]
    assert run("mix", f"{edits}/b:0.5", f"{edits}/a:0.7", "-o", tmp_path / "ba").code == 0
    assert filecmp.cmpfiles(tmp_path / "ab", tmp_path / "ba", FILES, shallow=False)[0] == list(FILES)


def test_a_series_ends_in_its_two_adapters(run, edits, tmp_path, photo):
    result = run("mix", "--from-to", edits / "a", edits / "b", "--steps", 3, "-o", tmp_path / "s", "--json")
    assert result.code == 0 and result.json["series"] == ["01", "02", "03"]
    for end, part in (("01", "a"), ("03", "b")):
        assert filecmp.cmp(tmp_path / "s" / end / FILES[0], edits / part / FILES[0], shallow=False)
    assert run("apply", tmp_path / "s" / "02", photo, "-o", tmp_path / "out.png").code == 0
    kept = run("mix", "--from-to", edits / "a", edits / "b", "--steps", 2, "-o", tmp_path / "s")
    assert kept.code == 2 and "add --overwrite" in kept.error and (tmp_path / "s" / "03").is_dir()
    assert (
        run("mix", "--from-to", edits / "a", edits / "b", "--steps", 2, "-o", tmp_path / "s", "--overwrite").code == 0
    )
    assert not (tmp_path / "s" / "03").exists()


def test_mistakes_cost_one_line_and_leave_nothing(run, edits, world, tmp_path):
    base, out = world / "zoo" / "base" / "generator.safetensors", tmp_path / "out"
    a, b = edits / "a", edits / "b"
    for arguments, message in (
        ((), "nothing to mix"),
        ((a, f"{b}:1"), "has no weight"),
        ((f"{a}:much",), "is no weight"),
        ((f"{tmp_path}/absent:1",), "no such adapter"),
        ((f"{base}:1",), "whose weights do not add up"),
        ((f"{a}:1", f"{base}:1"), "mix adapters, or solved generators"),
        ((f"{a}:1", "--steps", 3), "--steps is an option of --from-to"),
        ((f"{a}:1", "--from-to", a, b), "takes two adapters and no others"),
        (("--from-to", a, b, "--steps", 1), "change --steps"),
    ):
        refused = run("mix", *arguments, "-o", out)
        assert refused.code == 2 and message in refused.error and not out.exists(), refused.err


def test_adapters_of_two_bases_are_refused(run, step, edits, tmp_path):
    from tests.weightgen.tiny_world import make_model, make_zoo
    from zoo.adapters.lora import load_base, save_base

    zoo = make_zoo(tmp_path / "zoo")
    file = zoo / "base" / "generator.safetensors"
    save_base(file, load_base(file), {"another": "base"})
    make_model(tmp_path / "model", zoo)
    step("generate", "a red look", "--model", tmp_path / "model", "-o", tmp_path / "c")
    refused = run("mix", f"{edits}/a:1", f"{tmp_path}/c:1", "-o", tmp_path / "out")
    assert refused.code == 2 and "mix adapters of one base" in refused.error

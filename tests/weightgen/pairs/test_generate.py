"""From pairs to a network: order, sizes and number of pairs are free, and it is no worse than the closed form."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.weightgen.tiny_world import SOLVED, make_model, make_paired_model, make_zoo
from weightgen.model_folder import load_model_folder
from weightgen.model_roles import PAIRED
from weightgen.pairs import closed_form
from weightgen.pairs.closed_form import sampled, thinned
from weightgen.pairs.generate import CLOSED_FORM, LEAD, WAYS, PairReader, shares_of_ways
from zoo.errors import WeightzooError

EMBEDDED = Path(__file__).parents[3] / "weightgen/embedded/weightzoo-small"
SIZES = ((24, 24), (20, 31), (40, 18), (17, 29), (24, 24))


def pictures(count=5, seed=0):
    """Pairs of several sizes whose targets are dark and without red."""
    generator = torch.Generator().manual_seed(seed)
    sources = [torch.rand(3, *SIZES[k % len(SIZES)], generator=generator) for k in range(count)]
    return [(source, source * torch.tensor([0.1, 0.5, 0.4])[:, None, None]) for source in sources]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model that reads pairs, with random weights."""
    root = tmp_path_factory.mktemp("pairs")
    return make_paired_model(root / "paired", make_zoo(root / "zoo", SOLVED))


@pytest.fixture(scope="module")
def reader(folder):
    return PairReader(load_model_folder(folder))


def read(reader, pairs):
    pixels = sampled(reader.base, pairs, 0)
    return reader.read(pixels)


def test_a_model_folder_keeps_the_reading(folder, reader):
    again = PairReader(load_model_folder(folder))
    assert torch.equal(again.pairs.root, reader.pairs.root)
    assert torch.equal(read(again, pictures()).blocks, read(reader, pictures()).blocks)


def test_the_order_of_the_pairs_does_not_matter(reader):
    pairs = pictures()
    pixels = sampled(reader.base, pairs, 0)
    one, other = reader.read(pixels), reader.read(pixels[::-1])
    torch.testing.assert_close(one.blocks, other.blocks, atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(one.facts, other.facts, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("count", [1, 7, 300])
def test_the_pixels_that_are_looked_at_are_those_that_all_would_be_thinned_to(reader, count, monkeypatch):
    monkeypatch.setattr(closed_form, "MAX_PIXELS", 1000)
    pairs, most = pictures(count), 270
    expected = thinned(sampled(reader.base, pairs, 0), most)
    found = sampled(reader.base, pairs, 0, most)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.maps, other.maps) and torch.equal(one.targets, other.targets)
        torch.testing.assert_close(one.features, other.features, rtol=0, atol=1e-6)
    assert sum(len(part.targets) for part in found) <= max(most, count)
    assert [len(part.targets) for part in thinned(found, most)] == [len(part.targets) for part in found]


def test_a_start_from_more_pixels_is_that_of_the_pictures(reader):
    sources = torch.rand(5, 3, 70, 80, generator=torch.Generator().manual_seed(0))  # of more pixels than are solved on
    pairs = [(source, source.flip(0).square()) for source in sources]
    made = reader.generate(pairs)
    start = reader.start(sampled(reader.base, pairs, 0), (), closed_form.scale_of(pairs))
    assert start.shares == made.shares and start.left_out == made.left_out
    torch.testing.assert_close(start.generator.layer, made.generator.layer, rtol=0, atol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 5, 9])
@pytest.mark.parametrize("prompts", [(), ("make it dark", "a dark look")])
def test_any_number_of_pairs_with_and_without_words(reader, count, prompts):
    pairs = pictures(count)
    made = reader.generate(pairs, prompts)
    assert made.by in WAYS
    for source, target in pictures(2, seed=9):
        edited = made.generator(source[None])[0]
        assert edited.shape == target.shape
        assert (edited - target).abs().mean() < (source - target).abs().mean()


def test_what_is_worse_than_the_closed_form_on_left_out_pairs_is_not_handed_over(reader, monkeypatch):
    pairs = pictures(8)
    good = reader.generate(pairs)
    adapter = type(reader).adapter

    def spoilt(self, edits, prompts):
        return {name: torch.full_like(value, float("nan")) for name, value in adapter(self, edits, prompts).items()}

    monkeypatch.setattr(type(reader), "adapter", spoilt)
    made = reader.generate(pairs)
    assert made.by == CLOSED_FORM
    assert made.left_out[CLOSED_FORM] == good.left_out[CLOSED_FORM]
    source, target = pictures(1, seed=3)[0]
    assert (made.generator(source[None])[0] - target).abs().mean() < 0.1


@pytest.mark.parametrize(
    "pairs",
    {
        "one pixel": [(torch.full((3, 1, 1), 0.5), torch.full((3, 1, 1), 0.2))],
        "nothing changes": [(source, source) for source, _ in pictures(3)],
        "one colour": [(torch.full((3, 20, 20), 0.3), torch.full((3, 20, 20), 0.9))],
        "shuffled": [(source, torch.rand_like(source)) for source, _ in pictures(4)],
    }.items(),
    ids=lambda item: item[0],
)
def test_pairs_that_say_little_give_a_bounded_network(reader, pairs):
    made = reader.generate(pairs[1])
    edited = made.generator(pictures(1, seed=7)[0][0][None])
    assert edited.isfinite().all()
    assert edited.abs().max() < 5


def test_a_thousand_pairs(reader):
    made = reader.generate(pictures(1000))
    source, target = pictures(1, seed=7)[0]
    assert (made.generator(source[None])[0] - target).abs().mean() < 0.05


@pytest.mark.parametrize("errors", [{PAIRED: 0.01, CLOSED_FORM: 0.05}, {PAIRED: 0.012, CLOSED_FORM: 0.01}])
def test_each_network_is_made_once_and_only_where_it_is_used(reader, monkeypatch, errors):
    calls = []
    networks = type(reader).networks

    def counted(self, ways, layers, image_size):
        calls.extend(layers)
        return networks(self, ways, layers, image_size)

    monkeypatch.setattr(type(reader), "networks", counted)
    shares = shares_of_ways(errors)
    monkeypatch.setattr("weightgen.pairs.generate.shares_of_ways", lambda found: shares)
    start = reader.generate(pictures(8))
    assert calls == list(shares)
    made = start.made()
    assert list(made)[0] == start.by and made[start.by] is start.generator and set(made) == set(WAYS)
    assert sorted(calls) == sorted(WAYS)


@pytest.mark.parametrize("count", [2, 6])
def test_a_start_is_the_mean_of_both_ways(reader, monkeypatch, count):
    shares = {PAIRED: 0.75, CLOSED_FORM: 0.25}
    monkeypatch.setattr("weightgen.pairs.generate.shares_of_ways", lambda errors: shares)
    pixels = sampled(reader.base, pictures(count), 0)
    start = reader.start(pixels, (), 24)
    source = pictures(1, seed=3)[0][0][None]
    ways = reader.ways(pixels, ())
    folds = ways.folds()
    layers = ways.layers(ways.choices(folds), shares, folds.total)
    generated, closed_form = (network(source) for network in reader.networks(ways, layers, 24).values())
    torch.testing.assert_close(start.generator(source), 0.75 * generated + 0.25 * closed_form, atol=1e-3, rtol=0)
    again = start.remake(pixels[:2])
    assert list(again) == [PAIRED, CLOSED_FORM] and again[PAIRED](source).isfinite().all()


@pytest.mark.parametrize("count", [2, 6])
def test_the_closed_form_of_a_start_is_that_of_the_bank_alone(reader, monkeypatch, count):
    monkeypatch.setattr("weightgen.pairs.generate.shares_of_ways", lambda errors: {CLOSED_FORM: 1.0})
    pixels = sampled(reader.base, pictures(count), 0)
    found, alone = reader.start(pixels, (), 24), closed_form.start_of(reader.prior_network(24), pixels)
    assert found.choice == alone.choice
    torch.testing.assert_close(found.generator.layer, alone.generator.layer, atol=1e-5, rtol=0)


def test_other_pairs_may_be_read_in_the_place_of_these(reader):
    right, wrong = (sampled(reader.base, pictures(4, seed), 0) for seed in (0, 5))
    found, expected = reader.ways(right, (), wrong), reader.ways(right, ())
    other = reader.adapter(reader.read(wrong), ())
    assert torch.equal(found.rows[0][1], expected.rows[0][1]) and not torch.equal(found.rows[0][0], expected.rows[0][0])
    hidden = reader.reading.hidden(right[0].maps, {name: value[None] for name, value in other.items()})[0]
    assert torch.equal(found.rows[0][0][:, -hidden.shape[1] :], hidden)


def test_the_better_way_weighs_more_and_what_is_no_number_nothing():
    assert shares_of_ways({PAIRED: 0.01, CLOSED_FORM: 0.1}) == {PAIRED: 1.0}
    assert shares_of_ways({PAIRED: 0.1, CLOSED_FORM: 0.01}) == {CLOSED_FORM: 1.0}
    assert shares_of_ways({PAIRED: 0.03 * LEAD, CLOSED_FORM: 0.03}) == {PAIRED: 0.5, CLOSED_FORM: 0.5}
    for unknown in (float("nan"), float("inf")):
        assert shares_of_ways({PAIRED: unknown, CLOSED_FORM: 0.5}) == {CLOSED_FORM: 1.0}
        assert shares_of_ways({PAIRED: 0.5, CLOSED_FORM: unknown}) == {PAIRED: 1.0}


def test_without_words_no_text_is_encoded(reader, monkeypatch):
    edits = read(reader, pictures())
    dropped = reader.encoder.encode(["nothing"]).drop(torch.tensor([True]))
    monkeypatch.setattr("weightgen.pairs.generate.no_text", lambda width: dropped)
    expected = reader.adapter(edits, ())
    monkeypatch.undo()
    monkeypatch.setattr(type(reader), "encoder", None)
    found = reader.adapter(edits, ())
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_start_loads_neither_compiler_nor_text_encoder():
    code = f"""
import sys, torch
from weightgen.model_folder import load_model_folder
from weightgen.pairs.generate import PairReader
PairReader(load_model_folder({str(EMBEDDED)!r})).generate([(torch.rand(3, 8, 8), torch.rand(3, 8, 8))])
print(*{{"torch._dynamo", "sympy", "tokenizers", "diffusers"}} & set(sys.modules))
"""
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert not loaded.strip()


def test_a_model_that_reads_text_alone_is_refused(tmp_path):
    model = load_model_folder(make_model(tmp_path / "model", make_zoo(tmp_path / "zoo", SOLVED)))
    with pytest.raises(WeightzooError, match="reads no pairs; use"):
        PairReader(model)
    assert model.denoiser.pairs is None


def test_the_pipeline_takes_pairs(folder, reader):
    from weightgen.sampling import WeightDiffusionPipeline

    pipe, pairs = WeightDiffusionPipeline.from_pretrained(folder), pictures(3)
    made = pipe("make it dark", pairs=pairs)
    expected = reader.generate(pairs, ["make it dark"])
    assert made.by == expected.by and torch.equal(made.generator.layer, expected.generator.layer)
    for arguments, message in (
        ({"pairs": []}, "no pairs"),
        ({"pairs": [(pairs[0][0], pairs[1][0])]}, "the two of pair 1 are"),
        ({"pairs": pairs, "num_networks": 2}, "leave the other arguments out"),
        ({}, "a prompt, pairs, or both"),
    ):
        with pytest.raises(WeightzooError, match=message):
            pipe(**arguments)

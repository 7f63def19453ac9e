"""Networks of a concept's example pairs: each method reads what its name says."""

from types import SimpleNamespace

import pytest
import torch

from tests.weightgen.tiny_world import SOLVED, make_paired_model, make_zoo
from weightgen.evaluation.grid import FROM_PAIRS, PAIR_METHODS
from weightgen.evaluation.pair_methods import network_of_pairs, reader_of
from weightgen.finetuning import closed_forms
from weightgen.pairs.generate import CLOSED_FORM, PairReader
from zoo.concepts import Concept


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    """All that the methods ask of an evaluation: a model that reads pairs, and the words of a concept."""
    root = tmp_path_factory.mktemp("methods")
    model = make_paired_model(root / "paired", make_zoo(root / "zoo", SOLVED))
    concept = Concept("dark", "make it dark", ("a dark look",))
    held_out = SimpleNamespace(concept=lambda name: concept)
    return SimpleNamespace(held_out=held_out, origins=SimpleNamespace(models={"paired": str(model)}))


def pictures(count, seed=0):
    sources = torch.rand(count, 3, 24, 24, generator=torch.Generator().manual_seed(seed))
    return [(source, source * 0.5) for source in sources]


@pytest.mark.parametrize("method", PAIR_METHODS)
def test_every_method_gives_a_network_that_does_the_edit(context, method, monkeypatch):
    monkeypatch.setattr(closed_forms, "STEPS", 3)
    generator = network_of_pairs(context, method, "dark", pictures(4))
    ((source, target),) = pictures(1, seed=1)
    assert (generator(source[None])[0] - target).abs().mean() < 0.1


def test_methods_read_what_their_names_say(context, monkeypatch):
    """Words reach the generator where the name has them, and shuffled pairs give another description."""
    texts, read = [], []
    adapter, describe = PairReader.adapter, PairReader.read
    monkeypatch.setattr(PairReader, "adapter", lambda self, edits, t: texts.append(list(t)) or adapter(self, edits, t))
    monkeypatch.setattr(PairReader, "read", lambda self, pixels: read.append(describe(self, pixels)) or read[-1])
    seen = {}
    for method in FROM_PAIRS[:3]:
        texts.clear(), read.clear()
        network_of_pairs(context, method, "dark", pictures(3))
        seen[method] = texts[0], read[0].blocks
    assert seen["pairs-and-words"][0] == seen["pairs-shuffled"][0] == ["a dark look"] and seen["pairs"][0] == []
    assert torch.equal(seen["pairs-and-words"][1], seen["pairs"][1])
    assert not torch.allclose(seen["pairs"][1], seen["pairs-shuffled"][1], atol=0.1)


def test_the_reader_is_opened_once(context):
    model = context.origins.models["paired"]
    assert reader_of(model) is reader_of(model)
    assert CLOSED_FORM in PAIR_METHODS

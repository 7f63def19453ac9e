"""Mixtures: parts of one base or bank add up exactly, in any order, and what does not add up is refused."""

from dataclasses import replace
from fractions import Fraction
from itertools import permutations

import pytest
import torch

from tests.zoo.adapters.test_peft_format import base_and_adapter
from zoo.adapters.lora import load_adapter, load_generator
from zoo.adapters.mix import mix_adapters, open_parts, write_series
from zoo.adapters.mix_solved import check_one_bank, mix_solved
from zoo.adapters.weighted_sum import read_part, series, weighted
from zoo.config import to_dict
from zoo.errors import WeightzooError
from zoo.files import write_json
from zoo.gans.solved import SolvedConfig
from zoo.tensors import write_tensors

HALF, ONE = Fraction(1, 2), Fraction(1)
SMALL = SolvedConfig(4, 5, 6, 3, image_size=48, hidden=4)


def adapters(count: int):
    base, adapter = base_and_adapter()
    noise = torch.Generator().manual_seed(1)
    more = [
        {name: value + torch.randn(value.shape, generator=noise) * 0.1 for name, value in adapter.items()}
        for _ in range(count - 1)
    ]
    return base, [adapter, *more]


def solved(seed: int, branches: tuple[str, ...] = (), config: SolvedConfig = SMALL):
    torch.manual_seed(0)
    shared = config.build()  # one bank for all
    torch.manual_seed(seed)
    generator = replace(config, branches=branches).build().requires_grad_(False).eval()
    generator.bank.load_state_dict(shared.bank.state_dict())
    generator.layer.normal_(std=0.1)
    return generator


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_whole_and_the_halves_of_an_adapter_are_the_adapter():
    base, [adapter, _] = adapters(2)
    tiny = {name: value * 1e-30 for name, value in adapter.items()}  # lost beside the base, were it added to it
    for part in (adapter, tiny):
        assert same(mix_adapters(base, [(part, ONE)]), part)
        assert same(mix_adapters(base, [(part, HALF), (part, HALF)]), part)
        assert same(mix_adapters(base, [(part, Fraction(1, 10))] * 10), part)


def test_halves_of_two_adapters_are_their_mean():
    base, parts = adapters(2)
    mixture = mix_adapters(base, [(part, HALF) for part in parts])
    for name, value in mixture.items():
        mean = torch.stack([part[name].double() for part in parts]).mean(0)
        assert torch.equal(value, mean.float())


def test_deviations_add():
    base, parts = adapters(2)
    start = {name: base.state_dict()[name] for name in parts[0]}
    mixture = mix_adapters(base, [(parts[0], Fraction("0.7")), (parts[1], Fraction("-0.4"))])
    for name, value in mixture.items():
        expected = start[name] + 0.7 * (parts[0][name] - start[name]) - 0.4 * (parts[1][name] - start[name])
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-6)


def test_the_order_does_not_change_a_bit():
    _, parts = adapters(3)
    weights = (Fraction(1, 3), Fraction("0.7"), Fraction("-0.21"))
    first, *others = [weighted(order) for order in permutations(zip(parts, weights, strict=True))]
    assert all(same(first, other) for other in others)


def test_a_series_goes_from_the_first_to_the_second():
    weights = series(9)
    assert weights[0] == (1, 0) and weights[-1] == (0, 1) and all(sum(pair) == 1 for pair in weights)
    for steps in (1, 0, -3, 10**9):
        with pytest.raises(WeightzooError, match="change --steps"):
            series(steps)


@pytest.mark.parametrize(("text", "weight"), [("a:0.7", "0.7"), ("x/a:b:1/3", "1/3"), ("a:-1e-1", "-0.1")])
def test_weights_are_exact(text, weight):
    path, found = read_part(text)
    assert found == Fraction(weight) and str(path) == text.rpartition(":")[0]


@pytest.mark.parametrize(
    "text",
    ["charcoal", ":0.5", "charcoal:", "charcoal:much", "charcoal:nan", "charcoal:1/0", "charcoal:11", "a:1e99999"],
)
def test_what_is_no_weight_is_refused(text):
    with pytest.raises(WeightzooError, match="weight"):
        read_part(text)


def test_solved_generators_add_up_as_their_pictures_do():
    parts = [solved(1, ("colour", "local")), solved(2, ("colour",)), solved(3)]
    weights = [Fraction("0.7"), Fraction("0.5"), Fraction("-0.4")]
    mixture = mix_solved(list(zip(parts, weights, strict=True)))
    photographs = torch.rand(2, 3, 40, 52)
    expected = photographs.clone()
    for part, weight in zip(parts, weights, strict=True):
        expected += float(weight) * (part(photographs) - photographs)
    torch.testing.assert_close(mixture(photographs), expected, rtol=0, atol=1e-4)
    assert mixture.config.branches == ("colour", "colour", "local")
    for order in permutations(zip(parts, weights, strict=True)):
        assert same(mix_solved(order).state_dict(), mixture.state_dict())


def test_the_halves_of_a_solved_generator_are_the_generator():
    part, other = solved(1, ("colour", "local")), solved(2, ("whole",))
    for mixture in (mix_solved([(part, ONE)]), mix_solved([(part, HALF), (other, Fraction(0)), (part, HALF)])):
        assert mixture.config == part.config and same(mixture.state_dict(), part.state_dict())
    again = mix_solved([(mix_solved([(part, HALF), (other, HALF)]), HALF), (part, HALF)])
    assert again.config.branches == ("colour", "local", "whole")  # those of `part` stand once


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (replace(SMALL, image_size=64), "at 48 pixels and b at 64"),
        (replace(SMALL, colour=5), "other features"),
        (replace(SMALL, hidden=5, branches=("whole",)), "width"),
    ],
)
def test_solved_generators_that_do_not_add_up_are_refused(config, message):
    with pytest.raises(WeightzooError, match=message):
        check_one_bank([("a", solved(1, ("colour",))), ("b", solved(2, config.branches, config))])


def test_a_mixture_on_disk_is_what_was_mixed(tmp_path):
    parts = [solved(1, ("colour",)), solved(2)]
    for name, part in zip("ab", parts, strict=True):
        write_tensors(tmp_path / name / "generator.safetensors", part.state_dict())
        write_json(tmp_path / name / "config.json", {"gan": "solved", "config": to_dict(part.config), "prompt": ""})
    mixable = open_parts([tmp_path / "a", tmp_path / "b"])
    folders = write_series(mixable, 3, tmp_path / "series")
    assert [folder.name for folder in folders] == ["01", "02", "03"]
    loaded = [load_generator(folder) for folder in folders]
    assert same(loaded[0].state_dict(), parts[0].state_dict()) and same(loaded[2].state_dict(), parts[1].state_dict())
    assert same(loaded[1].state_dict(), mix_solved([(parts[0], HALF), (parts[1], HALF)]).state_dict())


def test_an_adapter_of_the_mixture_edits_as_the_mixture(tmp_path):
    base, parts = adapters(2)
    mixture = mix_adapters(base, [(parts[0], Fraction(2)), (parts[1], Fraction(-1))])
    images = torch.rand(1, 3, 24, 24)
    assert load_adapter(base, mixture)(images).isfinite().all()

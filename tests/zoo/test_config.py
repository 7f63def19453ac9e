"""Configs go to JSON and back unchanged; whatever does not fit is named."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from zoo.config import changed, changed_by, config_diff, from_dict, load_config, save_config, to_dict
from zoo.errors import WeightzooError


@dataclass(frozen=True)
class Inner:
    channels: tuple[int, ...] = (16, 32)
    rate: float = 1e-3


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner = field(default_factory=Inner)
    limit: int | None = None
    shape: tuple[int, int] = (1, 2)
    extra: dict[str, Any] = field(default_factory=dict)
    fast: bool = False


def test_round_trip(tmp_path):
    config = Outer("small", Inner((1, 2, 3), 2.0), 5, (3, 4), {"a": [1, {"b": None}]}, True)
    assert from_dict(Outer, to_dict(config)) == config
    save_config(tmp_path / "config.json", config)
    assert load_config(Outer, tmp_path / "config.json") == config


def test_only_what_is_given_changes(tmp_path):
    config = Outer("small", Inner((1, 2), 2.0), 5, extra={"a": {"b": 1, "c": 2}})
    assert changed(config, limit=None, shape=(3, 4)) == replace(config, shape=(3, 4))
    (tmp_path / "changes.json").write_text('{"inner": {"rate": 3.0}, "extra": {"a": {"b": 9}}, "limit": null}')
    expected = replace(config, inner=Inner((1, 2), 3.0), extra={"a": {"b": 9, "c": 2}}, limit=None)
    assert changed_by(config, tmp_path / "changes.json") == expected


def test_an_integer_is_a_float_but_a_boolean_is_no_integer():
    assert from_dict(Inner, {"rate": 1}).rate == 1.0
    with pytest.raises(WeightzooError, match="limit: expected int, got True"):
        from_dict(Outer, {"name": "x", "limit": True})
    with pytest.raises(WeightzooError, match="rate: 1000.* is too large a number"):
        from_dict(Inner, {"rate": 10**400})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "x", "ranks": 3}, "unknown key 'ranks'; known keys: extra, fast, inner"),
        ({"name": "x", "inner": {"rte": 3}}, "inner: unknown key 'rte'"),
        ({}, "key 'name' is missing"),
        ({"name": 3}, "name: expected str, got 3"),
        ({"name": "x", "inner": {"channels": [1, "a"]}}, r"inner.channels\[1\]: expected int, got 'a'"),
        ({"name": "x", "shape": [1, 2, 3]}, "shape: expected 2 values, got 3"),
        ([], "expected an object with keys"),
    ],
)
def test_what_does_not_fit_is_named(values, message):
    with pytest.raises(WeightzooError, match=message):
        from_dict(Outer, values)


def test_a_broken_file_is_named(tmp_path):
    path = tmp_path / "config.json"
    with pytest.raises(WeightzooError, match="does not exist"):
        load_config(Outer, path)
    path.write_text("{")
    with pytest.raises(WeightzooError, match="config.json is not valid JSON"):
        load_config(Outer, path)
    path.write_text('{"nme": 1}')
    with pytest.raises(WeightzooError, match="config.json: Outer: unknown key 'nme'"):
        load_config(Outer, path)


def test_the_difference_of_two_configs_is_readable():
    diff = config_diff(Outer("a"), Outer("a", Inner(rate=1.0), limit=3))
    assert diff.splitlines() == ["inner.rate: 0.001 -> 1.0", "limit: None -> 3"]
    assert config_diff(Outer("a"), Outer("a")) == ""

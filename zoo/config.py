"""Configurations: plain dataclasses <-> JSON, where an unknown key is an error.

`to_dict` and `from_dict` are exact inverses for (nested) dataclasses of numbers, strings, booleans,
`None`, tuples, lists and dicts.
"""

import dataclasses
import sys
import types
import typing
from typing import Any, TypeVar

from zoo.errors import WeightzooError
from zoo.files import PathLike, read_json, write_json

T = TypeVar("T")


def to_dict(cfg: Any) -> Any:
    """Turn a dataclass (nested ones, tuples, dicts) into what JSON can hold."""
    if dataclasses.is_dataclass(cfg) and not isinstance(cfg, type):
        return {field.name: to_dict(getattr(cfg, field.name)) for field in dataclasses.fields(cfg)}
    if isinstance(cfg, dict):
        return {str(key): to_dict(value) for key, value in cfg.items()}
    if isinstance(cfg, (tuple, list)):
        return [to_dict(value) for value in cfg]
    return cfg


def from_dict(cls: type[T], d: Any, where: str = "") -> T:
    """Build the dataclass `cls` from `d`; keys that are absent keep their defaults.

    Raises:
        WeightzooError: an unknown key, a missing key without default, or a value of the wrong type.
    """
    name = where or cls.__name__
    if not isinstance(d, dict):
        raise WeightzooError(f"{name}: expected an object with keys, got {d!r}; see the presets")
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(d) - set(fields))
    if unknown:
        raise WeightzooError(f"{name}: unknown key {unknown[0]!r}; known keys: {', '.join(sorted(fields))}")
    absent = [field for key, field in fields.items() if key not in d]
    missing = [f.name for f in absent if f.default is f.default_factory is dataclasses.MISSING]
    if missing:
        raise WeightzooError(f"{name}: key {missing[0]!r} is missing; add it")
    prefix = f"{where}." if where else ""
    values = {key: _convert(hints[key], value, f"{prefix}{key}") for key, value in d.items()}
    return cls(**values)


def load_config(cls: type[T], path: PathLike) -> T:
    """Read a config file written by :func:`save_config`."""
    try:
        return from_dict(cls, read_json(path))
    except WeightzooError as error:
        raise WeightzooError(str(error) if str(path) in str(error) else f"{path}: {error}") from None


def changed(cfg: T, **values: Any) -> T:
    """Return `cfg` with the values that were given, which is those that are not `None`."""
    given = {name: value for name, value in values.items() if value is not None}
    return dataclasses.replace(cfg, **given)  # type: ignore[type-var]


def changed_by(cfg: T, path: PathLike) -> T:
    """Return `cfg` with the keys of a JSON file in place of its own, also those of nested dataclasses.

    Raises:
        WeightzooError: a key or type that the config does not have.
    """
    changes = read_json(path)
    if not isinstance(changes, dict):
        raise WeightzooError(f"{path} holds no JSON object; give keys and values as in a run's config.json")
    try:
        return from_dict(type(cfg), _merged(to_dict(cfg), changes))
    except WeightzooError as error:
        raise WeightzooError(f"{path}: {error}") from None


def save_config(path: PathLike, cfg: Any) -> None:
    """Write a dataclass as JSON, atomically."""
    write_json(path, to_dict(cfg))


def config_diff(a: Any, b: Any) -> str:
    """Return one readable line `key: old -> new` for each value that differs; empty when equal."""
    flat_a, flat_b = _flatten(to_dict(a)), _flatten(to_dict(b))
    lines = []
    for key in sorted(set(flat_a) | set(flat_b)):
        old, new = flat_a.get(key, "(absent)"), flat_b.get(key, "(absent)")
        if old != new:
            lines.append(f"{key}: {old} -> {new}")
    return "\n".join(lines)


def _merged(values: Any, changes: Any) -> Any:
    """Return nested `values` with `changes` in their place."""
    if not (isinstance(values, dict) and isinstance(changes, dict)):
        return changes
    return values | {key: _merged(values.get(key), change) for key, change in changes.items()}


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        return {prefix or "value": value}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat.update(_flatten(item, f"{prefix}.{key}" if prefix else str(key)))
    return flat


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Check `value` against the type `hint` and return it in that type."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _convert_union(args, value, where)
    if origin is typing.Literal:
        if value in args:
            return value
        raise WeightzooError(f"{where}: {value!r} is not one of {', '.join(map(repr, args))}")
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else from_dict(hint, value, where)  # type: ignore[arg-type]
    if origin in (tuple, list):
        return _convert_sequence(origin, args, value, where)
    if origin is dict:
        _check(value, dict, where)
        return {key: _convert(args[1], item, f"{where}.{key}") for key, item in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > sys.float_info.max:
            raise WeightzooError(f"{where}: {str(value)[:20]}... is too large a number; write a smaller one")
        return float(value)
    _check(value, type(None) if hint is None else hint, where)
    return value


def _convert_union(args: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in args:
        return None
    error: WeightzooError | None = None
    for hint in args:
        if hint is type(None):
            continue
        try:
            return _convert(hint, value, where)
        except WeightzooError as failure:
            error = failure
    raise error or WeightzooError(f"{where}: {value!r} does not fit")


def _convert_sequence(origin: type, args: tuple[Any, ...], value: Any, where: str) -> Any:
    if not isinstance(value, (list, tuple)):
        raise WeightzooError(f"{where}: expected a list, got {value!r}")
    if origin is list or (len(args) == 2 and args[1] is Ellipsis):
        hints: tuple[Any, ...] = (args[0],) * len(value)
    else:
        hints = args
    if len(hints) != len(value):
        raise WeightzooError(f"{where}: expected {len(hints)} values, got {len(value)}")
    pairs = enumerate(zip(hints, value, strict=True))
    return origin(_convert(hint, item, f"{where}[{i}]") for i, (hint, item) in pairs)


def _check(value: Any, kind: Any, where: str) -> None:
    wrong_bool = isinstance(value, bool) and kind in (int, float)
    if wrong_bool or not isinstance(value, kind):
        raise WeightzooError(f"{where}: expected {getattr(kind, '__name__', kind)}, got {value!r}")

"""Shards from strangers: whatever is wrong with them ends in one clear error, before anything of its size is made."""

import io
import json
import os
import pickle  # noqa: TID251 - to make the files that must not be loaded
import resource
import struct
import tarfile
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
import torch

from tests.zoo.test_format_document import golden_record, metadata
from zoo.adapters.lora import load_base, load_generator
from zoo.config import to_dict
from zoo.errors import WeightzooError
from zoo.files import write_json
from zoo.gans import GANS
from zoo.gans.e2gan import E2ganConfig
from zoo.records import RECORDS_KEY, arrow_schema
from zoo.shards import read_shard, webdataset
from zoo.tensors import load_discriminator, read_tensors, write_tensors
from zoo.verify import verify_shard

GOLDEN = Path(__file__).parent.parent / "data"
TAR, PARQUET = GOLDEN / "train-00000-of-00001.tar", GOLDEN / "train-00000-of-00001.parquet"


class Bomb:
    """Unpickling one of these leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def members() -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(TAR) as tar:
        return [(info, tar.extractfile(info).read()) for info in tar]


def write_tar(path: Path, parts: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in parts:
            tar.addfile(info, io.BytesIO(data))
    return path


def info(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size, made.type, made.linkname = size, kind, link
    return made


def refused(path: Path, match: str = "truncated or corrupt") -> str:
    with pytest.raises(WeightzooError, match=match) as error:
        list(read_shard(path)[0])
    assert verify_shard(path)
    return str(error.value)


HOSTILE_MEMBERS = {
    "dots": (info("../evil.json", 2), b"{}"),
    "absolute": (info("/tmp/evil.json", 2), b"{}"),
    "folder": (info("a/evil.json", 2), b"{}"),
    "hidden": (info(".evil.json", 2), b"{}"),
    "backslash": (info("..\\evil.json", 2), b"{}"),
    "symbolic link": (info("evil.json", 0, tarfile.SYMTYPE, "/etc/passwd"), b""),
    "hard link": (info("evil.json", 0, tarfile.LNKTYPE, "invert.json"), b""),
    "device": (info("evil.json", 0, tarfile.CHRTYPE), b""),
    "pipe": (info("evil.json", 0, tarfile.FIFOTYPE), b""),
    "directory": (info("evil.json", 0, tarfile.DIRTYPE), b""),
    "sparse": (info("evil.json", 0, tarfile.GNUTYPE_SPARSE), b""),
    "other kind": (info("invert.pth", 2), b"{}"),
    "long": (info("a" * 5000 + ".json", 2), b"{}"),
    "two": (info("more.json", 2), b"{}"),
}


@pytest.mark.parametrize("name", HOSTILE_MEMBERS)
@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_tar_members_that_no_shard_has(tmp_path, name, place):
    parts = members()
    parts.insert(place, HOSTILE_MEMBERS[name])
    before = set(tmp_path.parent.iterdir())
    refused(write_tar(tmp_path / "x.tar", parts))
    assert set(tmp_path.parent.iterdir()) == before


def header(size: int, name: str = "__weightzoo__", kind: bytes = tarfile.REGTYPE) -> bytes:
    made = info(name, 0, kind)
    made.size = size
    return made.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    "kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME]
)
@pytest.mark.parametrize("size", [1 << 40, (1 << 62) + 1, -1, 1 << 20])
def test_sizes_that_a_tar_does_not_have(tmp_path, kind, size):
    path = tmp_path / "x.tar"
    path.write_bytes(header(size, kind=kind) + bytes(2048))
    tracemalloc.start()
    refused(path)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def with_metadata(**changes: object) -> list[tuple[tarfile.TarInfo, bytes]]:
    parts = members()
    values = json.loads(parts[0][1])
    layout = json.loads(values["weightzoo.layout"])
    values["weightzoo.layout"] = json.dumps(layout | changes)
    data = json.dumps(values).encode()
    return [(info("__weightzoo__", len(data)), data), *parts[1:]]


@pytest.mark.parametrize(
    "changes",
    [
        {"block_size": 1 << 40},
        {"block_size": -4},
        {"block_size": "4"},
        {"slots": []},
        {"slots": [{"name": "a", "layer": "a", "shape": [1 << 62, 1 << 62]}]},
        {"slots": [{"name": "a", "layer": "a", "shape": [2.5]}]},
        {"slots": [{"name": "a", "layer": "a", "shape": [[1]]}]},
        {"slots": [{"name": 1, "layer": "a", "shape": [1]}]},
        {
            "slots": [{"name": str(i), "layer": str(i), "shape": [1]} for i in range(2000)],
            "block_size": 1 << 20,
        },
        {"slots": 3},
    ],
    ids=str,
)
def test_layouts_that_no_record_has(tmp_path, changes):
    refused(write_tar(tmp_path / "x.tar", with_metadata(**changes)), "no readable layout")


def test_deeply_nested_json(tmp_path):
    parts = members()
    deep = b"[" * 100_000 + b"]" * 100_000
    refused(write_tar(tmp_path / "x.tar", [(info("__weightzoo__", len(deep)), deep), *parts[1:]]))
    deep = b'{"a":' * 50_000 + b"1" + b"}" * 50_000
    refused(write_tar(tmp_path / "y.tar", [parts[0], (info("invert.json", len(deep)), deep), parts[2]]))


def record_tar(tmp_path: Path, weights: bytes, **changes: object) -> Path:
    import hashlib

    parts = members()
    row = json.loads(parts[1][1]) | {"sha256": hashlib.sha256(weights).hexdigest()} | changes
    text = json.dumps(row).encode()
    record = [(info("invert.json", len(text)), text), (info("invert.safetensors", len(weights)), weights)]
    return write_tar(tmp_path / "x.tar", [parts[0], *record])


def lying_safetensors(offsets: list[int], shape: list[int], dtype: str = "F16") -> bytes:
    text = json.dumps({"blocks": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}).encode()
    return struct.pack("<Q", len(text)) + text + bytes(32)


@pytest.mark.parametrize(
    "weights",
    [
        lying_safetensors([0, 1 << 40], [1 << 39]),
        lying_safetensors([0, 32], [1 << 39]),
        lying_safetensors([0, 32], [-1, 4]),
        lying_safetensors([0, 32], [4, 2], "F32"),
        struct.pack("<Q", 1 << 60) + bytes(32),
        safetensors.numpy.save({"blocks": np.zeros((4, 4), "<f2"), "more": np.zeros(4)}),
        safetensors.numpy.save({"other": np.zeros((4, 4), "<f2")}),
        safetensors.numpy.save({"blocks": np.zeros((5, 4), "<f2")}),
        pickle.dumps({"blocks": 1}),
    ],
    ids=range(9),
)
def test_weights_that_are_none(tmp_path, weights):
    refused(record_tar(tmp_path, weights))
    path = tmp_path / "x.safetensors"
    path.write_bytes(weights)
    with pytest.raises(WeightzooError):
        load_discriminator(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"concept_id": "../../evil"},
        {"concept_id": 3},
        {"prompt": None},
        {"paraphrases": 3},
        {"attributes": {}},
        {"attributes": []},
        {"attributes": "[]"},
        {"attributes": "[" * 100_000},
        {"step": "many"},
        {"attributes": '{"x": NaN}'},
        {"attributes": '{"x": 1e999}'},
        {"attributes": '{"x": "\\ud800"}'},
        {"prompt": "\ud800"},
        {"metrics": {"l1": "low"}},
        {"metrics": {"l1": 10**400, "l1_copy": 1, "psnr": 1, "kid": 1}},
        {"seed": 1 << 63},
        {"step": 1 << 31},
        {"attempt": -(1 << 40)},
        {"surprise": 1},
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_texts_that_no_record_has(tmp_path, changes):
    good = members()[2][1]
    assert list(read_shard(record_tar(tmp_path, good))[0]) == [golden_record()[1]]
    refused(record_tar(tmp_path, good, **changes))


def write_parquet(path: Path, rows: int = 1, **options: object) -> Path:
    layout, _ = golden_record()
    row = pq.read_table(PARQUET).to_pylist()[0]
    row |= options.pop("row", {})
    schema = arrow_schema(layout, metadata(layout) | {RECORDS_KEY: str(rows)})
    table = pa.Table.from_pylist([row] * rows, schema)
    pq.write_table(table, path, **({"compression": "none", "use_dictionary": False} | options))
    return path


def test_parquet_that_grows_when_it_is_read(tmp_path):
    assert len(list(read_shard(write_parquet(tmp_path / "x.parquet", rows=3))[0])) == 3
    refused(write_parquet(tmp_path / "x.parquet", rows=200_000, use_dictionary=True), "do not fit into")
    refused(write_parquet(tmp_path / "x.parquet", compression="zstd"), "a compressed one")
    refused(
        write_parquet(tmp_path / "x.parquet", row={"prompt": "x" * (17 << 20)}),
        "the texts of prompt are larger",
    )


def test_parquet_texts_that_no_record_has(tmp_path):
    for row in ({"concept_id": "../evil"}, {"attributes": "[" * 100_000}, {"attributes": "[]"}):
        refused(write_parquet(tmp_path / "x.parquet", row=row))


def test_parquet_with_a_footer_that_lies(tmp_path):
    data = PARQUET.read_bytes()
    path, before = tmp_path / "x.parquet", pa.default_memory_pool().max_memory()
    for size in (0, 8, len(data), 1 << 30, (1 << 32) - 1):
        path.write_bytes(data[:-8] + struct.pack("<I", size) + b"PAR1")
        refused(path)
    assert pa.default_memory_pool().max_memory() - before < 64 << 20


@pytest.mark.parametrize("value", [np.nan, np.inf, 900.0])
def test_weights_that_must_not_be_used_are_flagged(tmp_path, value):
    blocks = np.full((4, 4), value, "<f2")
    (problem,) = verify_shard(record_tar(tmp_path, safetensors.numpy.save({"blocks": blocks})))
    assert "NaN or infinite" in problem or "beyond +-100" in problem
    (problem,) = verify_shard(write_parquet(tmp_path / "x.parquet", row={"blocks": blocks.tobytes()}))
    assert "NaN or infinite" in problem or "beyond +-100" in problem


def test_metrics_that_are_not_finite_are_flagged(tmp_path):
    path = write_parquet(
        tmp_path / "x.parquet", row={"metrics": {"l1": 1.0, "l1_copy": float("nan"), "psnr": 1.0, "kid": 0.0}}
    )
    assert "has a metric that is not finite" in verify_shard(path)[0]


def test_no_pickle_is_ever_loaded(tmp_path):
    bomb = pickle.dumps(Bomb(tmp_path / "exploded"))
    parts = members()
    for name in ("invert.pyd", "invert.pickle", "invert.pkl", "invert.pth", "invert.pt"):
        refused(write_tar(tmp_path / "x.tar", [*parts[:2], (info(name, len(bomb)), bomb)]))
    refused(record_tar(tmp_path, bomb))
    torch.save({"blocks": Bomb(tmp_path / "exploded")}, tmp_path / "x.pt")
    for suffix in (".pt", ".tar", ".parquet", ".safetensors"):
        path = (tmp_path / "x.pt").rename(tmp_path / f"y{suffix}")
        with pytest.raises(WeightzooError):
            read_tensors(path) if suffix == ".safetensors" else list(read_shard(path)[0])
        path.rename(tmp_path / "x.pt")
    assert not (tmp_path / "exploded").exists()
    assert set(webdataset.DECODERS) == {"__weightzoo__", ".json", ".safetensors"}


def test_no_source_file_loads_pickles():
    """``pickle`` itself is refused by the linter; these are the library calls that would unpickle."""
    root = Path(__file__).parents[2]
    for package in ("zoo", "pipeline", "weightgen", "cli"):
        for path in (root / package).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            for word in ("allow_pickle=True", "weights_only=False", "read_pickle", "to_pickle"):
                assert word not in text, f"{path} uses {word}"
            loads = [line for line in text.splitlines() if "torch.load(" in line]
            assert all("weights_only=True" in line for line in loads), f"{path} loads pickles"


@contextmanager
def memory_bound(num_bytes: int) -> Iterator[None]:
    """Whoever allocates more gets a MemoryError, or torch's RuntimeError."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


WIDE = {
    "e2gan": {"channels": [10**6] * 4, "groups": 8},
    "pix2pix": {"filters": 10**6},
    "solved": {"colour": 10**6, "branches": ["whole"], "hidden": 10**6},
}


@pytest.mark.parametrize("gan", GANS)
def test_a_base_that_asks_for_more_than_its_file(tmp_path, gan):
    """Compared with the file's header on the meta device: nothing of the config's size is ever made."""
    path = tmp_path / "generator.safetensors"
    for width in (10**4, 10**6, 10**30):
        values = json.loads(json.dumps(WIDE[gan]).replace("1000000", str(width)))
        write_tensors(path, {"a": torch.ones(1)}, {"gan": gan, "config": json.dumps(values)})
        write_json(tmp_path / "config.json", {"gan": gan, "config": values})
        for where in (path, tmp_path):
            with memory_bound(1 << 30), pytest.raises(WeightzooError, match="config"):
                load_generator(where)


def test_a_base_with_other_tensors_than_its_config(tmp_path):
    generator = E2ganConfig(channels=(4, 4, 8, 8), heads=2, groups=2).build()
    tensors, path = generator.state_dict(), tmp_path / "generator.safetensors"
    config = json.dumps(to_dict(generator.config))
    for changes, message in (
        ({"stem.bias": torch.ones(5)}, r"stem.bias has shape \[5\], not \[4\]"),
        ({"more": torch.ones(1)}, "more is unknown"),
        ({"stem.bias": None}, "stem.bias is missing"),
        ({"stem.bias": torch.full((4,), torch.nan)}, "stem.bias holds NaN"),
        ({"stem.bias": torch.ones(4).to(torch.float8_e4m3fn)}, "stem.bias is of type torch.float8"),
    ):
        changed = {name: value for name, value in (tensors | changes).items() if value is not None}
        write_tensors(path, changed, {"gan": "e2gan", "config": config})
        with pytest.raises(WeightzooError, match=message):
            load_base(path)
    for text in ("[" * 10**5, " " * 10**6, "{}}", '{"channels": "many"}'):
        write_tensors(path, tensors, {"gan": "e2gan", "config": text})
        with pytest.raises(WeightzooError):
            load_base(path)


def test_numbers_of_half_a_byte(tmp_path):
    """Torch gives a tensor of these and can do nothing with it."""
    text = json.dumps({"a": {"dtype": "F4", "shape": [8], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
    with pytest.raises(WeightzooError, match="not a readable safetensors file"):
        read_tensors(tmp_path / "x.safetensors")


def test_a_discriminator_that_asks_for_more_than_its_file(tmp_path):
    config = json.dumps(
        {"channels": [1 << 20, 1 << 20], "norm": "none", "last_stride": 2, "image_channels": 3}
    )
    path = tmp_path / "d.safetensors"
    write_tensors(path, {"a": torch.ones(1)}, {"discriminator": "patchgan", "config": config})
    with pytest.raises(WeightzooError, match="does not fit its own config"):
        load_discriminator(path)

"""Readers on damaged and hostile files: they give what is there or raise our error, quickly and within bounds.

The quick runs are part of the suite. The long one (``-m slow``) gives 100,000 inputs to a child process whose memory
is limited, so that a crash, a hang or a large allocation is seen.
"""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zoo.errors import WeightzooError
from zoo.files import write_json
from zoo.gans.patchgan import PatchGanConfig
from zoo.manifest import ShardEntry, ZooManifest, read_manifest
from zoo.shards import read_shard
from zoo.tensors import load_discriminator, save_discriminator

GOLDEN = Path(__file__).parent.parent / "data"
LONG_RUN = 100_000
MEMORY = 4 << 30  # address space that the long run may add: Arrow's allocator reserves arenas of a GiB


def shard_bytes(suffix: str) -> bytes:
    return (GOLDEN / f"train-00000-of-00001{suffix}").read_bytes()


def discriminator_bytes(_: str) -> bytes:
    with TemporaryDirectory() as folder:
        save_discriminator(Path(folder) / "d.safetensors", PatchGanConfig(channels=(4, 8)).build())
        return (Path(folder) / "d.safetensors").read_bytes()


def manifest_bytes(_: str) -> bytes:
    shard = ShardEntry("weights/train-00000-of-00001.parquet", "train", "0" * 64, 10, 1)
    words = dict.fromkeys(("name", "layout_id", "base_sha256", "gan", "teacher", "licence"), "x")
    manifest = ZooManifest(
        format_version=1, feature_network="x", statistics="x", counts={"ok": 1}, shards=(shard,), **words
    )
    with TemporaryDirectory() as folder:
        write_json(Path(folder) / "m.json", _plain(manifest))
        return (Path(folder) / "m.json").read_bytes()


def _plain(manifest: ZooManifest) -> object:
    from zoo.config import to_dict

    return to_dict(manifest)


# suffix -> (a sound file, its reader)
READERS: dict[str, tuple[Callable[[str], bytes], Callable[[Path], object]]] = {
    ".parquet": (shard_bytes, lambda path: list(read_shard(path)[0])),
    ".tar": (shard_bytes, lambda path: list(read_shard(path)[0])),
    ".safetensors": (discriminator_bytes, load_discriminator),
    ".json": (manifest_bytes, read_manifest),
}
PIECES = [
    b"",
    b"\0",
    b"\xff" * 8,
    b"\x7f" * 4,
    b"0" * 11,
    b"7" * 11,
    b"../",
    b"9" * 30,
    b"{",
    b"[[",
    b'"',
    b"-1",
    b"NaN",
    b"1e999",
]
EDITS = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),  # where
        st.integers(0, 12),  # how many bytes go
        st.one_of(st.sampled_from(PIECES), st.binary(max_size=8)),  # what comes
    ),
    max_size=6,
)
INPUTS = st.tuples(EDITS, st.floats(0.01, 1), st.booleans())


def damaged(
    data: bytes, edits: list[tuple[float, int, bytes]], keep: float, mend: bool, suffix: str
) -> bytes:
    """Edit ``data``, cut it, and (``mend``) make a tar's header sums right again, so that readers look further."""
    for where, gone, new in edits:
        at = int(where * len(data))
        data = data[:at] + new + data[at + (len(new) if mend else gone) :]
    data = data[: max(1, int(len(data) * keep))] if keep < 0.9 else data
    return mended(data) if mend and suffix == ".tar" else data


def mended(data: bytes) -> bytes:
    blocks = [data[i : i + 512] for i in range(0, len(data), 512)]
    for i, block in enumerate(blocks):
        if block[257:262] == b"ustar" and len(block) == 512:
            total = sum(block[:148]) + 8 * 32 + sum(block[156:])
            blocks[i] = block[:148] + b"%06o\0 " % total + block[156:]
    return b"".join(blocks)


def check(suffix: str, examples: int) -> None:
    """Give ``examples`` damaged files to the reader of ``suffix``."""
    make, read = READERS[suffix]
    sound = make(suffix)
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"x{suffix}"
        path.write_bytes(sound)
        read(path)

        @settings(
            max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(INPUTS)
        def run(drawn: tuple[list[tuple[float, int, bytes]], float, bool]) -> None:
            path.write_bytes(damaged(sound, *drawn, suffix))
            try:
                read(path)
            except WeightzooError:
                pass

        run()


@pytest.mark.parametrize("suffix", READERS)
def test_damaged_files(suffix):
    check(suffix, 150)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("suffix", READERS)
def test_a_hundred_thousand_damaged_files(suffix):
    count = LONG_RUN // len(READERS)
    program = f"from tests.zoo.test_fuzz import limited; limited({suffix!r}, {count})"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]


def limited(suffix: str, examples: int) -> None:
    """:func:`check` with a limit on this process's memory."""
    check(suffix, 1)  # thread pools and arenas of the libraries
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    check(suffix, examples)

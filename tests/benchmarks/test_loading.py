"""Every reader of the loading benchmark delivers all weights, and the rows compare them."""

import pytest

from benchmarks import loading
from benchmarks.harness.readers import LOCAL, RECORDS_PER_SHARD, write_data

VALUES = 512
BYTES = 2 * VALUES * RECORDS_PER_SHARD


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("loading")
    write_data(made, loading.layout_of(VALUES), 2 * BYTES / 1e6)
    return made


@pytest.mark.parametrize("name", LOCAL)
def test_a_reader_reads_all_of_its_files(folder, name):
    reader = LOCAL[name]
    files = list(folder.glob(reader.files))
    loading.drop_from_cache(files)
    delivered = reader.read(folder)
    if name == "read()":
        assert delivered == sum(path.stat().st_size for path in files)
    else:
        assert delivered == len(files) * BYTES > 0


def test_rows(rows_of):
    small = ["--values", str(VALUES), "--megabytes", "0.1", "--hub-megabytes", "0.1", "--repetitions", "2"]
    loading.main(small)
    rows = rows_of("loading")
    assert all(row["record_kilobytes"] == 1.024 and row["megabytes_per_second"]["min"] > 0 for row in rows)
    compared = {(row["from"], row["reader"]): row for row in rows if row["reader"] != "memory copy"}
    assert {where for where, _ in compared} == {"cold", "warm", "hub"}
    assert {reader for where, reader in compared if where == "warm"} == set(LOCAL)
    assert {"weightzoo, first epoch", "weightzoo, again"} < {reader for _, reader in compared}
    for where, limit in (("cold", "read()"), ("warm", "read()"), ("hub", "HTTP GET")):
        assert compared[where, limit]["of_read"] == {"median": 1, "min": 1, "max": 1}
        assert compared[where, loading.TYPED]["times_typed"]["median"] == 1


def test_ratios_are_of_one_repetition():
    measured = {"warm/read()": [10.0, 20.0], "warm/ours": [5.0, 15.0], f"warm/{loading.TYPED}": [1.0, 1.0]}
    ours = loading.ratios(measured, "read()")[1]
    assert ours["of_read"] == {"median": 0.625, "min": 0.5, "max": 0.75}
    assert ours["times_typed"]["max"] == 15

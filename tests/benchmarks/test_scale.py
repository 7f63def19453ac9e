"""The scale benchmark runs real workers and leaves a row for each number of them."""

import pytest

from benchmarks import scale


def check(rows, executor):
    assert [(row["executor"], row["workers"], row["fleets"]) for row in rows] == [
        (executor, 1, 2),
        (executor, 2, 4),
    ]
    for row in rows:
        assert row["efficiency"] > 0 and row["efficiency_of_a_fleet"]["min"] > 0


SMALL = ["--workers", "1", "2", "--seconds", "0.3", "--rounds", "2", "--concepts", "96"]


def test_local_workers(rows_of):
    scale.main([*SMALL, "--executors", "local"])
    check(rows_of("scale"), "local")


@pytest.mark.ray
def test_ray(rows_of):
    scale.main([*SMALL, "--executors", "ray"])
    check(rows_of("scale"), "ray")


def test_too_few_concepts_and_rounds(capsys):
    for arguments, fix in ((["--concepts", "10"], "--concepts 4032"), (["--rounds", "1"], "--rounds 2")):
        with pytest.raises(SystemExit):
            scale.main(arguments)
        assert fix in capsys.readouterr().err

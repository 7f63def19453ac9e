"""Time to quality: who is sooner, by how much, and that what is never reached counts."""

from benchmarks.time_to_quality import compared


def row(method, concept, *points):
    curve = [{"steps": k, "seconds": seconds, "l1": l1} for k, (seconds, l1) in enumerate(points)]
    return {"method": method, "concept": concept, "curve": curve}


def test_the_seconds_of_a_rival_over_those_of_the_first_point_that_is_as_good():
    rows = [
        row("scratch", "a", (10, 0.3), (60, 0.1)),
        row("paired", "a", (2, 0.2), (4, 0.1), (8, 0.05)),
        row("scratch", "b", (60, 0.08)),
        row("paired", "b", (3, 0.02), (9, 0.02)),
        row("scratch", "c", (60, 0.01)),
        row("paired", "c", (3, 0.02), (9, 0.02)),
        row("scratch", "d", (60, 0.01)),
    ]
    (found,) = compared(rows)
    assert (found["summary"], found["concepts"], found["reached"]) == ("paired against scratch", 3, 2)
    assert found["median_times_sooner"] == 15  # of 15, 20 and never
    assert abs(found["final_l1_ratio"] - (0.5 * 0.25 * 2) ** (1 / 3)) < 1e-3


def test_errors_below_a_grey_level_count_as_one():
    rows = [row("plain", "a", (60, 0.0001)), row("paired-words", "a", (3, 0.002))]
    (found,) = compared(rows)
    assert found["final_l1_ratio"] == 1 and found["reached"] == 1

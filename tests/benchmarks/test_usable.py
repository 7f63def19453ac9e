"""The clock of `benchmarks.usable`: what it reads of a command's metrics, and when a quality is reached."""

import json
import math

from benchmarks.usable import new_rows, reached


def test_only_complete_and_new_rows_are_read(tmp_path):
    metrics = tmp_path / "metrics.jsonl"
    assert new_rows(metrics, 0, 1.0) == []
    rows = [json.dumps({"step": step, "l1": l1}) for step, l1 in ((0, 0.5), (10, 0.25))]
    metrics.write_text(rows[0] + "\n" + rows[1][:5])
    assert new_rows(metrics, 0, 2.0) == [(2.0, 0.5)]
    metrics.write_text("\n".join(rows) + "\n")
    assert new_rows(metrics, 1, 3.0) == [(3.0, 0.25)]


def test_a_quality_is_reached_at_the_first_row_that_has_it():
    curve = [(1.0, 0.5), (2.0, 0.2), (3.0, 0.3)]
    assert reached(curve, 0.5) == 1.0 and reached(curve, 0.3) == 2.0 and reached(curve, 0.1) == math.inf

"""What a command says of its parts stands in the results, and the pairs are pairs."""

import json

from benchmarks.start_up import PAIRS, launch, write_pairs
from zoo.pictures.pairs import read_pair_set


def test_pairs_belong_together(tmp_path):
    write_pairs(tmp_path / "pairs", 64)
    read = read_pair_set(tmp_path / "pairs")
    assert len(read.pairs) == PAIRS and not read.notes
    assert {image.size for _, *both in read.pairs for image in both} == {(64, 64)}


def test_the_parts_of_a_command_are_kept(tmp_path):
    said = json.dumps({"seconds": {"loading": 1.5, "generating": 0.5}})
    measured = {}
    assert launch(["-c", f"print({said!r})", "--json"], tmp_path, measured) > 0
    assert measured["loading_seconds"] == [1.5] and measured["generating_seconds"] == [0.5]
    assert len(measured["processor_seconds"]) == 1

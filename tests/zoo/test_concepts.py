"""Concept files: exact round trip, exact errors."""

import pytest

from zoo.concepts import Concept, read_concepts, write_concepts
from zoo.errors import WeightzooError
from zoo.files import read_json


def test_round_trip(tmp_path):
    concepts = [
        Concept("charcoal", "a charcoal drawing", ("like charcoal", "drawn with coal"), {"strength": 0.5}),
        Concept("cafe-night", "Café bei Nacht", ("nachts",), {"recipe": [{"op": "x", "y": [1, 2]}]}, "value"),
    ]
    write_concepts(tmp_path / "concepts.jsonl", concepts)
    assert read_concepts(tmp_path / "concepts.jsonl") == concepts


def test_a_line_ends_at_a_newline_only(tmp_path):
    """JSON leaves these as they are, and they stand in texts that people paste."""
    text = "one\u2028two\u2029three\u0085four\x1cfive\rsix\nseven"
    concepts = [Concept("a", text, (text,), {"note": text}), Concept("b", "x")]
    write_concepts(tmp_path / "concepts.jsonl", concepts)
    assert read_concepts(tmp_path / "concepts.jsonl") == concepts


def test_the_mark_that_windows_editors_put_first_is_no_part_of_a_file(tmp_path):
    for name in ("concepts.jsonl", "config.json"):
        (tmp_path / name).write_text('{"id": "film", "prompt": "an old film"}\n', encoding="utf-8-sig")
    assert read_concepts(tmp_path / "concepts.jsonl") == [Concept("film", "an old film")]
    assert read_json(tmp_path / "config.json")["id"] == "film"


@pytest.mark.parametrize(
    "attributes", ['{"x": NaN}', '{"x": 1e999}', '{"x": "\\ud800"}', '{"x": ' + "9" * 5000 + "}", "[" * 10**5]
)
def test_a_line_that_could_not_be_written_again_is_named(tmp_path, attributes):
    path = tmp_path / "concepts.jsonl"
    path.write_text(f'\n{{"id": "a", "prompt": "x", "attributes": {attributes}}}\n')
    with pytest.raises(WeightzooError, match="line 2: "):
        read_concepts(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not valid JSON"),
        ('{"id": "a b", "prompt": "x"}', "line 2: concept id 'a b' is not a slug"),
        ('{"id": "b", "prompt": " "}', "line 2: concept 'b' has an empty prompt"),
        (
            '{"id": "b", "prompt": "x", "split": "tset"}',
            "line 2: concept 'b' has split 'tset'; use one of train",
        ),
        ('{"id": "b", "prompt": "x", "tags": []}', "line 2: Concept: unknown key 'tags'"),
        ('{"id": "a", "prompt": "x"}', "line 2: id 'a' is already on line 1"),
        ('{"id": "b", "prompt": "x", "paraphrases": [""]}', "line 2: concept 'b' has an empty paraphrase"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    path = tmp_path / "concepts.jsonl"
    path.write_text('{"id": "a", "prompt": "x"}\n' + line + "\n")
    with pytest.raises(WeightzooError, match=message):
        read_concepts(path)


def test_equal_ids_are_not_written(tmp_path):
    with pytest.raises(WeightzooError, match="'a' occurs 2 times"):
        write_concepts(tmp_path / "c.jsonl", [Concept("a", "x"), Concept("a", "y")])
    with pytest.raises(WeightzooError, match="cannot read the concepts"):
        read_concepts(tmp_path / "c.jsonl")

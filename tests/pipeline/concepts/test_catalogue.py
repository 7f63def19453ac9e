"""The catalogue: its splits keep their promises, its words keep apart, its order is diverse."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import re
from collections import Counter

import pytest
import torch

from pipeline.concepts.catalogue import (
    TEST_SPLITS,
    catalogue,
    more_concepts,
    near_duplicates,
    polish_concepts,
    test_concepts,
    zoo_concepts,
)
from pipeline.concepts.combinations import combined_plans, single_plans
from pipeline.concepts.coverage import coverage_order, listed_ids
from pipeline.concepts.vocabulary import COLOURS, HELD_OUT, MEDIA, MOODS, STRENGTHS, TEMPLATES, TREATMENTS
from pipeline.sources import crops, load_photos
from pipeline.teachers.filters import FiltersTeacher
from zoo.concepts import Concept
from zoo.errors import WeightzooError

DIGEST = "4a838692e3191b85ae3dc310438be556ff38568735d8874092681813bda374ab"


def texts(concept: Concept) -> set[str]:
    return {concept.prompt, *concept.paraphrases}


def value_names(concept: Concept) -> list[str]:
    """The attribute values that a zoo must cover: looks, colours, strength."""
    values = concept.attributes["values"]
    return [
        *(f"look:{k}" for k in values["looks"]),
        *(f"colour:{k}" for k in values["colours"]),
        f"strength:{values['strength']}",
    ]


def train_values() -> set[str]:
    return {v for c in polish_concepts() for v in value_names(c)}


def test_size_and_ids() -> None:
    concepts = catalogue()
    assert len(concepts) >= 3500
    assert len({c.id for c in concepts}) == len(concepts)
    assert all(re.fullmatch(r"[a-z0-9-]+", c.id) for c in concepts)
    assert {c.split for c in concepts} == {"train", "validation", *TEST_SPLITS}


def test_every_concept_has_enough_different_wordings() -> None:
    for concept in catalogue():
        assert len(concept.paraphrases) >= 5
        assert len(texts(concept)) == len(concept.paraphrases) + 1, concept.id
        assert not any("{" in t or "$" in t for t in texts(concept)), concept.id


def test_singles_and_combinations_are_both_there() -> None:
    parts = Counter(len(c.attributes["values"]["looks"]) for c in catalogue())
    assert parts[1] > 0.25 * len(catalogue())
    assert parts[2] + parts[3] > 0.5 * len(catalogue())


def test_evaluation_words_are_apart_from_training_words() -> None:
    train = {t for c in catalogue() if c.split == "train" for t in texts(c)}
    other = {t for c in catalogue() if c.split != "train" for t in texts(c)}
    assert not train & other
    for templates in (TEMPLATES["medium"], TEMPLATES["mood"], TEMPLATES["tag"]):
        assert not set(templates["train"]) & set(templates["evaluation"])
    looks = [*MEDIA, *MOODS, *TREATMENTS]
    train_phrases = {p for look in looks for p in (*look.train_tags, *look.train_phrases)}
    assert not train_phrases & {
        p for look in [*looks, *HELD_OUT] for p in (*look.evaluation_tags, *look.evaluation_phrases)
    }
    seen = [c for c in COLOURS if not c.held_out]
    assert not {n for c in seen for n in c.train} & {n for c in seen for n in c.evaluation}


@pytest.mark.parametrize("split", TEST_SPLITS)
def test_each_test_split_has_at_least_24_concepts(split: str) -> None:
    assert len(test_concepts(split)) >= 24


def test_combination_parts_occur_in_train_but_never_together() -> None:
    train = [set(c.attributes["values"]["parts"]) for c in polish_concepts()]
    known = set().union(*train)
    for concept in test_concepts("combination"):
        parts = set(concept.attributes["values"]["parts"])
        assert len(parts) >= 2 and parts <= known
        assert not any(parts <= other for other in train), concept.id


def test_value_concepts_have_a_colour_or_strength_absent_from_train_in_known_looks() -> None:
    known = train_values()
    held = {f"colour:{c.key}" for c in COLOURS if c.held_out} | {
        f"strength:{s.key}" for s in STRENGTHS if s.held_out
    }
    assert not held & known
    for concept in test_concepts("value"):
        names = set(value_names(concept))
        assert names & held and names - held <= known, concept.id


def test_family_concepts_have_a_family_absent_from_train() -> None:
    known = {f for c in polish_concepts() for f in c.attributes["families"]}
    assert all(set(c.attributes["families"]) - known for c in test_concepts("family"))


def test_zoo_covers_every_value_six_times() -> None:
    zoo = zoo_concepts(640)
    counts = Counter(v for c in zoo for v in value_names(c))
    assert min(counts.values()) >= 6
    assert set(counts) == train_values()
    assert 0.03 < sum(c.split == "validation" for c in zoo) / len(zoo) < 0.07


@pytest.mark.parametrize("n", [24, 80, 500])
def test_any_prefix_of_the_zoo_is_diverse(n: int) -> None:
    zoo = zoo_concepts(n)
    assert zoo == zoo_concepts(640)[:n]
    families = {f for c in zoo for f in c.attributes["families"]}
    looks = Counter(k for c in zoo for k in c.attributes["values"]["looks"])
    assert len(families) >= 15
    assert max(looks.values()) <= 2 + n / 30
    assert len({c.attributes["values"]["strength"] for c in zoo}) == 4


def test_listed_plans_come_first_and_the_rule_spreads_the_rest() -> None:
    rng, palette = random.Random(5), [c for c in COLOURS if not c.held_out]
    plans = single_plans(rng, palette)[:400] + combined_plans(rng, palette, 200, 100)
    listed = [plans[i].id for i in (3, 500, 1)]
    order = coverage_order(plans, 80, [listed[0], "an id that is gone", *listed[1:]])
    assert [p.id for p in order[:3]] == listed
    assert sorted(p.id for p in order) == sorted(p.id for p in plans)
    assert coverage_order(reversed(plans), 80, listed) == order
    assert len({part.look.family for p in order[:80] for part in p.parts}) >= 15
    assert max(Counter(part.look.key for p in order[:80] for part in p.parts).values()) <= 2 + 80 / 30
    assert Counter(p.strength.key for p in order[:80])["full"] > 40
    assert len({p.strength.key for p in order[:80]}) == 4


def test_every_listed_concept_is_in_the_catalogue() -> None:
    assert tuple(c.id for c in zoo_concepts(1000)) == listed_ids()


def test_polishing_sees_two_thousand_concepts_beyond_the_zoo_and_no_test_concept() -> None:
    polish = polish_concepts()
    assert {c.split for c in polish} == {"train"}
    assert len({c.id for c in polish} - {c.id for c in zoo_concepts(640)}) >= 2000


def test_the_catalogue_does_not_change_between_calls() -> None:
    first = catalogue()
    catalogue.cache_clear()
    assert catalogue() == first


def test_edits_run_from_mild_to_drastic_and_none_is_the_identity() -> None:
    sources, teacher = crops(load_photos("test"), 6, 32, seed=0), FiltersTeacher()
    distances = torch.tensor(
        [float((teacher.edit(c, sources) - sources).abs().mean()) for c in zoo_concepts(120)]
    )
    assert distances.min() > 0.003
    assert distances.quantile(0.1) < 0.08 and distances.quantile(0.9) > 0.22


def test_near_duplicates_finds_a_concept_in_the_zoo_itself() -> None:
    sources = crops(load_photos("test"), 4, 16, seed=0)
    zoo = zoo_concepts(12)
    nearest, duplicates = near_duplicates(zoo[:2], zoo, FiltersTeacher(), sources)
    assert [n.zoo_id for n in nearest] == [c.id for c in zoo[:2]]
    assert all(d.l1 < 1e-6 for d in duplicates) and len(duplicates) == 2


def test_near_duplicates_hold_a_part_of_the_zoo_at_a_time(monkeypatch) -> None:
    sources, zoo, cdist, held = crops(load_photos("test"), 2, 16, seed=0), zoo_concepts(12), torch.cdist, []
    whole = near_duplicates(zoo[:2], zoo, FiltersTeacher(), sources)
    monkeypatch.setattr("pipeline.concepts.catalogue.MEMBERS_AT_ONCE", 5)
    monkeypatch.setattr(torch, "cdist", lambda a, b, p: held.append(len(b)) or cdist(a, b, p))
    assert near_duplicates(zoo[:2], zoo, FiltersTeacher(), sources) == whole
    assert held == [5, 5, 2]


def test_more_train_concepts_keep_away_from_what_is_held_out() -> None:
    more = more_concepts(600)
    assert 500 < len(more) <= 600 and more == more_concepts(600)
    known = {c.id for c in catalogue()}
    assert not known & {c.id for c in more} and {c.split for c in more} == {"train"}
    held = [
        set(c.attributes["values"]["parts"])
        for c in catalogue()
        if c.split in ("validation", "combination") and len(c.attributes["values"]["parts"]) > 1
    ]
    trained = train_values() | {v for c in catalogue() if c.split == "validation" for v in value_names(c)}
    evaluation = {t for c in catalogue() if c.split != "train" for t in texts(c)}
    for concept in more:
        parts = set(concept.attributes["values"]["parts"])
        assert not any(other <= parts for other in held), concept.id
        assert set(value_names(concept)) <= trained, concept.id
        assert not evaluation & set(texts(concept))


def test_wrong_requests_are_named() -> None:
    with pytest.raises(WeightzooError, match="not possible"):
        zoo_concepts(10**6)
    with pytest.raises(WeightzooError, match="no test split 'train'"):
        test_concepts("train")


def test_the_catalogue_is_the_one_that_the_embedded_zoo_was_built_from() -> None:
    """A change of any id, wording, recipe, split or the order needs a new zoo, and a new digest here."""
    text = json.dumps([dataclasses.asdict(c) for c in catalogue()], sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest() == DIGEST

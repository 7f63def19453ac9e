"""Notes on prompts: each kind fires on what it is for, and none on the catalogue's own wordings."""

import warnings
from pathlib import Path

import pytest

import weightgen
from pipeline.concepts.catalogue import catalogue
from pipeline.concepts.vocabulary import COLOURS
from weightgen.colour_names import NAMES, coded_colours, name_colours
from weightgen.generate import wordings
from weightgen.ood import OOD_FILE, load_ood_score
from weightgen.prompt_notes import coded, foreign_evidence, has_words, measured, negated, notes
from weightgen.text import MAX_LENGTH, load_text_encoder
from zoo.errors import WeightzooError

MODEL = Path(weightgen.__file__).parent / "embedded" / "weightzoo-small"
LANGUAGES = [
    "eine Kohlezeichnung auf weißem Papier",
    "ein Sonnenuntergang am Meer",
    "un dessin au fusain",
    "une aquarelle aux couleurs douces",
    "un dibujo a carboncillo",
    "haz que la foto parezca antigua",
    "un disegno a carboncino",
    "rendi la foto più calda",
    "um desenho a carvão",
    "uma foto antiga em preto e branco",
    "een houtskooltekening",
    "maak de foto warmer",
    "rysunek węglem na papierze",
    "рисунок углем",
    "木炭画のように",
    "水彩画",
    "رسم بالفحم",
]


@pytest.fixture(scope="module")
def encoder():
    return load_text_encoder("minilm")


@pytest.fixture(scope="module")
def ood_score():
    return load_ood_score(MODEL / OOD_FILE)


@pytest.fixture(scope="module")
def catalogued():
    return [text for concept in catalogue() for text in (concept.prompt, *concept.paraphrases)]


@pytest.mark.parametrize("text", LANGUAGES)
def test_another_language_is_told_to_be_english(encoder, ood_score, text):
    [note] = notes([text], encoder, ood_score)
    assert "English" in note and "unlike" not in note


def test_no_wording_of_the_catalogue_passes_for_another_language_a_number_or_a_code(catalogued):
    assert not [text for text in catalogued if foreign_evidence(text) > 1 or measured(text) or coded(text)]
    assert sum(foreign_evidence(text) > 0 for text in catalogued) < 0.001 * len(catalogued)  # and then unfamiliar too
    assert sum(negated(text) is not None for text in catalogued) < 0.02 * len(catalogued)  # "with no sun, just cloud"


@pytest.mark.parametrize("text", ["a charcoal drawing", "golden hour", "black and white", "a watercolour, at 50 %"])
def test_what_the_zoo_knows_has_no_note(encoder, ood_score, text):
    assert notes([text], encoder, ood_score) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not a charcoal drawing, keep the colours", '"not" and "keep the" are not understood'),
        ("a charcoal drawing without grain", '"without" is not understood'),
        ("Don't make it blue", '"don\'t" is not understood'),
        ("brightness +20 %", '"+20 %" are not understood'),
        ("a blur of 5 px", '"blur of 5 px" are not understood'),
        ("rotate the hues by 90 degrees", '"90 degrees" are not understood'),
        ("contrast 12", '"contrast 12" are not understood'),
        ("an #ff8000 tint", '"#ff8000" was read as "orange"'),
        ("hello world", "is unlike the English prompts that the model has learned"),
    ],
)
def test_what_is_not_understood_is_told(encoder, ood_score, text, words):
    [note] = [note for note in notes([text], encoder, ood_score) if words in note]
    assert "\n" not in note


def test_the_words_that_are_not_read_are_told(encoder):
    read, unread = "a pencil drawing " * 15 + "in ", "ultramarine blue"
    [note] = notes([read + unread], encoder)
    assert "not read" in note and note.count(unread) == 1
    assert notes(["a pencil drawing " * 14], encoder) == []
    whole = encoder.unread("supercalifragilistic " * 20)
    assert set(whole.split()) == {"supercalifragilistic"}  # a word of which a part is read counts as unread
    kept = ("supercalifragilistic " * 20).removesuffix(whole + " ")
    assert encoder.encode([kept]).mask.sum() <= MAX_LENGTH and encoder.unread(kept) == ""


def test_wordings_share_their_notes(encoder):
    assert len(notes(["no blue", "no red"], encoder)) == 1


@pytest.mark.parametrize("text", ["", "  ", "?!", "...", "\u200b"])
def test_a_prompt_without_words_is_refused(text):
    assert not has_words(text)
    with pytest.raises(WeightzooError, match="the prompt is empty"):
        wordings(text)


def test_colours_are_named_as_in_the_catalogue():
    plain = {colour.train[0]: [round(255 * value) for value in colour.rgb] for colour in COLOURS if not colour.held_out}
    assert {name: list(bytes.fromhex(code[1:])) for name, code in NAMES.items()} == plain


@pytest.mark.parametrize(("code", "name"), [*((code, name) for name, code in NAMES.items()), ("#F80", "orange")])
def test_a_code_becomes_its_name(code, name):
    assert name_colours(f"a {code} tint, {code}") == f"a {name} tint, {name}"


@pytest.mark.parametrize(
    ("code", "name"), [("#ff8000", "orange"), ("rgb(255, 128, 0)", "orange"), ("hsl(0, 0%, 3%)", "black")]
)
def test_other_codes_get_the_nearest_name(code, name):
    assert coded_colours(f"in {code}") == {code: name}


@pytest.mark.parametrize("text", ["#1 in the charts", "rgb(no, such, colour)", "#summer", "issue #12345"])
def test_what_is_no_colour_stays(text):
    assert name_colours(text) == text and coded_colours(text) == {}


def test_a_code_is_encoded_as_its_name(encoder):
    assert (encoder.encode(["an #ff8000 tint"]).pooled == encoder.encode(["an orange tint"]).pooled).all()


def test_generating_warns_once_for_each_note():
    from weightgen.generate import generate
    from weightgen.model_folder import load_model_folder
    from zoo.errors import WeightzooWarning

    model = load_model_folder(MODEL)
    with pytest.warns(WeightzooWarning, match='"without" is not understood') as told:
        generate(model, "a charcoal drawing without grain")
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        generate(model, "a charcoal drawing without grain", warn=False)

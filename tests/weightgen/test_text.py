"""Text states: the fast MiniLM equals transformers' BertModel; caching, padding, CLIP by path, errors."""

import pytest
import torch

import weightgen.text
from weightgen.text import MAX_LENGTH, TEXT_ENCODERS, MiniLMEncoder, load_text_encoder
from zoo.errors import WeightzooError

PROMPTS = ["a charcoal drawing", "make it look like an old, faded photograph from the seventies", "Winter"]


@pytest.fixture(scope="module")
def encoder() -> MiniLMEncoder:
    return load_text_encoder("minilm")


def random_clip(folder):
    """A CLIP of one layer that reads letters."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    config = CLIPTextConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=520
    )
    CLIPTextModel(config).save_pretrained(folder)
    letters = [chr(c) for c in range(97, 123)]
    tokens = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    vocab = {token: i for i, token in enumerate(tokens)}
    CLIPTokenizer(vocab=vocab, merges=[]).save_pretrained(folder)
    return load_text_encoder(f"clip:{folder}")


ENCODERS = {"minilm": lambda _: load_text_encoder("minilm"), "clip": random_clip}  # how each is made offline


@pytest.mark.parametrize("name", TEXT_ENCODERS)
def test_shapes_and_unit_pooled(name, tmp_path):
    encoder = ENCODERS[name](tmp_path)
    states = encoder.encode(PROMPTS)
    assert states.tokens.shape == (3, MAX_LENGTH, encoder.width)
    assert states.mask.dtype == torch.bool and not states.tokens[~states.mask].any()
    torch.testing.assert_close(states.pooled.norm(dim=-1), torch.ones(3))
    again = load_text_encoder(encoder.name).encode(PROMPTS)
    assert torch.equal(again.tokens, states.tokens) and torch.equal(again.mask, states.mask)


def test_every_word_and_the_two_marks_are_tokens(encoder):
    assert encoder.encode(PROMPTS).mask[2].sum() == 3  # [CLS] winter [SEP]


def test_equals_transformers_bert(encoder):
    from transformers import AutoTokenizer, BertModel

    from weightgen.text import _minilm_folder

    tokenizer = AutoTokenizer.from_pretrained(str(_minilm_folder()))
    bert = BertModel.from_pretrained(str(_minilm_folder())).eval()
    batch = tokenizer(PROMPTS, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
    with torch.no_grad():
        expected = bert(**batch).last_hidden_state
    states = encoder.encode(PROMPTS).trim()
    mask = batch["attention_mask"].bool()
    assert torch.equal(states.mask, mask)
    torch.testing.assert_close(states.tokens[mask], expected[mask], atol=2e-5, rtol=1e-4)


def test_a_prompt_has_the_same_states_alone_and_in_a_batch(encoder):
    fresh = MiniLMEncoder()
    torch.testing.assert_close(
        fresh.encode([PROMPTS[0]]).pooled, encoder.encode(PROMPTS).pooled[:1], atol=1e-5, rtol=0
    )
    first = fresh.encode([PROMPTS[0]]).tokens
    assert torch.equal(first, fresh.encode([PROMPTS[2], PROMPTS[0]]).tokens[1:])  # cached


def test_meaning_is_near(encoder):
    pooled = encoder.encode(["a charcoal drawing", "sketched with charcoal", "a bright summer noon"]).pooled
    assert pooled[0] @ pooled[1] > pooled[0] @ pooled[2] + 0.2


def test_dropped_rows_are_empty(encoder):
    states = encoder.encode(PROMPTS).drop(torch.tensor([True, False, False]))
    assert not states.mask[0].any() and states.mask[1].any() and not states.pooled[0].any()


def test_long_emoji_and_other_scripts_are_cut_not_refused(encoder):
    states = encoder.encode(["word " * 20000, "🎨✨", "水彩画"])
    assert states.mask.sum(1)[0] == MAX_LENGTH and torch.isfinite(states.tokens).all()


@pytest.mark.parametrize("prompt", ["", "   "])
def test_empty_prompt(encoder, prompt):
    with pytest.raises(WeightzooError, match="empty"):
        encoder.encode([prompt])


def test_unknown_encoder_and_absent_clip(tmp_path):
    with pytest.raises(WeightzooError, match="unknown text encoder 'word2vec'; known: minilm, clip"):
        load_text_encoder("word2vec")
    with pytest.raises(WeightzooError, match="CLIP cannot be loaded"):
        load_text_encoder(f"clip:{tmp_path / 'absent'}")


def test_the_cache_is_bounded(encoder, monkeypatch):
    monkeypatch.setattr(weightgen.text, "CACHE_PROMPTS", 3)
    prompts = [f"picture number {i}" for i in range(8)]
    expected = {prompt: encoder.encode([prompt]).pooled[0] for prompt in prompts}
    states = encoder.encode(prompts)
    assert len(encoder._cache) <= 3
    for prompt, pooled in zip(prompts, states.pooled, strict=True):
        torch.testing.assert_close(pooled, expected[prompt], rtol=1e-4, atol=1e-5)

"""Methods that make a network of a concept's example pairs: closed forms, and a weight generator that reads pairs.

    generator = network_of_pairs(context, "pairs", concept, [(source, target), ...])

- `pairs-and-words`: the network that the model generates from the pairs and the prompt, solved on the pairs.
- `pairs`: the same without the prompt.
- `pairs-shuffled`: what it generates from the prompt and from pairs whose targets belong to other sources, with its
  output layer solved on the right ones: what is lost if the pairs are not read.
- `pairs-trained`: what `weightzoo finetune` hands over, with the prompt.

The closed forms are those of `weightgen.finetuning.closed_forms`. All get the same pairs, of photographs that no test
picture is from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from weightgen.evaluation.context import EvaluationContext
from weightgen.evaluation.grid import FROM_PAIRS
from weightgen.evaluation.held_out_pairs import wordings
from weightgen.finetuning.closed_forms import CLOSED_FORMS, trained
from weightgen.model_folder import load_model_folder
from weightgen.model_roles import PAIRED
from weightgen.pairs.closed_form import SOLVED_ON, Pictures, sampled, scale_of
from weightgen.pairs.generate import PairReader
from zoo.gans.solved import SolvedGenerator


def with_words(reader: PairReader, pictures: Pictures, texts: Sequence[str]) -> SolvedGenerator:
    """Return the network of pairs and words."""
    return reader.generate(pictures, texts).generator


def without_words(reader: PairReader, pictures: Pictures, texts: Sequence[str]) -> SolvedGenerator:
    """Return the network of pairs alone."""
    return reader.generate(pictures).generator


def read_shuffled(reader: PairReader, pictures: Pictures, texts: Sequence[str]) -> SolvedGenerator:
    """Return the network that is read from wrong pairs and solved on the right ones, averaged with the closed form."""
    image_size = scale_of(pictures)
    sources, targets = zip(*pictures, strict=True)
    wrong = list(zip(sources, (*targets[1:], targets[0].flip(-1)), strict=True))
    shown = sampled(reader.base, wrong, 0, SOLVED_ON)
    return reader.start(sampled(reader.base, pictures, 0, SOLVED_ON), texts, image_size, shown).generator


def trained_on(reader: PairReader, pictures: Pictures, texts: Sequence[str]) -> SolvedGenerator:
    """Return the network of pairs and words, trained on."""
    pixels = sampled(reader.base, pictures, 0)
    return trained(reader.start(pixels, texts, scale_of(pictures)), pixels)


READERS: dict[str, Callable[[PairReader, Pictures, Sequence[str]], SolvedGenerator]] = dict(
    zip(FROM_PAIRS, (with_words, without_words, read_shuffled, trained_on), strict=True)
)


def network_of_pairs(context: EvaluationContext, method: str, concept: str, pictures: Pictures) -> SolvedGenerator:
    """Return what a method of `weightgen.evaluation.grid.PAIR_METHODS` makes of pairs of a concept.

    Args:
        pictures: (source, target) of each pair, [3, H, W] in [0, 1].
    """
    if method in CLOSED_FORMS:
        return CLOSED_FORMS[method](pictures)
    texts = wordings(context.held_out.concept(concept), 1)
    return READERS[method](reader_of(Path(context.origins.models[PAIRED])), pictures, texts)


@lru_cache(maxsize=1)
def reader_of(model: Path) -> PairReader:
    """Return the reader of a model, opened once in each process."""
    return PairReader(load_model_folder(model))

"""What a shard from a stranger may be: bounds that are checked before anything of that size is allocated.

record = check_texts(record)        # its layout is checked where it is read, see zoo.layout
"""

import re
from typing import Any

from zoo.layout import WeightLayout
from zoo.records import BLOCK_DTYPE, WeightRecord

MAX_METADATA_BYTES = 16 << 20  # of one shard: mostly its layout
MAX_TEXT_BYTES = 1 << 20  # of one record without its weights
_CONCEPT_ID = re.compile(r"[a-z0-9-]{1,120}")  # docs/FORMAT.md: it may become the name of a file


def record_bytes(layout: WeightLayout) -> int:
    """How many bytes the weights of one record take."""
    return layout.num_blocks * layout.block_size * BLOCK_DTYPE.itemsize


def check_texts(record: WeightRecord) -> WeightRecord:
    """Return ``record`` if everything in it but the weights has the types and form of the format.

    Raises:
        ValueError: it has not.
    """
    strings = (record.concept_id, record.prompt, record.split, *record.paraphrases)
    numbers = (record.seed, record.step, record.attempt)
    if not all(isinstance(text, str) for text in strings) or not _CONCEPT_ID.fullmatch(record.concept_id):
        raise ValueError(f"{record.concept_id!r:.100} is no id of a concept, or a text of it is no text")
    if not all(isinstance(number, int) for number in numbers) or not isinstance(record.attributes, dict):
        raise ValueError(f"{record.concept_id} has a number or attributes of another kind")
    if not isinstance(record.metrics, dict) or not all(
        _is_number(value) for value in record.metrics.values()
    ):
        raise ValueError(f"{record.concept_id} has metrics that are no numbers")
    return record


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)

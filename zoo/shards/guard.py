"""What a shard from a stranger may be: bounds that are checked before anything of that size is allocated.

layout = guarded_layout(metadata, "train-00000-of-00042.tar")
check_texts(record)
"""

import json
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from zoo.errors import WeightzooError
from zoo.layout import WeightLayout
from zoo.records import BLOCK_DTYPE, PREFIX, WeightRecord, layout_from_metadata

MAX_METADATA_BYTES = 16 << 20  # of one shard: mostly its layout
MAX_TEXT_BYTES = 1 << 20  # of one record without its weights
MAX_RECORD_BYTES = 1 << 30  # of the weights of one record
MAX_BLOCK_SIZE = 1 << 20
_CONCEPT_ID = re.compile(r"[a-z0-9-]{1,120}")  # docs/FORMAT.md: it may become the name of a file


def guarded_layout(metadata: Mapping[str, str], where: str) -> WeightLayout:
    """Return the layout that a shard's metadata carries, after a check of its types and sizes.

    Raises:
        WeightzooError: not a weightzoo shard, another format version, or no layout that a shard can have.
    """
    text = metadata.get(f"{PREFIX}layout")
    if text is not None:
        try:
            reason = _layout_problem(text)
        except (ValueError, TypeError, RecursionError) as error:
            reason = repr(error)
        if reason and str(metadata.get(f"{PREFIX}format_version", "")).isdigit():
            raise WeightzooError(f"{where} carries no readable layout ({reason}); fetch or build it again")
    return layout_from_metadata(metadata, where)


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


@lru_cache(maxsize=2)
def _layout_problem(text: str) -> str:
    """Say what keeps JSON text from being a layout; empty if nothing does."""
    layout = json.loads(text)
    if not isinstance(layout, dict) or not isinstance(layout.get("slots"), list):
        return "slots are missing"
    if not _is_count(layout.get("block_size"), MAX_BLOCK_SIZE) or not isinstance(layout.get("grouping"), str):
        return "block_size or grouping is none"
    total = 0
    for slot in layout["slots"]:
        if not isinstance(slot, dict) or not isinstance(slot.get("shape"), list):
            return "a slot has no shape"
        if not isinstance(slot.get("name"), str) or not isinstance(slot.get("layer"), str):
            return "a slot has no name"
        if len(slot["shape"]) > 8 or not all(_is_count(side, MAX_RECORD_BYTES) for side in slot["shape"]):
            return f"slot {slot['name']:.100} has an impossible shape"
        # a layer is padded to whole blocks
        total += math.prod(slot["shape"]) + layout["block_size"]
        if total * BLOCK_DTYPE.itemsize > MAX_RECORD_BYTES:
            return f"its records are larger than {MAX_RECORD_BYTES >> 30} GiB"
    return "" if layout["slots"] else "slots are missing"


def _is_count(value: Any, largest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= largest


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)

"""What a shard from a stranger may be: bounds that are checked before anything of that size is allocated.

record = check_texts(record)        # its layout is checked where it is read, see zoo.layout
"""

import json
import re
import sys
from typing import Any

from zoo.errors import WeightzooError
from zoo.files import PathLike
from zoo.layout import WeightLayout
from zoo.records import BLOCK_DTYPE, WeightRecord

MAX_METADATA_BYTES = 16 << 20  # of one shard: mostly its layout
MAX_TEXT_BYTES = 1 << 20  # of one record without its weights
_STRICT = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
_CONCEPT_ID = re.compile(r"[a-z0-9-]{1,120}")  # docs/FORMAT.md: it may become the name of a file


def record_bytes(layout: WeightLayout) -> int:
    """Return how many bytes the weights of one record take."""
    return layout.num_blocks * layout.block_size * BLOCK_DTYPE.itemsize


def check_texts(record: WeightRecord) -> WeightRecord:
    """Return `record` if everything in it but the weights has the types and form of the format.

    Raises:
        ValueError: it has not.
    """
    strings = (record.concept_id, record.prompt, record.split, *record.paraphrases)
    numbers = ((record.seed, 64), (record.step, 32), (record.attempt, 32))
    if not all(isinstance(text, str) for text in strings) or not _CONCEPT_ID.fullmatch(record.concept_id):
        raise ValueError(f"{record.concept_id!r:.100} is not a concept id, or one of its texts is not text")
    # half a surrogate pair is no text and NaN no JSON: what cannot be written again is not read
    "".join((*strings, _STRICT.encode(record.attributes))).encode()
    fits = all(isinstance(n, int) and -1 << bits - 1 <= n < 1 << bits - 1 for n, bits in numbers)
    if not fits or not isinstance(record.attributes, dict):
        raise ValueError(f"{record.concept_id} has a number or attributes of the wrong type")
    if not isinstance(record.metrics, dict) or not all(_is_number(value) for value in record.metrics.values()):
        raise ValueError(f"{record.concept_id} has metrics that are not numbers")
    return record


def _is_number(value: Any) -> bool:
    """Return whether a JSON value is a number that float64 can hold (NaN and infinity are)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return isinstance(value, float) or abs(value) <= sys.float_info.max


def corrupt(path: PathLike, error: Exception) -> WeightzooError:
    """Return the error for a shard in which a reader met `error`."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return WeightzooError(f"shard {path} is truncated or corrupt ({lines[0]}); download or build it again")

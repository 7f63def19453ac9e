"""Words for numbers of things.

    plural(1, "pair")           # "1 pair"
    plural(2000, "pair")        # "2,000 pairs"
    plural(2, "copy", "copies")
"""


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """Return a number with its noun, in the plural unless the number is 1."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"

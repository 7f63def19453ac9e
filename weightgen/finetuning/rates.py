"""The learning rates of fine-tuning where none is given.

    default_rate("polished")      # 0.04

They are what the trials of the full grid chose on validation concepts (`weightgen.evaluation.choose_rates`).
"""

DEFAULT_RATES = {"scratch": 2e-2}
DEFAULT_RATE = 4e-2  # of every other start


def default_rate(init: str) -> float:
    """Return the learning rate of fine-tuning from a start, scratch or another one."""
    return DEFAULT_RATES.get(init, DEFAULT_RATE)

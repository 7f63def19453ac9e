"""The one exception type for everything that a person can cause and mend.

Message form: what is wrong; what to do next.
"""


class WeightzooError(Exception):
    """A clear one-line error: what is wrong, and what to do next."""

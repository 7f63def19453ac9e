"""The exception type for everything that a person can cause and mend, and the warning for what they should know.

Message form: what is wrong; what to do next.
"""


class WeightzooError(Exception):
    """A clear one-line error: what is wrong, and what to do next."""

    exit_code = 2


class Interrupted(WeightzooError):
    """Ctrl-C in a long command: says what is kept and how to go on."""

    exit_code = 130


class WeightzooWarning(UserWarning):
    """One line that a person should read although everything goes on: the commands print it on stderr."""

"""The table in tests/README.md covers every test file, and every pattern in it finds one."""

import re
from pathlib import Path

TESTS = Path(__file__).parent


def covered() -> dict[str, set[Path]]:
    """Each pattern of the table with the test files that it finds."""
    rows = re.findall(r"^\| \*\*.*$", (TESTS / "README.md").read_text(), re.M)
    patterns = [pattern for row in rows for pattern in re.findall(r"`([^`]+)`", row.rpartition(" | ")[2])]
    return {pattern: {path for path in TESTS.glob(pattern) if path.match("test_*.py")} for pattern in patterns}


def test_every_test_file_is_in_the_table():
    assert set(TESTS.rglob("test_*.py")) == set().union(*covered().values())


def test_every_pattern_finds_a_test_file():
    assert not [pattern for pattern, files in covered().items() if not files]


def test_every_test_file_says_what_it_promises():
    assert not [path for path in TESTS.rglob("test_*.py") if not path.read_text().startswith('"""')]

"""What the Hub takes of one dataset repository, by its own recommendations: a zoo is planned and published by it."""

MAX_FILES = 100_000
MAX_FILES_PER_FOLDER = 10_000
MAX_FILE_BYTES = 20 * 10**9

"""What stops a benchmark."""


class BenchmarkError(Exception):
    """The measurement cannot go on or must not count; the text says why and what to do."""

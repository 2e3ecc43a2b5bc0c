"""What stops a load run before or during its measurement."""


class LoadError(Exception):
    """The load cannot be sent, or must not count; the text says why and what to do."""

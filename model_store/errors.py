"""What can be wrong with a model, each as one line that names the file and the reason."""


class ModelStoreError(Exception):
    """Root of everything this room refuses; its text is fit to be shown to a user as it is."""


class SourceError(ModelStoreError):
    """The network, labels or images handed to packaging cannot be used."""


class ParityError(ModelStoreError):
    """The serving graph does not give the original network's answers."""


class PackageError(ModelStoreError):
    """A package on disk is missing, malformed, or not what its own hashes say."""


class RegistryError(ModelStoreError):
    """The registry refuses what is asked of it, or holds something unfit."""


class NotRegisteredError(RegistryError):
    """There is no such model, version, alias or artifact in the registry."""


class RegistryDownError(RegistryError):
    """The registry does not answer; asking again later may help."""


class UngatedError(ModelStoreError):
    """A version whose gate said no is not promoted."""


def one_line(error: Exception) -> str:
    """What an error says, without its line breaks."""
    return " ".join(str(error).split())

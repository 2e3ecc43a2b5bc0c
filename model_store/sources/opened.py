"""A source that has been read: as ONNX in any case, with its own oracle, perhaps as PyTorch too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from model_store.errors import SourceError
from model_store.network import Network, external_files, read_network
from model_store.original import Original, OriginalNetwork
from model_store.package import OriginalInput
from model_store.request import PackageRequest
from model_store.sources.kinds import Located, digest, locate

if TYPE_CHECKING:  # PyTorch is imported only where a source needs it
    from model_store.sources.torch_network import TorchNetwork


@dataclass(frozen=True, slots=True)
class Source:
    """What packaging is made of.

    ``files`` hold the weights: the network or its checkpoint, and ONNX's external data.
    """

    located: Located
    network: Network
    files: tuple[Path, ...]
    torch: TorchNetwork | None = None

    @property
    def digest(self) -> str:
        """Hex sha256 of its files."""
        return digest(self.files)

    def original(self, taken: OriginalInput) -> Original:
        """The oracle, which eats what ``taken`` says."""
        if self.torch is None:
            return OriginalNetwork(self.network, taken)
        from model_store.sources.torch_network import TorchOriginal

        return TorchOriginal(self.torch, taken, self.network.output_names)


def open_source(request: PackageRequest, folder: Path) -> Source:
    """Read what ``request`` names; a PyTorch network is exported into ``folder``.

    Raises:
        SourceError: with the file and the reason, in one line.
    """
    located = locate(request.source, request.checkpoint)
    if request.factory_args and located.kind != "factory":
        raise SourceError(f"{located.name}: --factory-args go with a source such as module:factory")
    if located.kind == "onnx":
        network = read_network(located.file, request.layout)
        return Source(located, network, (located.file, *external_files(located.file)))
    try:
        from model_store.sources.torch_network import from_factory, from_program
    except ImportError as error:
        raise SourceError(f"{located.name}: needs PyTorch: install millrace[torch]") from error
    if located.kind == "factory":
        made = from_factory(located, request.factory_args, request.input_size, request.layout)
    else:
        made = from_program(located, request.input_size)
    return Source(located, made.as_onnx(folder, request.layout), (located.file,), made)

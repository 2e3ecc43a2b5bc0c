"""What ``model.yaml`` says of a package: its schema, and what must hold between its parts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Annotated, Literal

import pydantic

MANIFEST_FILE = "model.yaml"
LABELS_FILE = "labels.txt"
GOLDEN_FOLDER = "golden"
SCHEMA_VERSION = 1
LARGEST_VERSION = 999_999_999  # its folder's name has nine digits at most
_LONGEST_NAME = 255  # bytes that file systems take

Name = Annotated[str, pydantic.Field(pattern=r"^[a-z0-9]([-a-z0-9_.]{0,61}[a-z0-9])?$")]
RelativePath = Annotated[str, pydantic.AfterValidator(lambda path: _relative(path))]
Sha256 = Annotated[str, pydantic.Field(pattern=r"^[0-9a-f]{64}$")]
Triple = tuple[float, float, float]
Layout = Literal["NCHW", "NHWC"]
Dtype = Literal["float32", "float16", "uint8"]
Precision = Literal["fp32", "fp16", "bf16", "int8"]


def _relative(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path:
        raise ValueError(f"{path!r} must be a path inside the package")
    # One way to write each path: two of them would be one file with two hashes.
    if "/".join(parts) != path or not path.isprintable():
        raise ValueError(f"{path!r} must be plain: no '.', '//' or control characters")
    if any(len(part.encode()) > _LONGEST_NAME for part in parts):
        raise ValueError(f"a name in {path[:40]!r}… has more than {_LONGEST_NAME} bytes")
    return path


class _Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class Resize(_Model):
    """How an image of any size becomes the network's input size.

    ``shortest-side``: scale so that the shorter side is ``size`` pixels (the longer one
    ``int(size * long / short)``, as torchvision does), then cut the centre.
    ``exact``: scale both sides to the input size, whatever the aspect ratio.
    ``letterbox``: scale to fit inside the input size and pad evenly with ``fill``.
    """

    policy: Literal["shortest-side", "exact", "letterbox"]
    size: int | None = pydantic.Field(default=None, ge=1, le=8192)
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    fill: tuple[int, int, int] = (0, 0, 0)

    @pydantic.model_validator(mode="after")
    def _size_goes_with_shortest_side(self) -> Resize:
        if (self.size is not None) != (self.policy == "shortest-side"):
            raise ValueError("size goes with the policy shortest-side, and with no other")
        return self


class OriginalInput(_Model):
    """What the user's own network eats; the serving graph does this on the device.

    The network sees ``(pixel * scale - mean) / std``, per channel in the order ``channels``.
    """

    name: str
    layout: Layout
    dtype: Dtype
    channels: Literal["RGB", "BGR"]
    scale: float = 1.0
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)


class ImageInput(_Model):
    """What a serving graph takes: ``uint8 [N, height, width, 3]`` RGB, prepared by ``resize``."""

    height: int = pydantic.Field(ge=1, le=4096)
    width: int = pydantic.Field(ge=1, le=4096)
    resize: Resize
    original: OriginalInput

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, 3)."""
        return (self.height, self.width, 3)

    @pydantic.model_validator(mode="after")
    def _crop_fits(self) -> ImageInput:
        if self.resize.size is not None and self.resize.size < max(self.height, self.width):
            raise ValueError(
                f"resize size {self.resize.size} is smaller than the crop "
                f"{self.height}x{self.width}"
            )
        return self


class OriginalOutput(_Model):
    """How the user's network gives its answer.

    ``class_offset`` outputs at the front are no classes (a background class, for instance):
    class index = output index - class_offset.
    """

    name: str
    scores: Literal["logits", "probabilities"]
    class_offset: int = pydantic.Field(default=0, ge=0)


class Comparison(_Model):
    """How a variant's answers compare with those of the package's first variant.

    Agreement counts an image only where both name the very same class. An image's score
    difference is the largest among its best classes.
    """

    images: int
    top1_agreement: float = pydantic.Field(ge=0, le=1)
    mean_score_difference: float
    max_score_difference: float

    def __str__(self) -> str:
        return (
            f"top-1 agrees on {self.top1_agreement:.1%} of {self.images} images, scores differ by "
            f"{self.mean_score_difference:.1g} on average and {self.max_score_difference:.1g} "
            "at most"
        )


class Quantisation(_Model):
    """How a network came to be computed in 8 bits, weights per channel as int8.

    ``operators``: ``all`` that the runtime has in 8 bits, or only the ``weighted`` ones.
    ``first_in_float``: layers with weights at the front that stay in float.
    """

    method: Literal["minmax", "percentile", "entropy"]
    activations: Literal["uint8", "int8"]
    operators: Literal["all", "weighted"]
    first_in_float: int = pydantic.Field(default=0, ge=0)


class Calibration(_Model):
    """The images that ranges of activations were taken from.

    ``sha256`` is that of the sorted list of the images' own, in hex, a line each.
    """

    images: int
    sha256: Sha256
    quantisation: Quantisation


class Measured(_Model):
    """How fast a variant was where it was packaged; both figures by images in a batch."""

    device: str
    threads: int
    images_per_second: dict[int, float] = pydantic.Field(min_length=1)
    times_the_first: dict[int, float] = pydantic.Field(min_length=1)


class Proof(_Model):
    """What a variant was found to be worth beside the package's first one.

    ``calibration`` are the images it was made with, ``held_out`` others; that is what counts.
    """

    calibration: Comparison
    held_out: Comparison
    measured: Measured


class GoldenAnswer(_Model):
    """What a variant itself answers to a golden image."""

    indices: tuple[int, ...]
    scores: tuple[float, ...]


class Variant(_Model):
    """One serving graph: input ``image`` uint8 [N, H, W, 3], outputs ``indices`` int64 [N, k]
    and ``scores`` float32 [N, k], best first.

    The first variant of a package is proven against the original network, the others against the
    first; these have a ``proof``, and ``golden`` answers of their own, one for each golden image.
    ``measured`` is the first one's speed, where there are others beside which it was timed; theirs
    is in the proof.
    """

    file: RelativePath
    runtime: Literal["onnx", "torch"]
    precision: Precision
    calibration: Calibration | None = None
    measured: Measured | None = None
    proof: Proof | None = None
    golden: tuple[GoldenAnswer, ...] | None = None

    @property
    def speed(self) -> Measured | None:
        """How fast it was where it was packaged, if it was timed."""
        return self.measured if self.proof is None else self.proof.measured


class GoldenImage(_Model):
    """An encoded image whose answer is known; checked before an instance reports ready."""

    file: RelativePath
    indices: tuple[int, ...]
    scores: tuple[float, ...]


class Parity(_Model):
    """How the serving graph compared with the original network on real images."""

    images: int
    batch_sizes: tuple[int, ...]
    top1_agreement: float
    max_score_difference: float
    tolerance: float


class Provenance(_Model):
    """Where the package came from: a file's name, or ``module:factory`` and its checkpoint.

    ``source_sha256`` is that of the file with the weights; of several, that of the list of their
    own, in hex, a line each.
    """

    source: str
    source_sha256: Sha256
    created: str
    tools: dict[str, str]


def _check_places(files: Iterable[str]) -> None:
    """Each has a place of its own, and none that of the manifest."""
    folders = {str(folder) for file in files for folder in PurePosixPath(file).parents}
    for file in files:
        if PurePosixPath(file).parts[0] == MANIFEST_FILE:
            raise ValueError(f"{file!r} is in the place of the manifest itself")
        if file in folders:
            raise ValueError(f"{file!r} is a file and a folder")


class Manifest(_Model):
    """``model.yaml``.

    ``accuracy_bound`` is the least top-1 agreement on held-out images that a variant is served with
    unless it is asked for by name.
    """

    schema_version: Literal[1] = 1
    name: Name
    version: int = pydantic.Field(ge=1, le=LARGEST_VERSION)
    task: Literal["image-classification"] = "image-classification"
    input: ImageInput
    output: OriginalOutput
    classes: int = pydantic.Field(ge=2, le=2**31 - 1)
    top_k: int = pydantic.Field(ge=1)
    accuracy_bound: float | None = pydantic.Field(default=None, ge=0, le=1)
    variants: tuple[Variant, ...] = pydantic.Field(min_length=1)
    golden: tuple[GoldenImage, ...] = pydantic.Field(min_length=1)
    parity: Parity
    provenance: Provenance
    files: dict[RelativePath, Sha256]

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Manifest:
        if self.top_k > self.classes:
            raise ValueError(f"top_k {self.top_k} is more than the {self.classes} classes")
        _check_places(self.files)
        named = [LABELS_FILE, *(v.file for v in self.variants), *(g.file for g in self.golden)]
        for file in named:
            if file not in self.files:
                raise ValueError(f"{file} has no sha256 under files")
        for variant in self.variants:
            if variant.golden is not None and len(variant.golden) != len(self.golden):
                raise ValueError(
                    f"{variant.file} has {len(variant.golden)} answers to {len(self.golden)} "
                    "golden images"
                )
        return self

    def golden_of(self, variant: Variant) -> tuple[GoldenImage, ...]:
        """The golden images with the answers that ``variant`` is to give."""
        if variant.golden is None:
            return self.golden
        return tuple(
            image.model_copy(update={"indices": own.indices, "scores": own.scores})
            for image, own in zip(self.golden, variant.golden, strict=True)
        )

    @property
    def proven_variants(self) -> tuple[Variant, ...]:
        """The first variant, and those that keep the accuracy bound on held-out images."""
        first, *others = self.variants
        bound = self.accuracy_bound
        return first, *(
            other
            for other in others
            if bound is not None
            and other.proof is not None
            and other.proof.held_out.top1_agreement >= bound
        )

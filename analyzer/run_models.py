"""What a user names as models, opened: variants of packages, and endpoints; each with a name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from analyzer.endpoint import EndpointModel
from analyzer.errors import AnalyzerError
from analyzer.local import LocalModel, Place
from analyzer.run_model import Model
from model_store.package import ModelPackage, Variant, load_package
from model_store.registry.location import locate
from predictor.runtimes.loading import candidates

SCHEMES = ("http://", "https://")
ALL = "all"
VARIANT = "#"  # NAME#int8: not @, which is an alias


@dataclass(frozen=True, slots=True)
class _Chosen:
    """A variant of a package, before it has a name."""

    source: str
    package: ModelPackage
    variant: Variant

    @property
    def key(self) -> str:
        return f"{self.package.digest} {self.variant.file}"


# From short to long; the first of them that tells all models apart is used.
_NAMES: tuple[Callable[[_Chosen], str], ...] = (
    lambda one: one.package.name,
    lambda one: f"{one.package.name}{VARIANT}{one.variant.precision}",
    lambda one: f"{one.package.name}/{one.package.version}",
    lambda one: f"{one.package.name}/{one.package.version}{VARIANT}{one.variant.precision}",
    lambda one: f"{one.package.name}/{one.package.version}{VARIANT}{one.variant.file}",
)


@dataclass(frozen=True, slots=True)
class Opened:
    """Models in the order in which they were named, and the champion's name if there is one."""

    models: tuple[Model, ...]
    champion: str | None


def open_models(
    references: Sequence[str],
    champion: str | None,
    variants: Sequence[str],
    store: Path,
    place: Place,
    labels: Sequence[str] = (),
    *,
    registry: str = "",
    cache: Path = Path(),
) -> Opened:
    """Open packages and endpoints.

    Args:
        references: names in the store, paths, ``models:/NAME@ALIAS`` of a registry, or addresses
            ``http://host:port/v2/models/NAME``.
            ``REFERENCE#int8`` is that variant and no other.
        champion: such a reference; one of the others or one more.
        variants: precisions or files of those that name none; ``all``; empty: the package's own.
        store: folder of packages.
        place: where packages run.
        labels: of endpoints, by class index.
        registry: tracking URI of ``models:/`` URIs; empty: as the environment has it.
        cache: folder of fetched packages.

    Raises:
        AnalyzerError, ModelStoreError, StartupError: one line that says what is not there.
    """
    chosen: list[_Chosen | EndpointModel] = []
    places: dict[str, int] = {}  # of what was named before, by what it is
    champions: list[int] = []

    def find(name: str) -> Path:
        return locate(name, store, registry, cache)

    for reference in [*references, *([champion] if champion else [])]:
        for one in _meant(reference, variants, find, place, labels):
            key = one.url if isinstance(one, EndpointModel) else one.key
            if key not in places:
                places[key] = len(chosen)
                chosen.append(one)
            elif isinstance(one, EndpointModel):
                one.close()
            if reference == champion:
                champions.append(places[key])
    if champion and len(set(champions)) != 1:
        raise AnalyzerError(
            f"{champion}: name one variant of the champion, such as {champion}#fp32"
        )
    models = _named(chosen, place)
    return Opened(models, models[champions[0]].name if champion else None)


def _meant(
    reference: str,
    variants: Sequence[str],
    find: Callable[[str], Path],
    place: Place,
    labels: Sequence[str],
) -> list[_Chosen | EndpointModel]:
    if reference.startswith(SCHEMES):
        return [EndpointModel("", reference, labels)]
    bare, mark, variant = reference.rpartition(VARIANT)
    if not mark or "/" in variant:
        bare, variant = reference, ""
    package = load_package(find(bare))
    wanted = (variant,) if variant else variants or (package.manifest.variants[0].file,)
    found: list[_Chosen | EndpointModel] = []
    for each in wanted:
        files = [one.file for one in package.manifest.variants] if each == ALL else [each]
        for file in files:
            (one,) = candidates(package.manifest, file, place.kind)[:1]
            found.append(_Chosen(reference, package, one))
    return found


def _named(chosen: Sequence[_Chosen | EndpointModel], place: Place) -> tuple[Model, ...]:
    packages = [one for one in chosen if isinstance(one, _Chosen)]
    written = next(
        (form for form in _NAMES if len({form(one) for one in packages}) == len(packages)),
        _NAMES[-1],
    )
    models: list[Model] = []
    taken: Counter[str] = Counter()
    for one in chosen:
        name = written(one) if isinstance(one, _Chosen) else f"{one.name} at {_host(one.url)}"
        taken[name] += 1
        if taken[name] > 1:
            name = f"{name} ({taken[name]})"
        if isinstance(one, _Chosen):
            models.append(LocalModel(name, one.source, one.package, one.variant, place))
        else:
            one.name = name
            models.append(one)
    return tuple(models)


def _host(url: str) -> str:
    return url.split("/")[2]

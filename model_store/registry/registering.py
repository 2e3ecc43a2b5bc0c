"""A package becomes the next version of a registered model, in the form MLflow's own tools load."""

from __future__ import annotations

import re
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_store.errors import ModelStoreError, RegistryError
from model_store.package import MANIFEST_FILE, ModelPackage, sha256_of
from model_store.registry.address import artifact_location
from model_store.registry.connection import EXPERIMENT, speaking_to
from model_store.registry.figures import figures
from model_store.registry.promotion import promote
from model_store.registry.reference import ModelReference
from model_store.registry.versions import SHA256_TAG, RegisteredVersion, Registry

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

MODEL_FOLDER = "model"  # in a run's artifacts
PACKAGE_FOLDER = "data/package"  # in that folder
# Loads a package by the server's own decoder and runtime. A name and not an import, since rooms
# import downwards; and data, since nothing is unpickled.
LOADER_MODULE = "predictor.mlflow_model"
IMAGE_COLUMN = "image"
NAME = re.compile(r"[a-z0-9]([-a-z0-9_.]{0,61}[a-z0-9])?")  # as in a package's manifest


def register(
    registry: Registry,
    package: ModelPackage,
    name: str = "",
    alias: str = "",
    tags: Mapping[str, str] | None = None,
) -> RegisteredVersion:
    """Make ``package`` the next version of the model ``name``; by default its own name.

    A version appears when all of its files are there. Where that fails, what was uploaded goes.

    Args:
        registry: the registry.
        package: what to register; its files have been verified.
        name: of the registered model.
        alias: to be moved to the version; ``champion`` remembers where it was.
        tags: beside those of its figures, such as its gate's.

    Raises:
        RegistryError: the registry refuses or does not answer; UngatedError: see ``promote``.
    """
    name = name or package.name
    check_name(name)
    told = {
        **figures(package.manifest),
        SHA256_TAG: sha256_of(package.path / MANIFEST_FILE),
        **(tags or {}),
    }
    with tempfile.TemporaryDirectory(prefix="millrace-register-") as folder:
        model = _as_mlflow_model(package, Path(folder))
        run, uri = _upload(registry, model, f"{name} from {package.name}/{package.version}")
    try:
        with speaking_to(registry.uri):
            _create_model(registry, name)
            made = registry.client.create_model_version(name, uri, run, tags=told)
    except ModelStoreError:
        _withdraw(registry, run)
        raise
    if alias:
        promote(registry, name, str(made.version), alias)
    return registry.find(ModelReference(name, version=str(made.version)))


def check_name(name: str) -> None:
    """Refuse a name that a package, and so a URL, could not have.

    Raises:
        RegistryError: it is one.
    """
    if not NAME.fullmatch(name):
        raise RegistryError(
            f"{name!r} is no model name: 1 to 63 of a-z 0-9 - _ . "
            "with a letter or digit at both ends"
        )


def _as_mlflow_model(package: ModelPackage, folder: Path) -> Path:
    """An MLflow model folder with exactly the files of the package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about type hints of MLflow's own
        import mlflow.pyfunc

    staged, model = folder / Path(PACKAGE_FOLDER).name, folder / MODEL_FOLDER
    for file in (MANIFEST_FILE, *package.manifest.files):
        (staged / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(package.path / file, staged / file)
    requirements = [f"{each}=={installed_version(each)}" for each in ("millrace", "mlflow")]
    mlflow.pyfunc.save_model(
        str(model),
        loader_module=LOADER_MODULE,
        data_path=str(staged),
        signature=signature(package.manifest.top_k),
        input_example=_example(package),
        pip_requirements=requirements,
    )
    return model


def signature(top_k: int) -> ModelSignature:
    """Encoded images in, v1's predictions out; ``top_k`` classes unless fewer are asked for."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array, Object, Property

    best = {"label": DataType.string, "index": DataType.long, "score": DataType.double}
    top = Array(Object([Property(name, kind) for name, kind in best.items()]))
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.binary, IMAGE_COLUMN)]),
        outputs=Schema(
            [*(ColSpec(kind, name) for name, kind in best.items()), ColSpec(top, "top")]
        ),
        params=ParamSchema([ParamSpec("top_k", DataType.long, top_k)]),
    )


def _example(package: ModelPackage) -> Any:
    import pandas as pd

    first = package.manifest.golden[0].file
    return pd.DataFrame({IMAGE_COLUMN: [(package.path / first).read_bytes()]})


def _upload(registry: Registry, model: Path, title: str) -> tuple[str, str]:
    """A run that holds the folder ``model``: its number, and where the folder is."""
    client = registry.client
    with speaking_to(registry.uri):
        run = client.create_run(experiment(registry), run_name=title).info
    try:
        with speaking_to(registry.uri):
            client.log_artifacts(run.run_id, str(model), MODEL_FOLDER)
            client.set_terminated(run.run_id)
    except ModelStoreError:
        _withdraw(registry, run.run_id)
        raise
    return run.run_id, f"{run.artifact_uri}/{MODEL_FOLDER}"


def experiment(registry: Registry, name: str = EXPERIMENT) -> str:
    """The number of an experiment, made where there is none yet.

    Raises:
        RegistryError: it was deleted.
    """
    from mlflow.exceptions import MlflowException

    client = registry.client
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location(registry.uri)))
        except MlflowException:
            found = client.get_experiment_by_name(name)  # somebody else was faster
    if found is None or found.lifecycle_stage != "active":
        raise RegistryError(f"the registry's experiment {name} was deleted; restore it")
    return str(found.experiment_id)


def _create_model(registry: Registry, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        registry.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _withdraw(registry: Registry, run: str) -> None:
    """Take back what was uploaded, as far as the registry lets us."""
    try:
        with speaking_to(registry.uri):
            registry.client.delete_run(run)
    except RegistryError:
        return  # the run stays and says that it did not finish

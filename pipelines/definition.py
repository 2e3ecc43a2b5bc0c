"""The pipeline: which step comes after which, what is cached, and what a step's pod is given."""

# ruff: noqa: UP006, UP035 (KFP evaluates neither texts as annotations nor list[…])
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Dict, List, NamedTuple

from kfp import dsl, kubernetes

from pipelines import components

NAME = "millrace"
MOUNT = "/mnt/millrace"  # where the volume with networks, images and datasets is
TRIES = 3  # of a rollout whose pod dies: each goes on where the last one was
# Argo counts it from the first try's start, begins no further try after it, and ends one that runs
# then: a year is longer than any rollout.
LONGEST_ROLLOUT = "31536000s"
# Of the exit handler, while the registry or the place does not answer: after 1, 2, 4, … minutes.
CONCLUDING_TRIES, LONGEST_CONCLUDING = 6, "14400s"
# What MLflow's client reads; each is needed only where the registry asks for it.
SECRET_KEYS = ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")


@dataclass(frozen=True)
class Cluster:
    """What is fixed when the pipeline is compiled.

    Limits would be the pipeline's parameters if KFP 2.17 could hand such a parameter on to steps in
    loops, conditions and exit handlers: it compiles that, to inputs that are not there.

    Attributes:
        image: of all steps.
        registry_secret: Secret with some of ``SECRET_KEYS``; it need not be there.
        volume: PersistentVolumeClaim with networks, images and datasets, mounted at ``MOUNT``.
        cpus: limit of each step.
        memory: limit of each step.
        gpus: of steps that measure.
        gpu: its resource name.
    """

    image: str = components.IMAGE
    registry_secret: str = "millrace-registry"  # noqa: S105 (a name)
    volume: str = "millrace-data"
    cpus: str = "2"
    memory: str = "4Gi"
    gpus: int = 0
    gpu: str = "nvidia.com/gpu"


def build(cluster: Cluster | None = None) -> Any:
    """The pipeline, which KFP's compiler and its local runner take.

    Args:
        cluster: None where steps are processes of this machine.
    """

    def given(
        task: dsl.PipelineTask, *, cached: bool = False, measures: bool = False
    ) -> dsl.PipelineTask:
        task.set_caching_options(enable_caching=cached)
        if cluster is not None:
            _give(task, cluster, measures)
        return task

    analyses = _analyses(given)

    @dsl.pipeline(name=NAME, display_name="Millrace: from a network to all of the traffic")
    def millrace(
        name: str,
        source: str,
        labels: str,
        parity_images: str,
        datasets: List[str],
        place: Dict[str, str],
        packaging: Dict[str, Any] = {},  # noqa: B006 (KFP's way of a default)
        gate: str = "",
        plan: str = "",
        champion: str = "",
        registry: str = "http://mlflow.mlflow.svc.cluster.local:5000",
        publish_to: str = "",
        device: str = "auto",
        robustness: bool = False,
        key: str = "",
    ) -> None:
        """A network is packaged, measured against the champion, judged, registered, and rolled out.

        Args:
            name: Name of the model in the registry, and of what serves it.
            source: ONNX file, .pt2 program, module:factory, or models:/ or runs:/ URI of MLflow.
            labels: File with one label a line; line number = class index.
            parity_images: Folder of a few real images that prove that packaging changed no answer.
            datasets: Folders, .csv or .zip files, as NAME=PATH where two have the same name.
            place: Where to roll out, such as {"service": "digits"}; docs/pipeline.md has all keys.
            packaging: More of how it is packaged: the keys of millrace package --config.
            gate: Text of gate.yaml; empty for one that asks for hardly worse than the champion.
            plan: Text of plan.yaml; empty for the plan that docs/rollout.md gives.
            champion: Compared with, as models:/NAME@ALIAS; empty for the model's own champion.
            registry: MLflow's tracking URI.
            publish_to: Folder where registered versions are laid down for pods that load from it.
            device: Where models are measured: cpu, cuda:N; auto is the first GPU, or the CPU.
            robustness: Whether they are measured with rain, blur, noise and so on as well.
            key: Name of this run in the registry; empty for KFP's own.
        """
        network = {
            "name": name,
            "source": source,
            "labels": labels,
            "parity_images": parity_images,
            "packaging": packaging,
            "registry": registry,
        }
        run = {
            "name": name,
            "registry": registry,
            "key": key,
            "job": dsl.PIPELINE_JOB_ID_PLACEHOLDER,
        }

        end = given(components.conclude(**run, place=place))
        if cluster is not None:
            end.set_retry(
                CONCLUDING_TRIES - 1,
                backoff_duration="60s",
                backoff_max_duration=LONGEST_CONCLUDING,
            )
        with dsl.ExitHandler(end, name="run"):
            pinned = given(
                components.pin(
                    **network,
                    datasets=datasets,
                    gate=gate,
                    plan=plan,
                    champion=champion,
                    place=place,
                )
            )
            # Cached: what they are made from is pinned, and a digest of it among their inputs.
            packaged = given(
                components.package(**network, source_digest=pinned.outputs["source"]), cached=True
            )
            candidate, best = packaged.outputs["model"], pinned.outputs["champion"]
            analyzed = analyses(
                model=candidate,
                champion=best,
                datasets=datasets,
                registry=registry,
                device=device,
                robustness=robustness,
                data_digest=pinned.outputs["data"],
            ).set_display_name("analyze")
            judged = given(
                components.gate(
                    **run,
                    model=candidate,
                    champion=best,
                    datasets=datasets,
                    analyses=analyzed.outputs["analyses"],
                    rules=gate,
                    device=device,
                ),
                measures=True,
            )
            with dsl.If(judged.outputs["passed"] == True, name="passed"):  # noqa: E712
                registered = given(
                    components.register(**run, model=candidate, publish_to=publish_to)
                )
                uri = registered.outputs["Output"]
                rolled = given(
                    components.rollout(
                        **run,
                        place=place,
                        uri=uri,
                        replaces=pinned.outputs["replaces"],
                        plan=plan,
                    )
                )
                if cluster is not None:
                    rolled.set_retry(
                        TRIES - 1, backoff_duration="10s", backoff_max_duration=LONGEST_ROLLOUT
                    )
                with dsl.If(rolled.outputs["promoted"] == True, name="rolled-out"):  # noqa: E712
                    given(components.promote(**run, uri=uri))
                with dsl.Else(name="taken-back"):
                    given(components.refuse(who="rollout", why=rolled.outputs["why"]))
            with dsl.Else(name="not-passed"):
                given(components.refuse(who="gate", why=judged.outputs["why"]))

    return millrace


def _analyses(given: Callable[..., dsl.PipelineTask]) -> Any:
    """All datasets side by side.

    A pipeline of its own, since KFP's local runner takes a task's output that comes into a loop
    for the loop's item.
    """

    @dsl.pipeline(name="analyses")
    def analyses(
        model: dsl.Input[dsl.Model],
        champion: str,
        datasets: List[str],
        registry: str,
        device: str,
        robustness: bool,
        data_digest: str,
    ) -> NamedTuple("Analyses", [("analyses", List[dsl.Artifact])]):  # type: ignore[valid-type]
        """The candidate and the champion on each dataset."""
        with dsl.ParallelFor(datasets, name="datasets") as dataset:
            task = components.analyze(
                model=model,
                dataset=dataset,
                champion=champion,
                registry=registry,
                device=device,
                robustness=robustness,
                data_digest=data_digest,
            )
            given(task, cached=True, measures=True)
        outputs = NamedTuple("outputs", [("analyses", List[dsl.Artifact])])  # noqa: UP014
        return outputs(dsl.Collected(task.outputs["analysis"]))

    return analyses


def _give(task: dsl.PipelineTask, cluster: Cluster, measures: bool) -> None:
    """What a step's pod gets."""
    if cluster.image != components.IMAGE:
        task.set_container_image(cluster.image)
    keys = {each: each for each in SECRET_KEYS}
    kubernetes.use_secret_as_env(task, cluster.registry_secret, keys, optional=True)
    kubernetes.mount_pvc(task, pvc_name=cluster.volume, mount_path=MOUNT)
    task.set_cpu_limit(cluster.cpus).set_memory_limit(cluster.memory)
    if measures and cluster.gpus:
        task.set_accelerator_type(cluster.gpu).set_accelerator_limit(cluster.gpus)

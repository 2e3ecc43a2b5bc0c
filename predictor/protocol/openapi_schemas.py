"""The schemas of everything a pod takes and gives, for OpenAPI."""

from __future__ import annotations

from predictor.capacity import STAGES
from predictor.counts import BATCH_DURATIONS, DURATIONS
from predictor.protocol.description import (
    BACKENDS,
    CONFIG_TYPES,
    EXTENSIONS,
    PLATFORMS,
    SERVER_NAME,
)
from predictor.protocol.openapi_bodies import (
    COUNT,
    DIGEST,
    FLAG,
    SIZE,
    TEXT,
    Json,
    at_least,
    exactly,
    list_of,
    or_null,
)
from predictor.protocol.openapi_inference import inference_schemas
from predictor.protocol.openapi_served import Served
from predictor.protocol.tensors import OUTPUT_DATATYPES
from predictor.traffic import WHOLE as WHOLE_TRAFFIC


def schemas(served: Served) -> Json:
    """All of them, by name."""
    return {
        "Error": exactly(error=TEXT),
        "Document": {"type": "object", "required": ["openapi", "info", "paths"]},
        **_pod_schemas(served),
        **_model_schemas(served),
        "Stages": _stages_schema(served),
        **inference_schemas(served),
    }


def _pod_schemas(served: Served) -> Json:
    name = {"const": served.name}
    entry = exactly(
        name=name,
        version={"enum": list(served.versions)},
        state={"enum": ["READY", "UNAVAILABLE"]},
        reason=TEXT,
    )
    percent: Json = {"type": "integer", "minimum": 0, "maximum": WHOLE_TRAFFIC}
    shares: Json = {"type": "object", "additionalProperties": percent}
    return {
        "Alive": exactly(status={"const": "alive"}),
        "ServerLive": exactly(live={"const": True}),
        "ServerReady": exactly(live={"const": True}, ready=FLAG),
        "ModelReady": exactly(name=name, ready=FLAG),
        "Models": exactly(models=list_of(name, 1, 1)),
        "Server": exactly(
            name={"const": SERVER_NAME},
            version=TEXT,
            extensions=list_of({"enum": [*EXTENSIONS, "model_repository"]}),
        ),
        "Preloaded": exactly(
            images=list_of(exactly(name=TEXT, bytes=COUNT, sha256=DIGEST)),
            count=COUNT,
            bytes=COUNT,
        ),
        "IndexRequest": at_least({}, {"ready": FLAG}),
        "Index": list_of(entry, 0, len(served.versions)),
        "LoadRequest": at_least(
            {},
            {
                "parameters": or_null(
                    at_least({}, {"version": or_null(TEXT), "traffic": or_null(percent)})
                )
            },
        ),
        "UnloadRequest": at_least(
            {}, {"parameters": or_null(at_least({}, {"version": or_null(TEXT)}))}
        ),
        "TrafficRequest": at_least({"traffic": shares}),
        "Traffic": exactly(name=name, traffic=shares),
        "Loaded": exactly(name=name, load={"const": True}),
        "Unloaded": exactly(name=name, unload={"const": True}),
    }


def _model_schemas(served: Served) -> Json:
    name, version = {"const": served.name}, {"enum": list(served.versions)}
    tensor = exactly(name=TEXT, datatype=TEXT, shape=list_of({"type": "integer"}, 2, 2))
    described = {"name": TEXT, "data_type": {"enum": list(CONFIG_TYPES.values())}}
    dimensions = list_of(SIZE, 1, 1)
    duration = exactly(count=COUNT, ns=COUNT)
    policy = exactly(
        timeout_action={"enum": ["REJECT", "DELAY"]},
        default_timeout_microseconds=COUNT,
        allow_timeout_override=FLAG,
        max_queue_size=COUNT,
    )
    batch = dict.fromkeys(BATCH_DURATIONS, duration)
    return {
        "Model": exactly(
            name=name,
            versions=list_of(version, 1, len(served.versions)),
            platform={"enum": list(PLATFORMS.values())},
            inputs=list_of(tensor, 1, 1),
            outputs=list_of(tensor, len(OUTPUT_DATATYPES), len(OUTPUT_DATATYPES)),
        ),
        "Config": exactly(
            name=name,
            platform={"enum": list(PLATFORMS.values())},
            backend={"enum": list(BACKENDS.values())},
            version_policy=exactly(
                specific=exactly(versions=list_of(SIZE, 0, len(served.versions)))
            ),
            max_batch_size={"const": served.max_images},
            input=list_of(exactly(**described, format=TEXT, dims=dimensions), 1, 1),
            output=list_of(exactly(**described, dims=dimensions)),
            instance_group=list_of(
                exactly(
                    name=TEXT,
                    kind={"enum": ["KIND_CPU", "KIND_GPU"]},
                    count=SIZE,
                    gpus=list_of(COUNT),
                )
            ),
            default_model_filename=TEXT,
            dynamic_batching=exactly(
                preferred_batch_size=list_of(SIZE),
                max_queue_delay_microseconds=COUNT,
                preserve_ordering=FLAG,
                priority_levels=SIZE,
                default_priority_level=SIZE,
                default_queue_policy=policy,
                priority_queue_policy={"type": "object", "additionalProperties": policy},
            ),
            model_transaction_policy=exactly(decoupled={"const": False}),
            parameters={"type": "object", "additionalProperties": exactly(string_value=TEXT)},
        ),
        "Statistics": exactly(
            model_stats=list_of(
                exactly(
                    name=name,
                    version=version,
                    last_inference=COUNT,
                    inference_count=COUNT,
                    execution_count=COUNT,
                    inference_stats=exactly(
                        **dict.fromkeys((*DURATIONS, "cache_hit", "cache_miss"), duration)
                    ),
                    batch_stats=list_of(exactly(batch_size=SIZE, **batch)),
                ),
                1,
                len(served.versions),
            )
        ),
    }


def _stages_schema(served: Served) -> Json:
    amount: Json = {"type": "number", "minimum": 0}
    measured = or_null(amount)  # null until something has been
    share = {"type": "number", "minimum": 0, "maximum": 1}
    stage = exactly(
        name={"enum": list(STAGES)},
        capacity=measured,
        busy_ms=measured,
        utilisation=or_null(share),
        workers=COUNT,
        worker=TEXT,
    )
    instance = exactly(
        instance=COUNT,
        device=TEXT,
        up=FLAG,
        queue=COUNT,
        busy_ratio=share,
        images_per_second=amount,
        mean_batch=measured,
        max_batch_size=or_null(SIZE),
    )
    return exactly(
        name={"const": served.name},
        version={"enum": list(served.versions)},
        window_s=amount,
        bottleneck={"enum": [*STAGES, None]},
        by_cores=FLAG,
        advice=TEXT,
        images_per_second=amount,
        capacity=measured,
        headroom=measured,
        latency_ms=exactly(p50=measured, p99=measured),
        stages=list_of(stage, len(STAGES), len(STAGES)),
        cores=exactly(count=SIZE, capacity=measured, busy_ms=measured, utilisation=or_null(share)),
        queue=exactly(slots=SIZE, taken=COUNT, coming=COUNT),
        instances=list_of(instance),
        batch_sizes={"type": "object", "additionalProperties": SIZE},
    )

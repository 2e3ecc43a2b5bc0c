"""Every knob of the predictor, in one frozen class.

The same table feeds the environment (``MILLRACE_HTTP_PORT``), the flags (``--http-port``), the
YAML file (``http_port:``), ``millrace settings`` and docs/settings.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, Self

import pydantic
import yaml
from pydantic import Field
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from model_store.errors import one_line
from predictor.errors import StartupError
from predictor.queue_policy import QueuePolicies, QueuePolicy
from predictor.types import DecodeLimits

MIB = 1024 * 1024


class Settings(BaseSettings):
    """Settings of one pod. Flags beat the environment, that beats the file, that the default."""

    model_config = SettingsConfigDict(env_prefix="MILLRACE_", frozen=True, extra="forbid")

    config: Path | None = Field(
        default=None, description="YAML file with any of these settings, by the names of this table"
    )
    store: Path = Field(
        default=Path("var/store"), description="folder of model packages that names refer to"
    )
    model_dir: Path = Field(
        default=Path("/mnt/models"),
        description="folder of the package to serve, or models:/NAME@ALIAS; KServe mounts it there",
    )
    model_name: str = Field(
        default="", description="name in URLs; empty means the package's own name"
    )
    package_sha256: str = Field(
        default="",
        pattern=r"^([0-9a-f]{64})?$",
        description="SHA-256 of the package's model.yaml, which has that of every other file: "
        "another package is refused at the start; empty: any is served",
    )
    registry: str = Field(
        default="",
        description="MLflow tracking URI of the registry that models:/ URIs refer to; empty: "
        "MLFLOW_TRACKING_URI, else sqlite:///var/mlflow.db",
    )
    cache: Path = Field(
        default=Path("var/cache"),
        description="folder of packages fetched from the registry; pods may share it",
    )
    follow: bool = Field(
        default=False,
        description="where models:/NAME@ALIAS is served: change to the version that the alias is "
        "moved to, while serving",
    )
    follow_interval_s: float = Field(
        default=2.0,
        ge=0.1,
        le=3600,
        description="how often the registry is asked where the alias points, in seconds",
    )
    host: str = Field(default="0.0.0.0", description="address to listen on")  # noqa: S104 (a pod)
    http_port: int = Field(
        default=8080, ge=0, le=65535, description="port of v1 and v2 REST; 0 picks a free one"
    )
    grpc_port: int = Field(
        default=8081, ge=0, le=65535, description="port of v2 gRPC; 0 picks a free one"
    )
    frontends: int = Field(
        default=0,
        ge=0,
        le=64,
        description="frontend processes (protocol and decode); 0: one for every four cores",
    )
    instances: int = Field(
        default=0,
        ge=0,
        le=256,
        description="instance processes (inference); 0: one for each entry of devices, and on a "
        "CPU as many single-threaded ones as keep pace with the decoders, measured at start",
    )
    devices: str = Field(
        default="auto",
        description="where instances run, in turn, separated by commas: auto (every GPU, else the "
        "CPU), cpu, cpu:THREADS, openvino, cuda:N, tensorrt:N, rocm:N, migraphx:N; N counts within "
        "what CUDA_VISIBLE_DEVICES and the like leave visible. For tests, "
        "emulated:BATCH_MS+IMAGE_MS (and +LARGEST_BATCH) sleeps instead",
    )
    variant: str = Field(
        default="auto",
        min_length=1,
        description="which of the package's variants to serve: auto (the fastest on the device at "
        "hand, measured at start, of those that keep the package's accuracy bound), a precision "
        "such as fp32, fp16 or int8, or a file of the package",
    )
    instance_threads: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="inference threads per CPU instance; 0: its share of the cores, or 1 where the "
        "number of instances is found at start",
    )
    pin_cores: bool = Field(
        default=False,
        description="tie every instance to cores of its own; for pods whose frontends have others",
    )
    instance_nice: int = Field(
        default=5,
        ge=0,
        le=19,
        description="how far CPU instances stand back for the decoders they share cores with",
    )
    decode_threads: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="decode threads per frontend; 0: found at start with the number of instances, "
        "else what CPU instances leave of the cores, and half of them at least, shared among the "
        "frontends",
    )
    max_batch_size: int = Field(
        default=0,
        ge=0,
        le=4096,
        description="most images in one batch; 0: each instance finds the smallest size that is "
        "within 5 % of its best speed, up to 64",
    )
    max_queue_delay_us: int = Field(
        default=0,
        ge=0,
        le=10_000_000,
        description="how long an unfilled batch may be held open, in microseconds",
    )
    preferred_batch_sizes: str = Field(
        default="",
        description="batch sizes, separated by commas, that max_queue_delay_us does not hold open; "
        "empty: each instance finds those within 5 % of its best speed",
    )
    preserve_ordering: bool = Field(
        default=False, description="let the answers of a frontend leave in the order of acceptance"
    )
    priority_levels: int = Field(
        default=1,
        ge=1,
        le=255,
        description="priority levels; 1 goes first. With several, a v2 request must be read before "
        "it can be refused, since it may state one",
    )
    default_priority_level: int = Field(
        default=0,
        ge=0,
        le=255,
        description="level of requests that state none, or one that does not exist; 0: the middle",
    )
    priority_step_us: int = Field(
        default=1_000_000,
        ge=0,
        le=3_600_000_000,
        description="how much longer an image may be made to wait for each level it is lower, in "
        "microseconds; what bounds it, so that nobody starves",
    )
    queue_policies: dict[int, QueuePolicy] = Field(
        default={},
        description="policy by priority level, such as "
        '{"3": {"max_queue_size": 64, "default_timeout_us": 500000, "timeout_action": "delay", '
        '"allow_timeout_override": false}}; action is reject or delay',
    )
    max_queue_size: int = Field(
        default=256,
        ge=1,
        le=65536,
        description="slots per frontend: images accepted and not yet answered; over it, 503",
    )
    request_timeout_s: float = Field(
        default=30.0,
        gt=0,
        le=3600,
        description="longest time any request may take, in seconds; clients may ask for less",
    )
    max_image_pixels: int = Field(
        default=50_000_000, ge=1, description="largest image, width times height, in pixels"
    )
    min_image_side: int = Field(
        default=2, ge=1, description="smallest width and height of an image, in pixels"
    )
    scaled_decode: bool = Field(
        default=True,
        description="decode JPEGs 2.5 times the needed size or more at a fraction of it",
    )
    preload: Path | None = Field(
        default=None,
        description="folder of images to hold in memory, on a node-local volume: jpg, png, webp, "
        "bmp, gif, and npy with uint8 pixels (H, W, 3); requests may name them instead of sending "
        "them",
    )
    preload_max_bytes: int = Field(
        default=1024 * MIB,
        ge=1,
        description="most bytes of preload's files together; a larger folder is refused at start",
    )
    max_body_bytes: int = Field(
        default=64 * MIB, ge=1, description="largest HTTP request body, in bytes"
    )
    body_timeout_s: float = Field(
        default=30.0, gt=0, le=3600, description="time a client has to send a body, in seconds"
    )
    grpc_max_message_bytes: int = Field(
        default=64 * MIB, ge=1, le=2**31 - 1, description="largest gRPC message, in bytes"
    )
    max_buffered_bytes: int = Field(
        default=512 * MIB,
        ge=1,
        description="HTTP request bodies one frontend holds at a time, in bytes; over it, 503; "
        "never less than max_body_bytes",
    )
    cors_origins: str = Field(
        default="",
        description="origins whose pages may call this pod, separated by commas, or *; empty: none",
    )
    repository_token: str = Field(
        default="",
        repr=False,
        description="bearer token that opens the repository routes (index, load, unload, traffic); "
        "empty: they are off",
    )
    request_log: Literal["off", "errors", "all"] = Field(
        default="errors", description="which inference requests get a line in the log"
    )
    otlp_endpoint: str = Field(
        default="",
        description="OTLP/HTTP collector that gets a trace of every inference request, such as "
        "http://collector:4318; empty: nothing is traced",
    )
    keep_alive_s: int = Field(
        default=65,
        ge=1,
        le=3600,
        description="how long an idle HTTP connection is kept, in seconds",
    )
    startup_timeout_s: float = Field(
        default=120.0,
        gt=0,
        le=3600,
        description="time an instance has to load, warm up and pass its golden check, in seconds",
    )
    hang_timeout_s: float = Field(
        default=10.0,
        ge=1,
        le=3600,
        description="a process that gives no sign of life for so many seconds is killed and "
        "replaced; as is an instance whose batch takes that much longer than it should",
    )
    longest_backoff_s: float = Field(
        default=30.0,
        ge=0,
        le=3600,
        description="longest wait before a process that keeps dying is started again, in seconds",
    )
    drain_delay_s: float = Field(
        default=1.0,
        ge=0,
        le=600,
        description="time between SIGTERM and closing the ports, for endpoints to be withdrawn",
    )
    drain_timeout_s: float = Field(
        default=30.0, gt=0, le=3600, description="time accepted requests have to finish at a stop"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severe message that is logged"
    )

    @classmethod
    def settings_customise_sources(  # noqa: D102 (pydantic-settings documents it)
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = init_settings().get("config") or env_settings().get("config")
        if file is None:
            return init_settings, env_settings
        if not Path(file).is_file():
            raise StartupError(f"config: {file}: no such file")
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls, yaml_file=file)

    @pydantic.field_validator("devices")
    @classmethod
    def _names_a_device(cls, devices: str) -> str:
        if not devices.strip(" ,"):
            raise ValueError("at least one device, such as cpu or cuda:0")
        return devices

    @pydantic.field_validator("repository_token")
    @classmethod
    def _fits_a_header(cls, token: str) -> str:
        token = token.strip()  # a Secret made by echo ends in a newline
        if not (token.isascii() and token.isprintable()):
            raise ValueError("a token is of printable ASCII characters")
        return token

    @pydantic.field_validator("preferred_batch_sizes")
    @classmethod
    def _are_sizes(cls, sizes: str) -> str:
        if not all(size.strip().isdigit() and int(size) > 0 for size in sizes.split(",") if sizes):
            raise ValueError("whole numbers separated by commas, such as 4,8")
        return sizes

    @pydantic.field_validator("queue_policies", mode="before")
    @classmethod
    def _are_json(cls, policies: object) -> object:
        return json.loads(policies) if isinstance(policies, str) else policies

    @pydantic.model_validator(mode="after")
    def _have_levels(self) -> Self:
        for level in (*self.queue_policies, self.default_priority_level):
            if level > self.priority_levels:
                raise ValueError(
                    f"there is no level {level}: priority_levels is {self.priority_levels}"
                )
        return self

    @property
    def preferred_sizes(self) -> tuple[int, ...]:
        """``preferred_batch_sizes``, taken apart."""
        return tuple(int(size) for size in self.preferred_batch_sizes.split(",") if size.strip())

    @property
    def queueing(self) -> QueuePolicies:
        """Priority levels and their policies, as the request path takes them."""
        return QueuePolicies(
            self.priority_levels,
            self.default_priority_level,
            self.priority_step_us,
            self.queue_policies,
            int(self.request_timeout_s * 1e6),
            self.max_queue_size,
        )

    @property
    def decode_limits(self) -> DecodeLimits:
        """The bounds on an image, as the decoder takes them."""
        return DecodeLimits(max_pixels=self.max_image_pixels, min_side=self.min_image_side)

    @property
    def device_list(self) -> tuple[str, ...]:
        """``devices``, taken apart."""
        return tuple(device.strip() for device in self.devices.split(",") if device.strip())


def read_settings(**flags: Any) -> Settings:
    """Settings from flags (those that are not None), environment, file and defaults.

    Raises:
        StartupError: one line that names the setting, what it was given and what it takes.
    """
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except (yaml.YAMLError, TypeError, ValueError) as error:
        if not isinstance(error, pydantic.ValidationError):
            reason = one_line(error)
            raise StartupError(f"config: {flags.get('config')}: not readable: {reason}") from error
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        field = Settings.model_fields.get(name)
        # What an unknown setting was given may be a secret under a mistyped name.
        given = f" = {first.get('input')!r}" if field is not None and field.repr else ""
        raise StartupError(f"setting {name}{given}: {first['msg']}") from None

"""The pod of the talk and of the fleet: one accelerator, and cores that decode for it."""

from __future__ import annotations

from dataclasses import dataclass

from study.device import Device
from study.pod import Pod

# Where they were measured: docs/study.md.
CORES = 8
DECODE_S = 0.0042
DECODE_SPREAD = (
    0.3  # of its logarithm: two thirds of the images within a third of the mean (assumed)
)
LOOP_S = 0.00035
HANDLING_S = 0.0013
MESSAGE_S = 0.0006
NETWORK_S = 0.0005
SLOTS = 256
TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class PodShape:
    """One instance on an accelerator, one frontend, and requests of one JPEG.

    Attributes:
        device: the accelerator.
        cores: of the pod; one is the event loop's, the others decode.
        decode_s: of one image on one of them.
        loop_s: of one request, HTTP and dispatch.
        handling_s: of a batch, besides running it.
        message_s: between frontend and instance, one way.
        slots: images that the frontend has room for.
        timeout_s: that clients have; what cannot be in time is refused.
    """

    device: Device
    cores: int = CORES
    decode_s: float = DECODE_S
    loop_s: float = LOOP_S
    handling_s: float = HANDLING_S
    message_s: float = MESSAGE_S
    slots: int = SLOTS
    timeout_s: float = TIMEOUT_S

    @property
    def pod(self) -> Pod:
        """As the simulator takes it."""
        return Pod(
            (self.device.cost,),
            timeout_us=round(self.timeout_s * 1e6),
            admits=True,
            slots=self.slots,
            decode_threads=max(1, self.cores - 1),
            loop_ns=round(self.loop_s * 1e9),
            handling_ns=round(self.handling_s * 1e9),
            message_ns=round(self.message_s * 1e9),
        )

    @property
    def why_nothing(self) -> str:
        """What to say where it answers nothing."""
        return (
            f"such a pod answers nothing within {self.timeout_s:g} s: it takes "
            f"{self.decode_s:g} s to decode an image and {self.device.cost.seconds(1):.3g} s for a "
            "batch of one; give it less to do, or clients a longer timeout"
        )

    @property
    def bottleneck(self) -> str:
        """The stage of the least capacity, and so what limits this pod."""
        return min(self.capacities, key=lambda stage: self.capacities[stage])

    @property
    def capacities(self) -> dict[str, float]:
        """Images a second by stage, as docs/architecture.md counts them."""
        device = self.device
        return {
            "receive": 1 / self.loop_s if self.loop_s else float("inf"),
            "decode": max(1, self.cores - 1) / self.decode_s if self.decode_s else float("inf"),
            "infer": device.batch / (device.cost.seconds(device.batch) + self.handling_s),
        }

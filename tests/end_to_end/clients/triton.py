"""One conversation by one of tritonclient's four clients, as JSON on stdout.

A process of its own: tritonclient and kserve register the same protobuf names and cannot be
imported together. Every client is asked the same and its answers are put in one form, so that one
expectation holds for all four:

    python triton.py http|http.aio|grpc|grpc.aio URL infer FOLDER_OF_IMAGES
    python triton.py http|http.aio|grpc|grpc.aio URL repository FOLDER_OF_IMAGES TOKEN
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import queue
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from tritonclient.utils import InferenceServerException

COLOURS = ("red", "green", "blue")
MODEL = "colours"
LONG_NAME = "nobody" * 60
WAIT_S = 30
DURATIONS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")


class Client:
    """One of the four; what it is told comes back as plain values."""

    def __init__(self, kind: str, url: str, folder: Path) -> None:
        self.kind = kind
        self.grpc = kind.startswith("grpc")
        self.url = url
        self.module = importlib.import_module(f"tritonclient.{kind}")
        options = {"concurrency": 4} if kind == "http" else {}
        self.triton = self.module.InferenceServerClient(url, **options)
        self.images = {colour: (folder / f"{colour}.jpg").read_bytes() for colour in COLOURS}

    async def __call__(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Call a method of the client, whether it blocks or is awaited."""
        answer = getattr(self.triton, method)(*arguments, **options)
        return await answer if inspect.isawaitable(answer) else answer

    async def described(self, method: str, *arguments: Any, **options: Any) -> Any:
        """What a method that describes something says, as JSON over either protocol."""
        as_json = {"as_json": True} if self.grpc else {}
        return await self(method, *arguments, **options, **as_json)

    async def infer(self, *inputs: Any, model: str = MODEL, **options: Any) -> dict[str, Any]:
        """Classify; see ``told``."""
        return self.told(await self("infer", model, list(inputs), **options))

    async def labels(self, *inputs: Any, **options: Any) -> list[str]:
        """Classify; the best label of every image."""
        return best(await self.infer(*inputs, **options))

    async def refusal(self, method: str, *arguments: Any, **options: Any) -> dict[str, Any]:
        """The status and text of a call that is refused."""
        try:
            answer = await self(method, *arguments, **options)
        except InferenceServerException as error:
            return {"status": error.status().removeprefix("StatusCode."), "text": error.message()}
        return {"status": "OK", "text": repr(answer)}

    def jpegs(self, *images: bytes, shape: tuple[int, ...] | None = None) -> Any:
        """A BYTES input of encoded images."""
        array = np.array(images, object)
        return self.tensor(array if shape is None else array.reshape(shape), "BYTES")

    def tensor(self, values: np.ndarray[Any, Any], datatype: str) -> Any:
        """The input, in binary where there is a choice."""
        tensor = self.module.InferInput("image", list(values.shape), datatype)
        tensor.set_data_from_numpy(values)
        return tensor

    def output(self, name: str, class_count: int = 0) -> Any:
        """An output to ask for."""
        return self.module.InferRequestedOutput(name, class_count=class_count)

    def told(self, result: Any) -> dict[str, Any]:
        """An inference's result: ids, and every output with its type and rows, in their order."""
        response = result.get_response()
        if self.grpc:
            names = {output.name: output.datatype for output in response.outputs}
            ids = (response.id, response.model_name, response.model_version)
        else:
            names = {output["name"]: output["datatype"] for output in response["outputs"]}
            ids = (response["id"], response["model_name"], response["model_version"])
        outputs = {name: rows(result.as_numpy(name)) for name in names}
        return {"ids": ids, "datatypes": names, "outputs": outputs}


def rows(array: np.ndarray[Any, Any]) -> list[list[Any]]:
    """(N, k) of numbers or bytes → lists of numbers or text."""
    return [
        [value.decode() if isinstance(value, bytes) else value for value in row]
        for row in array.tolist()
    ]


def best(told: dict[str, Any]) -> list[str]:
    """The first label of every image."""
    return [row[0] for row in told["outputs"]["labels"]]


# What is asked of every client


async def statistics(client: Client) -> Any:
    """How much the numbers move by four images in two requests, and one that is no image."""
    three = client.jpegs(*client.images.values())
    before = await counts(client)
    await client.infer(three)
    await client.infer(client.jpegs(client.images["red"]))
    await client.refusal("infer", MODEL, [client.jpegs(b"no image")])
    deadline = time.monotonic() + WAIT_S
    # Requests and batches are counted once their answers are on their way.
    while time.monotonic() < deadline:
        after = await counts(client)
        moved = {name: count - before[name] for name, count in after.items()}
        if moved["inference_count"] >= 4 and moved["success"] >= 2 and moved["fail"] >= 1:
            break
    return moved


async def counts(client: Client) -> dict[str, int]:
    """The model's counts now, of requests, images and batches."""
    said = await client.described("get_inference_statistics", MODEL, "1")
    (model,) = said["model_stats"]
    found = {name: model["inference_stats"][name].get("count", 0) for name in DURATIONS}
    found["inference_count"] = model.get("inference_count", 0)
    found["images in batches"] = sum(
        int(batch["batch_size"]) * int(batch["compute_infer"]["count"])
        for batch in model.get("batch_stats", [])
    )
    return {name: int(count) for name, count in found.items()}


async def health(client: Client) -> Any:
    """Live, ready, model ready, version ready."""
    return [
        await client("is_server_live"),
        await client("is_server_ready"),
        await client("is_model_ready", MODEL),
        await client("is_model_ready", MODEL, "1"),
    ]


async def unknown_version_ready(client: Client) -> Any:
    """Over HTTP tritonclient says no; over gRPC it raises."""
    return await client.refusal("is_model_ready", MODEL, "9")


async def server_metadata(client: Client) -> Any:
    """As it comes."""
    return await client.described("get_server_metadata")


async def model_metadata(client: Client) -> Any:
    """Names, types and shapes."""
    said = await client.described("get_model_metadata", MODEL, "1")
    tensors = [*said["inputs"], *said["outputs"]]
    shapes = [[t["name"], t["datatype"], [int(n) for n in t["shape"]]] for t in tensors]
    return {"name": said["name"], "versions": said["versions"], "tensors": shapes}


async def model_config(client: Client) -> Any:
    """What clients size their requests by."""
    said = await client.described("get_model_config", MODEL, "1")
    config = said["config"] if client.grpc else said
    tensors = [*config["input"], *config["output"]]
    shapes = [[t["name"], t["data_type"], [int(n) for n in t["dims"]]] for t in tensors]
    return {
        "name": config["name"],
        "batches": config["max_batch_size"] > 0 and "dynamic_batching" in config,
        "tensors": shapes,
    }


async def encoded_images(client: Client) -> Any:
    """BYTES [N] and [N,1]."""
    images = client.images.values()
    return [
        await client.infer(client.jpegs(*images, shape=shape), model_version="1")
        for shape in ((3,), (3, 1))
    ]


async def pixels(client: Client) -> Any:
    """UINT8 and FP32 [N,H,W,3], green and blue."""
    values = np.zeros((2, 20, 30, 3), np.uint8)
    values[0, :, :, 1] = values[1, :, :, 2] = 255
    return [
        await client.labels(client.tensor(values, "UINT8")),
        await client.labels(client.tensor(values.astype(np.float32), "FP32")),
    ]


async def chosen_outputs(client: Client) -> Any:
    """A subset, in another order than the server's own."""
    wanted = [client.output("labels"), client.output("indices")]
    said = await client.infer(client.jpegs(client.images["blue"]), outputs=wanted)
    return said["outputs"]


async def classification(client: Client) -> Any:
    """Two classes, and more than there are."""
    image = client.jpegs(client.images["blue"])
    two = await client.infer(image, outputs=[client.output("scores", class_count=2)])
    many = await client.infer(image, outputs=[client.output("labels", class_count=9)])
    return [two["outputs"]["scores"], many["outputs"]["labels"]]


async def ids(client: Client) -> Any:
    """One that is given, and one that is not."""
    image = client.jpegs(client.images["red"])
    given = await client.infer(image, request_id="forty-two")
    generated = await client.infer(image)
    return [given["ids"], generated["ids"][0]]


async def priority(client: Client) -> Any:
    """The highest and a low one."""
    image = client.jpegs(client.images["green"])
    return [await client.labels(image, priority=level) for level in (1, 200)]


async def ample_timeout(client: Client) -> Any:
    """Half a minute, in microseconds."""
    return await client.labels(client.jpegs(client.images["green"]), timeout=WAIT_S * 1_000_000)


async def hopeless_timeout(client: Client) -> Any:
    """A single microsecond."""
    image = client.jpegs(client.images["green"])
    return await client.refusal("infer", MODEL, [image], timeout=1)


async def parameters(client: Client) -> Any:
    """One that the server knows among others of every type."""
    given = {"top_k": 2, "text": "x", "flag": True, "number": 1.5}
    said = await client.infer(client.jpegs(client.images["red"]), parameters=given)
    return said["outputs"]["indices"]


async def compression(client: Client) -> Any:
    """Of the request, and over HTTP of the response, which is long enough to gain by it."""
    said = []
    images = client.jpegs(*client.images.values())
    for algorithm in ("gzip", "deflate"):
        options = {"compression_algorithm": algorithm}
        if not client.grpc:
            options = {
                "request_compression_algorithm": algorithm,
                "response_compression_algorithm": algorithm,
            }
        said.append(await client.labels(images, **options))
    return said


async def several_at_once(client: Client) -> Any:
    """The asynchronous form of each client; answers in the order of the requests."""
    inputs = [[client.jpegs(client.images[colour])] for colour in COLOURS]
    if client.kind.endswith("aio"):
        results = await asyncio.gather(*[client.triton.infer(MODEL, one) for one in inputs])
    elif client.grpc:
        results = called_back(client, inputs)
    else:
        under_way = [client.triton.async_infer(MODEL, one) for one in inputs]
        results = [one.get_result(timeout=WAIT_S) for one in under_way]
    return [best(client.told(result)) for result in results]


def called_back(client: Client, inputs: list[Any]) -> list[Any]:
    """Results by callback, put in order by their ids."""
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()

    def callback(result: Any, error: Any) -> None:
        answers.put((result, error))

    for number, one in enumerate(inputs):
        client.triton.async_infer(MODEL, one, callback, request_id=str(number))
    results = []
    for _ in inputs:
        result, error = answers.get(timeout=WAIT_S)
        if error is not None:
            raise error
        results.append(result)
    return sorted(results, key=lambda result: int(result.get_response().id))


async def refusals(client: Client) -> Any:
    """Of what does not exist, and of one bad image among good ones."""
    image = client.jpegs(client.images["red"])
    mixed = client.jpegs(client.images["red"], b"no image")
    return {
        "model": await client.refusal("infer", "nobody", [image]),
        "long name": await client.refusal("infer", LONG_NAME, [image]),
        "version": await client.refusal("infer", MODEL, [image], model_version="9"),
        "output": await client.refusal("infer", MODEL, [image], outputs=[client.output("nobody")]),
        "image": await client.refusal("infer", MODEL, [mixed]),
        "metadata": await client.refusal("get_model_metadata", "nobody"),
        "config": await client.refusal("get_model_config", "nobody"),
        "statistics": await client.refusal("get_inference_statistics", "nobody"),
    }


async def shared_memory(client: Client) -> Any:
    """An input that lies there, and an output that is to be put there."""
    elsewhere = client.module.InferInput("image", [1], "BYTES")
    elsewhere.set_shared_memory("region", 64)
    output = client.module.InferRequestedOutput("scores")
    output.set_shared_memory("region", 64)
    image = client.jpegs(client.images["red"])
    return [
        await client.refusal("infer", MODEL, [elsewhere]),
        await client.refusal("infer", MODEL, [image], outputs=[output]),
    ]


async def body_by_hand(client: Client) -> Any:
    """A body that tritonclient makes and reads and somebody else carries; only HTTP has that."""
    if client.grpc:
        return None
    triton = client.module.InferenceServerClient
    body, header_length = triton.generate_request_body(
        [client.jpegs(client.images["green"])], request_id="by hand"
    )
    headers = {"Inference-Header-Content-Length": str(header_length)}
    async with httpx.AsyncClient() as carrier:
        url = f"http://{client.url}/v2/models/{MODEL}/infer"
        answer = await carrier.post(url, content=body, headers=headers)
    length = answer.headers["Inference-Header-Content-Length"]
    result = triton.parse_response_body(answer.content, header_length=int(length))
    said = client.told(result)
    return [said["ids"][0], best(said)]


async def closed_repository(client: Client) -> Any:
    """Where nobody set a token."""
    return [
        (await client.refusal("get_model_repository_index"))["status"],
        (await client.refusal("load_model", MODEL))["status"],
        (await client.refusal("unload_model", MODEL))["status"],
    ]


# What is asked where the repository is open


async def repository(client: Client, token: str) -> Any:
    """Without the token, with a wrong one, and a whole turn: unload, load."""
    shown = {"headers": {"authorization": f"Bearer {token}"}}
    wrong = {"headers": {"authorization": "Bearer x" + token}}
    image = client.jpegs(client.images["red"])
    said: dict[str, Any] = {
        "refused": [
            (await client.refusal("get_model_repository_index"))["status"],
            (await client.refusal("unload_model", MODEL))["status"],
            (await client.refusal("unload_model", MODEL, **wrong))["status"],
            (await client.refusal("load_model", MODEL, **wrong))["status"],
        ],
        "unknown": (await client.refusal("unload_model", "nobody", **shown))["status"],
        "before": [await index(client, shown), await client("is_model_ready", MODEL)],
    }
    await client("unload_model", MODEL, **shown)
    said["unloaded"] = [await index(client, shown), await client("is_model_ready", MODEL)]
    said["infer"] = (await client.refusal("infer", MODEL, [image]))["status"]
    await client("load_model", MODEL, **shown)
    said["loaded"] = [await index(client, shown), await client("is_model_ready", MODEL)]
    said["labels"] = await client.labels(image)
    return said


async def index(client: Client, shown: dict[str, Any]) -> Any:
    """Names, versions and states of the repository."""
    said = await client.described("get_model_repository_index", **shown)
    models = said.get("models", []) if client.grpc else said
    return [[model["name"], model["version"], model["state"]] for model in models]


INFER = (
    statistics,  # first, while nothing that was asked before is still being counted
    health,
    unknown_version_ready,
    server_metadata,
    model_metadata,
    model_config,
    encoded_images,
    pixels,
    chosen_outputs,
    classification,
    ids,
    priority,
    ample_timeout,
    hopeless_timeout,
    parameters,
    compression,
    several_at_once,
    refusals,
    shared_memory,
    body_by_hand,
    closed_repository,
)


async def converse(kind: str, url: str, topic: str, folder: str, *token: str) -> dict[str, Any]:
    """Every answer by its question's name; a question that fails costs no other its answer."""
    client = Client(kind, url, Path(folder))
    said = {}
    for question in INFER if topic == "infer" else (repository,):
        try:
            said[question.__name__] = await question(client, *token)
        except Exception:  # noqa: BLE001 (the test that expects the answer shows it)
            said[question.__name__] = {"failed": traceback.format_exc()}
    await client("close")
    return said


if __name__ == "__main__":
    print(json.dumps(asyncio.run(converse(*sys.argv[1:]))))

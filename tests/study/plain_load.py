"""A closed loop of threads, for tests: it knows nothing of the load client."""

from __future__ import annotations

import http.client
import json
import threading
import time
from urllib.parse import urlsplit

from study.load import Ask, Loaded, pictures


def plain_load(ask: Ask) -> Loaded:
    """As ``study.load.Load``."""
    pixels = pictures(ask.size)[: ask.images].tobytes()
    tensor = {
        "name": "image",
        "shape": [ask.images, *ask.size, 3],
        "datatype": "UINT8",
        "parameters": {"binary_data_size": len(pixels)},
    }
    wanted = [{"name": name} for name in ("indices", "scores")]
    head = json.dumps({"inputs": [tensor], "outputs": wanted}).encode()
    headers = {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(head)),
    }
    since = time.perf_counter() + ask.warm_up_s
    until = since + ask.seconds
    latencies: list[float] = []
    failed: list[int] = []

    def client() -> None:
        connection = http.client.HTTPConnection(urlsplit(ask.endpoint).netloc, timeout=30)
        while (began := time.perf_counter()) < until:
            connection.request("POST", f"/v2/models/{ask.model}/infer", head + pixels, headers)
            answer = connection.getresponse()
            answer.read()
            ended = time.perf_counter()
            if since <= ended < until:
                (latencies if answer.status == 200 else failed).append(ended - began)
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(ask.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    latencies.sort()
    count = len(latencies)
    return Loaded(
        ask.images * count / ask.seconds,
        len(failed),
        sum(latencies) / count,
        latencies[count // 2],
        latencies[int(0.99 * (count - 1))],
    )

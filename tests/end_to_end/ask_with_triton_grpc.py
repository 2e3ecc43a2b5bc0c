"""One conversation by tritonclient's gRPC client, as JSON on stdout.

A process of its own: tritonclient and kserve register the same protobuf names and cannot be
imported together.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton

url, model, image = sys.argv[1:]
client = triton.InferenceServerClient(url)
tensor = triton.InferInput("image", [1], "BYTES")
tensor.set_data_from_numpy(np.array([Path(image).read_bytes()], object))
answer = client.infer(model, [tensor], request_id="seven")
refusal = ""
try:
    client.infer("nobody", [tensor])
except triton.InferenceServerException as error:
    refusal = str(error)
print(
    json.dumps(
        {
            "id": answer.get_response().id,
            "label": answer.as_numpy("labels")[0, 0].decode(),
            "server_ready": client.is_server_ready(),
            "model_ready": client.is_model_ready(model, "1"),
            "input_shape": list(client.get_model_metadata(model).inputs[0].shape),
            "refusal": refusal,
        }
    )
)

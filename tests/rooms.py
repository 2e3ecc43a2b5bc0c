"""The rooms of the product: its top-level packages."""

ROOMS = (
    "analyzer",
    "loadgen",
    "millrace",
    "model_store",
    "pipelines",
    "predictor",
    "rollout",
    "study",
)

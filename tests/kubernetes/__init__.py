"""A Kubernetes API server in this process, with KServe's controller and a gateway, for tests."""

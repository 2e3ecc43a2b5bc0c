"""The Kubeflow pipeline: package, analyze, gate, register, roll out, promote."""

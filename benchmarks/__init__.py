"""Millrace against the bare loop and against stock KServe, on one machine in one run."""

"""Millrace in use: the demo, from training a network to stopping its server."""

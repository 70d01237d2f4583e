"""Fakes for tests and benchmarks: a Kubernetes API server over HTTP, and runners in memory.

They pass the same contract tests as what they stand for. May import `trainer.agent`; no shipped
code imports them.
"""

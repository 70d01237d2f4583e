"""The runner for Kubernetes: one batch/v1 Job per run, and its end kept in the Job's annotations.

``manifest`` writes a Job and ``reading`` reads one, both pure; ``api`` is the border to the API
server, ``template`` what a platform engineer decides about the pods, ``lease`` and ``watch`` what
replicas and the impatient need; ``fake_server`` plays an API server for tests and measurements.
"""

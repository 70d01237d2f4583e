"""The runner for Kubernetes: one batch/v1 Job per run, and its end kept in the Job's annotations.

`cluster` makes the parts from the settings; `manifest` writes a Job and `reading` reads one, both
pure; `api` sends the requests; `template` is what a platform engineer decides about the pods;
`lease` elects a leader and `watch` wakes the agent. Only this package imports the client.
"""

"""The on-prem agent: finds new surveys, seals snapshots, starts training runs and reports them.

`core` decides and is pure; `controller` observes, acts and waits; `adapters` reach S3, SQS and
EventBridge; `runners` start training; `service` wires all of it. The agent only makes outgoing
calls. It may import `aws`, `events` and what `trainer.training` says of a job and its outcome.
"""

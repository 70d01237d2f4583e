"""The AWS layer: what the cloud side and the on-prem side both need of S3 and EventBridge.

Small typed classes over a client that is handed in; `clients` makes those of the on-prem side. May
import `events` and, where a client exists already, botocore's errors; the container that serves
models does not need this layer.
"""

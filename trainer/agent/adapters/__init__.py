"""The agent's view of AWS: surveys, artifacts, the queue of S3's events and the event bus.

One class per store or service, with its client handed in; each translates the client's errors. May
import `aws`, `events` and the agent's core.
"""

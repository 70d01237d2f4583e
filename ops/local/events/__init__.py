"""EventBridge: its API, patterns, schedules, delivery to targets, and S3's events.

Everything between "something happened" and "a target was handed the event" may come in. It imports
`gateway` and the modules at the top; targets in other rooms are handed in.
"""

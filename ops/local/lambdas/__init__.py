"""Lambda: its API, and functions that run as processes of AWS's real runtime client.

What happens to a function or to its invocations may come in. It imports `events`, `gateway` and the
modules at the top.
"""

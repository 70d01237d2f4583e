"""The release logic: pure decisions over data.

No client, clock or environment comes in here; time is a parameter. Imports `events` only.
"""

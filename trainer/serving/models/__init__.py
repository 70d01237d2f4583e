"""Which model answers: one or many, loaded, checked and run in micro-batches.

What comes in is HTTP requests as plain values, what goes out is responses. It imports ``formats``
and below, and never ``http``.
"""

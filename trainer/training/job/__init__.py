"""One training run, from a sealed snapshot to a claimed release, and the pipeline inside it.

Whatever orders stages, moves files between buckets and a run, or decides how a process ends
belongs here; it may import every other room of the training except ``tuning``.
"""

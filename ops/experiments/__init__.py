"""The trainer's code on an operator's machine: train, evaluate, audit, serve, and tune.

Returns results and prints none of them; long searches show their progress on standard error.
Imports `trainer` and, to tune on a site's surveys, `ops.account`.
"""

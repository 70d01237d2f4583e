"""For developers: benchmarks, the load that they send, fakes, and the compilation of locks.

Not part of the operator's commands. May import everything else; nothing but tests imports it.
"""

"""The command line `rssi`: a file for each group of commands, each a few lines over a use case.

Options, streams and JSON are shared in `options` and `output`; errors end in `main`. Modules that
are slow to import are imported by the command that needs them, so that `--help` comes at once.
Imports `ops.account`, `ops.experiments`, `ops.demo` and `ops.local_stack`.
"""

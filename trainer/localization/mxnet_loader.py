"""The only import of MXNet, which needs six names that numpy dropped.

MXNet 1.9.1 is retired; its last wheel uses ``np.bool`` and friends, which numpy 1.24 removed. A
thread pool larger than the number of cores is slow, and a fork after the import hangs. The
process's entry point sets ``OMP_NUM_THREADS=1`` before it calls :func:`load_mxnet`.
"""

import os
import warnings
from types import ModuleType

import numpy as np

_DROPPED_BY_NUMPY = {
    "bool": bool,
    "int": int,
    "float": float,
    "complex": complex,
    "object": object,
    "str": str,
}


def load_mxnet() -> ModuleType:
    """Import MXNet; about a second the first time, nothing afterwards."""
    for name, builtin in _DROPPED_BY_NUMPY.items():
        setattr(np, name, builtin)
    # Independent graphs run on threads, each with working memory of its own.
    threads = str(min(os.cpu_count() or 1, 4))
    os.environ.setdefault("MXNET_CPU_WORKER_NTHREADS", threads)
    os.environ.setdefault("MXNET_EXEC_NUM_TEMP", threads)
    # Otherwise each bound graph writes a line about its backend to stderr.
    os.environ.setdefault("MXNET_SUBGRAPH_VERBOSE", "0")
    # Forward and backward passes go to MXNet's engine whole; by default in pieces of 15 nodes.
    os.environ.setdefault("MXNET_EXEC_BULK_EXEC_MAX_NODE_TRAIN", "100")
    with warnings.catch_warnings():
        # About numpy's financial functions and distutils, neither of which is used.
        warnings.simplefilter("ignore")
        import mxnet  # noqa: PLC0415 - only training may pay for it
    module: ModuleType = mxnet
    return module

"""``python -m trainer.training.job.worker``: a training process as one of several workers.

Nothing imports this module: a module that runs as ``__main__`` exists a second time under its own
name, and the fit would not see the worker group that the first one joined.
"""

import os
import sys

from pydantic import ValidationError

from trainer import logs
from trainer.training.fitting.distributed import WorkerGroupSettings, join_worker_group
from trainer.training.job import process
from trainer.training.job.outcome import ExitCode


def main() -> int:
    """Train as one of several workers and return the exit code."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        settings = WorkerGroupSettings()
    except ValidationError as error:
        logs.configure().error("the environment describes no worker", reason=str(error))
        return ExitCode.MISCONFIGURED
    try:
        with join_worker_group(settings):
            return process.main()
    except TimeoutError as error:
        logs.configure().error("the workers did not meet", reason=str(error))
        return ExitCode.TRY_AGAIN


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # As in trainer.training: nothing is left to do but to tear MXNet down.
    os._exit(code)

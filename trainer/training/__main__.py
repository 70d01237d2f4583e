"""``python -m trainer.training``: what a Kubernetes Job's pod, or the process runner, runs."""

import os
import sys

from trainer.training.job.process import main

if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # Tearing MXNet and Polars down takes 0.3 s, and all results are in the bucket by now.
    os._exit(code)

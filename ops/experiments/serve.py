"""Serves a bundle on this machine, as the SageMaker container does."""

from pathlib import Path

from ops.errors import UsageError
from ops.experiments.inputs import check_exists, trainer_errors

LOOPBACK = "127.0.0.1"


def serve_bundle(model: Path, port: int, workers: int) -> None:
    """Serve until Ctrl-C; the logs go to standard output as in the container.

    Raises:
        OpsError: the bundle can't be served, or the port is taken.
    """
    from trainer.localization.bundle.reading import load_bundle
    from trainer.serving.http.server import run
    from trainer.serving.settings import ServingSettings

    with trainer_errors():
        check_exists(model)
        # The container would answer 503 with the reason; here the command fails at once.
        load_bundle(model)
    try:
        run(ServingSettings(model, LOOPBACK, port, workers))
    except OSError as error:
        raise UsageError(
            f"Nothing can listen on port {port} of this machine ({error.strerror}): "
            "choose another with --port, or --port 0 for a free one."
        ) from error

"""``python -m trainer.agent``: reads the settings, wires the parts, works until SIGTERM.

Exit codes: 0 after SIGTERM or SIGINT, 78 (``EX_CONFIG``) when the settings can't be used, 1 else.
"""

import os
import signal
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from types import FrameType

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import ValidationError
from structlog.typing import FilteringBoundLogger

from events.stack import Stack
from trainer import clients, logs
from trainer.agent.agent import Agent
from trainer.agent.borders.artifacts import Artifacts
from trainer.agent.borders.bus import Bus
from trainer.agent.borders.queue import Queue
from trainer.agent.borders.surveys import Surveys
from trainer.agent.errors import AgentError, BorderError, ConfigurationError
from trainer.agent.mailbox import Mailbox
from trainer.agent.poller import Poller
from trainer.agent.runners.process import ProcessRunner
from trainer.agent.settings import AgentSettings
from trainer.s3 import Bucket

_EX_CONFIG = 78
_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR")
"""What a training process gets of the agent's environment, besides ``AWS_*``."""


def main() -> int:
    """Run the agent until it is told to stop and return its exit code."""
    log = logs.configure()
    stop, mailbox = Event(), Mailbox()
    _stop_on_signals(stop, mailbox)
    try:
        agent = _build(AgentSettings(), os.environ, mailbox, stop, log)
    except (ValidationError, ConfigurationError) as error:
        log.error("the settings can't be used", reason=str(error))  # noqa: TRY400
        return _EX_CONFIG
    except AgentError as error:
        log.error("the agent can't start", reason=str(error))  # noqa: TRY400
        return 1
    log.info("ready")
    agent.run(stop)
    log.info("stopped")
    return 0


def _stop_on_signals(stop: Event, mailbox: Mailbox) -> None:
    def stop_now(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        mailbox.nudge()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop_now)


def _build(
    settings: AgentSettings,
    environment: Mapping[str, str],
    mailbox: Mailbox,
    stop: Event,
    log: FilteringBoundLogger,
) -> Agent:
    places = settings.places(_stack(settings.stack_parameter))
    s3 = clients.client("s3")
    own_store = settings.data_endpoint_url or settings.data_profile
    data = (
        clients.data_client(settings.data_endpoint_url, settings.data_profile) if own_store else s3
    )
    queue = Queue(clients.client("sqs"), places.queue_url) if places.queue_url else None
    runner = ProcessRunner(
        work_dir=settings.work_dir,
        template=settings.template(places.artifact_bucket),
        environment=_for_training(environment),
        clock=_now,
        log=log,
        on_change=mailbox.nudge,
        limits=settings.limits,
    )
    runner.resume()
    if queue:
        poller = Poller(queue, places.data_bucket, settings.sites, mailbox, stop, log)
        # A daemon: a poll that is under way must not keep the agent for 20 s. What it receives
        # after the end becomes visible in the queue again.
        Thread(target=poller.run, name="poller", daemon=True).start()
    return Agent(
        surveys=Surveys(Bucket(data, places.data_bucket), log),
        artifacts=Artifacts(Bucket(s3, places.artifact_bucket)),
        bus=Bus(clients.client("events"), places.bus),
        queue=queue,
        runner=runner,
        recipe=settings.recipe(),
        pace=settings.pace,
        resync=timedelta(seconds=settings.resync_s),
        only_sites=settings.sites,
        mailbox=mailbox,
        clock=_now,
        log=log,
    )


def _stack(parameter: str | None) -> Stack | None:
    if parameter is None:
        return None
    try:
        answer = clients.client("ssm").get_parameter(Name=parameter)
        return Stack.model_validate_json(answer["Parameter"]["Value"])
    except (ClientError, BotoCoreError) as error:
        raise BorderError(f"the SSM parameter {parameter} can't be read: {error}") from error
    except ValidationError as error:
        raise ConfigurationError(f"{parameter} does not describe a stack: {error}") from error


def _for_training(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name in _INHERITED or name.startswith("AWS_")
    }


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    sys.exit(main())

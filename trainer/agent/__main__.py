"""``python -m trainer.agent``: runs the agent until SIGTERM or SIGINT.

Exit codes: 0 after SIGTERM or SIGINT, 78 (``EX_CONFIG``) when the settings can't be used, 1 else.
"""

import os
import signal
import sys
from threading import Event
from types import FrameType

from pydantic import ValidationError

from trainer import logs
from trainer.agent.errors import AgentError, ConfigurationError
from trainer.agent.service import AgentService
from trainer.agent.settings import AgentSettings
from trainer.agent.work_queue import WorkQueue

_EX_CONFIG = 78


def main() -> int:
    """Run the agent until it is stopped and return its exit code."""
    log = logs.configure()
    stop, work_queue = Event(), WorkQueue()
    _stop_on_signals(stop, work_queue)
    try:
        AgentService(AgentSettings(), os.environ, stop, work_queue, log).run()
    except (ValidationError, ConfigurationError) as error:
        log.error("the settings can't be used", reason=str(error))  # noqa: TRY400
        return _EX_CONFIG
    except AgentError as error:
        log.error("the agent can't go on", reason=str(error))  # noqa: TRY400
        return 1
    log.info("stopped")
    return 0


def _stop_on_signals(stop: Event, work_queue: WorkQueue) -> None:
    def stop_now(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        work_queue.wake()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop_now)


if __name__ == "__main__":
    sys.exit(main())

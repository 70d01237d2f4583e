"""Logs of the on-prem side: one JSON object a line on standard output, for whoever collects it."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import structlog
from structlog.typing import FilteringBoundLogger

if TYPE_CHECKING:
    from structlog.typing import Processor


def configure(*kept_by: Callable[[object, str, str], str]) -> FilteringBoundLogger:
    """Set logging up for this process and return its logger; call once, at the process's start.

    Args:
        kept_by: each is handed every line as it is written, and has to give it back.
    """
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
            *(cast("Processor", keeper) for keeper in kept_by),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        # Line by line even into a file: the last line before a kill is the one that matters.
        logger_factory=structlog.WriteLoggerFactory(file=sys.stdout),
    )
    logger: FilteringBoundLogger = structlog.get_logger()
    return logger

"""Logs of the on-prem side: one JSON object per line on standard output."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import structlog
from structlog.typing import FilteringBoundLogger

if TYPE_CHECKING:
    from structlog.typing import Processor


def configure(*kept_by: Callable[[object, str, str], str]) -> FilteringBoundLogger:
    """Configure logging for this process and return its logger; call once, at its start.

    Args:
        kept_by: processors that get every finished line, and have to return it.
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
        # Flushed line by line even into a file: the last line before a kill matters most.
        logger_factory=structlog.WriteLoggerFactory(file=sys.stdout),
    )
    logger: FilteringBoundLogger = structlog.get_logger()
    return logger

"""Logs of the on-prem side: one JSON object a line on standard output, for whoever collects it."""

import sys

import structlog
from structlog.typing import FilteringBoundLogger


def configure() -> FilteringBoundLogger:
    """Set logging up for this process and return its logger; call once, at the process's start."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        # Line by line even into a file: the last line before a kill is the one that matters.
        logger_factory=structlog.WriteLoggerFactory(file=sys.stdout),
    )
    logger: FilteringBoundLogger = structlog.get_logger()
    return logger

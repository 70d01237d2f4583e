"""The templates' environment: all output is escaped, and an undefined name is an error."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from events.metrics_document import ConfidenceInterval

UNKNOWN = "n/a"


@cache
def page_templates(package: str, folder: str = "templates") -> Environment:
    """The templates in a package's folder."""
    environment = Environment(
        loader=PackageLoader(package, folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": lambda share: f"{share:.0%}",
        "share": lambda share: UNKNOWN if share is None else f"{share:.1%}",
        "metres": lambda length: UNKNOWN if length is None else f"{length:.2f} m",
        "dbm": lambda level: "" if level is None else f"{level:g}",
        "share_range": lambda interval: interval_text(interval, ".1%"),
        "metres_range": lambda interval: interval_text(interval, ".2f"),
    }
    return environment


def interval_text(interval: ConfidenceInterval | None, form: str) -> str:
    """Both ends in a format; nothing if unknown."""
    return f"{interval.low:{form}} to {interval.high:{form}}" if interval else ""

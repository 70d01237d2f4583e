"""``metrics.json`` as a contract: what former trainers wrote is still read, figure by figure."""

import json
from pathlib import Path
from typing import Any

from events.metrics_document import MetricsDocument

FORMER = Path(__file__).with_name("metrics_before_headline.json")
"""As a release with a champion had it before the headline was written down."""


def missing(before: Any, after: Any, place: str = "") -> list[str]:
    """What the first document says and the second says otherwise or not at all."""
    if isinstance(before, dict):
        return [
            found
            for key, value in before.items()
            for found in (
                missing(value, after[key], f"{place}.{key}") if key in after else [f"{place}.{key}"]
            )
        ]
    if isinstance(before, list):
        return [
            found
            for number, pair in enumerate(zip(before, after, strict=True))
            for found in missing(*pair, f"{place}[{number}]")
        ]
    return [] if (type(before), before) == (type(after), after) else [place]


def test_a_document_of_a_former_release_is_read_to_the_last_figure() -> None:
    text = FORMER.read_text()

    document = MetricsDocument.model_validate_json(text)

    assert missing(json.loads(text), document.model_dump(mode="json")) == []
    assert document.headline is None
    assert document.comparison is not None
    assert document.comparison.difference is None


def test_a_figure_that_a_former_release_wrote_as_nan_is_unknown() -> None:
    former = json.loads(FORMER.read_text())
    former["cells"][0]["mean_error_m"] = float("nan")

    document = MetricsDocument.model_validate_json(json.dumps(former))

    assert document.cells[0].mean_error_m is None


def test_what_a_newer_trainer_adds_does_not_keep_the_rest_from_being_read() -> None:
    newer = json.loads(FORMER.read_text()) | {"per_floor": []}
    newer["cells"][0]["floor"] = 2

    assert MetricsDocument.model_validate(newer).cells[0].label == newer["cells"][0]["label"]

"""JSON Schemas of everything that crosses a border, generated from the models.

They are committed so that teams in other languages can read them; ``make schemas`` writes them.
"""

import json
from pathlib import Path

from events.base import Contract
from events.manifests import Champion, Quarantine, Release, RunSpec, Snapshot
from events.metrics_document import MetricsDocument
from events.outbound import OUTBOUND
from events.stack import Stack

FOLDER = Path(__file__).parent
PUBLISHED: tuple[type[Contract], ...] = (
    *OUTBOUND,
    Snapshot,
    RunSpec,
    Quarantine,
    Release,
    MetricsDocument,
    Champion,
    Stack,
)


def render() -> dict[str, str]:
    """The schema files by name, as they should be on disk."""
    return {
        f"{model.kind()}.json": json.dumps(
            model.model_json_schema(mode="serialization"), indent=2, sort_keys=True
        )
        + "\n"
        for model in PUBLISHED
    }

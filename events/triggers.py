"""What caused a deployment: a typed value, and the string that stands for it on the wire.

The ledger refuses to open a second deployment for the same trigger, so the strings must not change.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema


class TriggerKind(StrEnum):
    """The kind of cause; the value is the prefix on the wire."""

    ARTIFACT = "artifact"
    """A release manifest in the artifact bucket; named by the object's version."""
    AUTOMATIC_ROLLBACK = "return-from"
    """A deployment that failed its verification; named by its number."""
    ROLLBACK_REQUEST = "request"
    """A `RollbackRequested` event; named by the event's id."""
    APPROVAL = "approval"
    """A person's approval of a held release; named by the release, which is approved once."""
    REDEPLOY = "redeploy"
    """A copy of a manifest that carries the metadata key for it; named by release and value."""
    OTHER = ""
    """Anything else that was put on the bus, kept as it was written."""


@dataclass(frozen=True)
class Trigger:
    """One cause of a deployment; on the wire ``kind:name``."""

    kind: TriggerKind
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the string from the wire; any text is a trigger."""
        for kind in TriggerKind:
            if kind is not TriggerKind.OTHER and text.startswith(f"{kind.value}:"):
                return cls(kind, text.removeprefix(f"{kind.value}:"))
        return cls(TriggerKind.OTHER, text)

    @classmethod
    def artifact(cls, version_id: str) -> Self:
        """The trigger of a release manifest's version in the artifact bucket."""
        return cls(TriggerKind.ARTIFACT, version_id)

    @classmethod
    def automatic_rollback(cls, deployment: int) -> Self:
        """The trigger of the rollback from a deployment that failed its verification."""
        return cls(TriggerKind.AUTOMATIC_ROLLBACK, str(deployment))

    @classmethod
    def rollback_request(cls, event_id: str) -> Self:
        """The trigger of a rollback that was requested by an event."""
        return cls(TriggerKind.ROLLBACK_REQUEST, event_id)

    @classmethod
    def approval(cls, run_id: str) -> Self:
        """The trigger of the deployment that an approval opens."""
        return cls(TriggerKind.APPROVAL, run_id)

    @classmethod
    def redeploy(cls, run_id: str, value: str) -> Self:
        """The trigger of a redeployment; any later copy keeps the value and so means nothing."""
        name = hashlib.sha256(value.encode()).hexdigest()[:16]
        return cls(TriggerKind.REDEPLOY, f"{run_id}-{name}")

    def __str__(self) -> str:
        """The string on the wire."""
        return self.name if self.kind is TriggerKind.OTHER else f"{self.kind.value}:{self.name}"

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        """Validate a string or a trigger; serialize to the string."""
        parsed = core_schema.no_info_after_validator_function(
            cls.parse, core_schema.str_schema(min_length=1)
        )
        return core_schema.json_or_python_schema(
            json_schema=parsed,
            python_schema=core_schema.union_schema([core_schema.is_instance_schema(cls), parsed]),
            serialization=core_schema.to_string_ser_schema(),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, _: CoreSchema, __: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """A trigger is a string that is not empty."""
        return {"type": "string", "minLength": 1}

"""The models and endpoint configurations to create; each is named by its specification's digest.

An endpoint configuration is always built whole from this, never edited from the live one: an update
would otherwise carry over, or drop, properties by accident.
"""

from typing import Annotated

from pydantic import Field

from events.base import Contract, canonical_digest
from events.manifests import Text
from events.names import RunId, endpoint_config_name, model_name

VARIANT = "AllTraffic"
"""The one production variant. SageMaker's guardrails require that its name never changes."""


class ModelSpecification(Contract):
    """A SageMaker model: one release in one serving image."""

    release: RunId
    image: Text
    model_data_url: Text
    execution_role_arn: Text

    @property
    def name(self) -> str:
        """The model's name in SageMaker."""
        return model_name(self.release, canonical_digest(self))


class FleetSpecification(Contract):
    """The instances that serve a site."""

    instance_type: Text
    instance_count: Annotated[int, Field(ge=1)]


class EndpointSpecification(Contract):
    """An endpoint configuration: one model on one fleet."""

    release: RunId
    model_name: Text
    fleet: FleetSpecification

    @property
    def name(self) -> str:
        """The configuration's name in SageMaker."""
        return endpoint_config_name(self.release, canonical_digest(self))

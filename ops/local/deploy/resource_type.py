"""What the deployer knows about one type of resource: its names, and how it is created."""

import hashlib
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from ops.local.deploy.property_reader import PropertyReader
from ops.local.deploy.template import ResourceIdentity, StackTemplate, TemplateResource
from ops.local.gateway.clients import ServiceClients
from ops.local.settings import CloudSettings

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class DeploymentLocation:
    """Region, account and address, for ARNs and URLs."""

    settings: CloudSettings
    address: str

    def arn(self, service: str, resource: str) -> str:
        """An ARN of this region and account."""
        return self.settings.arn(service, resource)


Creation = Callable[[ServiceClients], None]
"""Creates a resource, or updates the existing one."""


PropertyText = Callable[[str], str]
"""Returns the resolved text of a property; empty if the template does not give it."""

Identify = Callable[[DeploymentLocation, str, PropertyText], ResourceIdentity]
"""Returns what references resolve to, for a physical name."""


@dataclass(frozen=True, slots=True)
class ResourceType:
    """One type of resource.

    Attributes:
        identify: what references resolve to.
        prepare: reads the properties and returns what creates the resource.
        name_property: the property that names it, if there is one.
        max_name_length: most characters of a generated name.
        lowercase: whether a generated name must be lower-case.
    """

    identify: Identify
    prepare: Callable[[PropertyReader, ResourceIdentity], Creation]
    name_property: str | None = None
    max_name_length: int = 64
    lowercase: bool = False


def identity_of(
    resource_type: ResourceType,
    resource: TemplateResource,
    template: StackTemplate,
    location: DeploymentLocation,
) -> ResourceIdentity:
    """What references to ``resource`` resolve to.

    Raises:
        AssemblyError: its name can't be resolved.
    """

    def text_of(name: str) -> str:
        value = resource.properties.get(name)
        return "" if value is None else str(template.resolve(value))

    named = text_of(resource_type.name_property) if resource_type.name_property else ""
    return resource_type.identify(
        location, named or _generated_name(resource_type, resource, template), text_of
    )


def _generated_name(
    resource_type: ResourceType, resource: TemplateResource, template: StackTemplate
) -> str:
    """A name like those that CloudFormation generates.

    The last 8 digits are a hash of stack and logical id, so that a repeated deployment finds its
    resources again; CloudFormation remembers them and draws the digits at random.
    """
    digest = hashlib.sha256(f"{template.stack_name}/{resource.logical_id}".encode()).hexdigest()
    stem = f"{template.stack_name}-{resource.logical_id}"[: resource_type.max_name_length - 9]
    name = f"{stem}-{digest[:8]}"
    return name.lower() if resource_type.lowercase else name


def named(**attributes: str) -> Identify:
    """An identity whose ``Ref`` is the name.

    Args:
        attributes: attribute to ``service:resource`` with ``{}`` for the name.
    """

    def identify(location: DeploymentLocation, name: str, _: PropertyText) -> ResourceIdentity:
        arns = {key: _arn(location, pattern, name) for key, pattern in attributes.items()}
        return ResourceIdentity(name, arns)

    return identify


def _arn(location: DeploymentLocation, pattern: str, name: str) -> str:
    service, _, resource = pattern.partition(":")
    return location.arn(service, resource.format(name))


@contextmanager
def tolerate(*codes: str) -> "Iterator[None]":
    """Suppress errors that mean "it exists already", because a deployment may be repeated."""
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] not in codes:
            raise

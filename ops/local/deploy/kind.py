"""What the deployer knows about one type of resource."""

import hashlib
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from ops.local.deploy.reader import Reader
from ops.local.deploy.template import Identity, Resource, Template
from ops.local.gateway.clients import Clients
from ops.local.settings import CloudSettings

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Place:
    """Where resources live: for ARNs and URLs."""

    settings: CloudSettings
    address: str

    def arn(self, service: str, resource: str) -> str:
        """An ARN of this region and account."""
        return self.settings.arn(service, resource)


Creation = Callable[[Clients], None]
"""Makes a resource, or changes what is there into it."""


Given = Callable[[str], str]
"""A property's resolved text; empty if the template does not give it."""

Identify = Callable[[Place, str, Given], Identity]
"""From the physical name to what references resolve to."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One type of resource.

    Attributes:
        identify: what references resolve to.
        prepare: reads the properties and returns what creates the resource.
        name_property: the property that names it, if there is one.
        longest: characters of a generated name at most.
        lower: whether a generated name must be lower-case.
    """

    identify: Identify
    prepare: Callable[[Reader, Identity], Creation]
    name_property: str | None = None
    longest: int = 64
    lower: bool = False


def identity_of(kind: Kind, resource: Resource, template: Template, place: Place) -> Identity:
    """What references to ``resource`` resolve to.

    Raises:
        AssemblyError: its name can't be resolved.
    """

    def given(name: str) -> str:
        value = resource.properties.get(name)
        return "" if value is None else str(template.resolve(value))

    named = given(kind.name_property) if kind.name_property else ""
    return kind.identify(place, named or _generated_name(kind, resource, template), given)


def _generated_name(kind: Kind, resource: Resource, template: Template) -> str:
    """A name like CloudFormation's own.

    The last 8 digits come from stack and logical id, so that a repeated deployment finds its own
    resources again; CloudFormation, which has a memory, draws them at random.
    """
    digest = hashlib.sha256(f"{template.stack_name}/{resource.logical_id}".encode()).hexdigest()
    stem = f"{template.stack_name}-{resource.logical_id}"[: kind.longest - 9]
    name = f"{stem}-{digest[:8]}"
    return name.lower() if kind.lower else name


def named(**attributes: str) -> Identify:
    """An identity whose ``Ref`` is the name.

    Args:
        attributes: attribute to ``service:resource`` with ``{}`` for the name.
    """

    def identify(place: Place, name: str, _: Given) -> Identity:
        arns = {key: _arn(place, pattern, name) for key, pattern in attributes.items()}
        return Identity(name, arns)

    return identify


def _arn(place: Place, pattern: str, name: str) -> str:
    service, _, resource = pattern.partition(":")
    return place.arn(service, resource.format(name))


@contextmanager
def already(*codes: str) -> "Iterator[None]":
    """Take an error that says "it is there already" for success: a deployment may be repeated."""
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] not in codes:
            raise

"""Deploys the stacks of an assembly: all is read and checked first, and created afterwards."""

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from botocore.exceptions import ClientError

from ops.local.deploy import compute, messaging, observability, permissions, storage
from ops.local.deploy.assembly import FileAsset, SynthesizedStack, read_assembly
from ops.local.deploy.not_emulated import is_ignored
from ops.local.deploy.property_reader import PropertyReader
from ops.local.deploy.resource_type import (
    Creation,
    DeploymentLocation,
    ResourceType,
    identity_of,
    named,
    tolerate,
)
from ops.local.deploy.template import ResourceIdentity, StackTemplate, TemplateResource
from ops.local.errors import AssemblyError, DeploymentFailedError, NotEmulatedError, ServiceError
from ops.local.gateway.clients import ServiceClients
from ops.local.settings import CloudSettings

_log = logging.getLogger(__name__)
_WORKERS = 4  # the services that answer share this process
_RESOURCE_TYPES: Mapping[str, ResourceType] = {
    **storage.RESOURCE_TYPES,
    **messaging.RESOURCE_TYPES,
    **compute.RESOURCE_TYPES,
    **permissions.RESOURCE_TYPES,
    **observability.RESOURCE_TYPES,
}


def _create_nothing(_: PropertyReader, __: ResourceIdentity) -> Creation:
    return lambda _: None


_IGNORED = ResourceType(named(Arn="embedded:left-out/{}"), _create_nothing)


@dataclass(frozen=True, slots=True)
class DeploymentResult:
    """The result of a deployment.

    Attributes:
        outputs: the outputs of all stacks.
        physical_ids: logical id to physical id (``Ref``), of all stacks.
    """

    outputs: Mapping[str, str]
    physical_ids: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _StackPlan:
    template: StackTemplate
    creations: Mapping[str, Creation]
    assets: tuple[FileAsset, ...]


class Deployer:
    """Deploys into the cloud at an address.

    Args:
        clients: clients of that cloud.
        settings: its region and account.
    """

    def __init__(self, clients: ServiceClients, settings: CloudSettings) -> None:
        self._clients = clients
        self._location = DeploymentLocation(settings, clients.address)

    def deploy(self, directory: Path) -> DeploymentResult:
        """Deploy every stack of an assembly; resources that exist are updated.

        Raises:
            AssemblyError: the assembly can't be read, or needs what is not emulated
                (NotEmulatedError, which lists all of it); nothing was created.
            DeploymentFailedError: a service refused a resource.
        """
        plans, exports, findings = [], dict[str, str](), list[str]()
        for stack in read_assembly(directory):
            template = StackTemplate(
                stack.template, stack.name, self._location.settings, self._identify, exports
            )
            creations = self._prepare(template, findings)
            plans.append(_StackPlan(template, creations, _code_assets(stack, template)))
            exports |= template.exported()
        if findings:
            raise NotEmulatedError(findings)
        for plan in plans:
            self._upload(plan.assets)
            self._create(plan)
        return _summary(plans)

    def _identify(self, resource: TemplateResource, template: StackTemplate) -> ResourceIdentity:
        resource_type = _RESOURCE_TYPES.get(resource.type_name, _IGNORED)
        return identity_of(resource_type, resource, template, self._location)

    # --- reading

    def _prepare(self, template: StackTemplate, findings: list[str]) -> dict[str, Creation]:
        """The creation of each resource; adds what can't be created to ``findings``."""
        creations = {}
        for name, resource in template.resources.items():
            if is_ignored(resource.type_name):
                _log.debug("%s (%s) is ignored", resource.path, resource.type_name)
            elif resource.type_name not in _RESOURCE_TYPES:
                findings.append(f"{resource.path}: the type {resource.type_name}")
            else:
                try:
                    creations[name] = self._prepare_one(template, resource, findings)
                except (AssemblyError, ServiceError) as error:
                    findings.append(f"{resource.path}: {error}")
        return creations

    def _prepare_one(
        self, template: StackTemplate, resource: TemplateResource, findings: list[str]
    ) -> Creation:
        path = f"{resource.path}.Properties"
        properties = template.resolve(resource.properties)
        if not isinstance(properties, dict):
            raise AssemblyError("its properties are not an object")
        reader = PropertyReader(properties, path)
        creation = _RESOURCE_TYPES[resource.type_name].prepare(
            reader, template.identity(resource.logical_id)
        )
        findings.extend(
            f"{unread}: not emulated for {resource.type_name}"
            for unread in reader.unread()
            if not is_ignored(resource.type_name, unread.removeprefix(f"{path}."))
        )
        return creation

    # --- creating

    def _upload(self, assets: tuple[FileAsset, ...]) -> None:
        s3 = self._clients.get("s3")
        bucket = _asset_bucket(self._location.settings)
        with tolerate("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            s3.create_bucket(Bucket=bucket)
        for asset in assets:
            s3.put_object(Bucket=bucket, Key=asset.key, Body=asset.content())

    def _create(self, plan: _StackPlan) -> None:
        """Create each resource after those that it depends on, several at a time."""
        sorter = _sorter(plan.template)
        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="deploy") as executor:
            while sorter.is_active():
                ready = sorter.get_ready()
                list(executor.map(lambda name: self._create_one(plan, name), ready))
                sorter.done(*ready)

    def _create_one(self, plan: _StackPlan, name: str) -> None:
        creation = plan.creations.get(name)
        if creation is None:
            return
        try:
            creation(self._clients)
        except ClientError as error:
            resource_type = plan.template.resources[name].type_name
            raise DeploymentFailedError(f"Resources.{name} ({resource_type}): {error}") from error


def _sorter(template: StackTemplate) -> "TopologicalSorter[str]":
    graph = {name: template.needs(each) for name, each in template.resources.items()}
    sorter = TopologicalSorter(graph)
    try:
        sorter.prepare()
    except CycleError as error:
        raise AssemblyError(f"Resources depend on each other: {error.args[1]}") from error
    return sorter


def _asset_bucket(settings: CloudSettings) -> str:
    """The asset bucket of the CDK's default bootstrap, which templates name."""
    return f"cdk-hnb659fds-assets-{settings.account_id}-{settings.region}"


def _code_assets(stack: SynthesizedStack, template: StackTemplate) -> tuple[FileAsset, ...]:
    """The assets that hold functions' code; those of layers need not be staged."""
    keys = {
        str(code.get("S3Key"))
        for resource in template.resources.values()
        if resource.type_name == "AWS::Lambda::Function"
        and isinstance(code := template.resolve(resource.properties.get("Code", {})), dict)
    }
    return tuple(asset for asset in stack.assets if asset.key in keys)


def _summary(plans: list[_StackPlan]) -> DeploymentResult:
    outputs = dict[str, str]()
    physical_ids = dict[str, str]()
    for plan in plans:
        outputs |= plan.template.outputs()
        physical_ids |= {name: plan.template.identity(name).ref for name in plan.creations}
    return DeploymentResult(outputs, physical_ids)

"""Deploys the stacks of an assembly: everything is read and refused first, created afterwards."""

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from botocore.exceptions import ClientError

from ops.local.deploy import computing, messaging, observing, permissions, storage
from ops.local.deploy.assembly import FileAsset, Stack, read_assembly
from ops.local.deploy.kind import Creation, Kind, Place, already, identity_of, named
from ops.local.deploy.not_emulated import left_out
from ops.local.deploy.reader import Reader
from ops.local.deploy.template import Identity, Resource, Template
from ops.local.errors import AssemblyError, DeploymentFailedError, NotEmulatedError, ServiceError
from ops.local.gateway.clients import Clients
from ops.local.settings import CloudSettings

_log = logging.getLogger(__name__)
_WORKERS = 4  # the calls share one process with what answers them
_KINDS: Mapping[str, Kind] = {
    **storage.KINDS,
    **messaging.KINDS,
    **computing.KINDS,
    **permissions.KINDS,
    **observing.KINDS,
}


def _nothing(_: Reader, __: Identity) -> Creation:
    return lambda _: None


_LEFT_OUT = Kind(named(Arn="embedded:left-out/{}"), _nothing)


@dataclass(frozen=True, slots=True)
class Deployed:
    """What came of a deployment.

    Attributes:
        outputs: the outputs of all stacks.
        physical_ids: logical to physical id, as ``Ref`` gives it, of all stacks.
    """

    outputs: Mapping[str, str]
    physical_ids: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Plan:
    template: Template
    creations: Mapping[str, Creation]
    assets: tuple[FileAsset, ...]


class Deployer:
    """Deploys into the cloud at an address.

    Args:
        clients: clients of that cloud.
        settings: its region and account.
    """

    def __init__(self, clients: Clients, settings: CloudSettings) -> None:
        self._clients = clients
        self._place = Place(settings, clients.address)

    def deploy(self, directory: Path) -> Deployed:
        """Deploy every stack of an assembly; what is there already is brought up to date.

        Raises:
            AssemblyError: the assembly can't be read, or asks for what is not emulated
                (NotEmulatedError, which lists all of it); nothing was created.
            DeploymentFailedError: a service refused a resource.
        """
        plans, exports, findings = [], dict[str, str](), list[str]()
        for stack in read_assembly(directory):
            template = Template(
                stack.template, stack.name, self._place.settings, self._identify, exports
            )
            creations = self._prepare(template, findings)
            plans.append(_Plan(template, creations, _code_assets(stack, template)))
            exports |= template.exported()
        if findings:
            raise NotEmulatedError(findings)
        for plan in plans:
            self._upload(plan.assets)
            self._create(plan)
        return _summary(plans)

    def _identify(self, resource: Resource, template: Template) -> Identity:
        kind = _KINDS.get(resource.kind, _LEFT_OUT)
        return identity_of(kind, resource, template, self._place)

    # --- reading

    def _prepare(self, template: Template, findings: list[str]) -> dict[str, Creation]:
        """What would create each resource; adds to ``findings`` what can't be created."""
        creations = {}
        for name, resource in template.resources.items():
            if left_out(resource.kind):
                _log.debug("%s (%s) is left out", resource.path, resource.kind)
            elif resource.kind not in _KINDS:
                findings.append(f"{resource.path}: the type {resource.kind}")
            else:
                try:
                    creations[name] = self._prepare_one(template, resource, findings)
                except (AssemblyError, ServiceError) as error:
                    findings.append(f"{resource.path}: {error}")
        return creations

    def _prepare_one(self, template: Template, resource: Resource, findings: list[str]) -> Creation:
        path = f"{resource.path}.Properties"
        properties = template.resolve(resource.properties)
        if not isinstance(properties, dict):
            raise AssemblyError("its properties are no object")
        reader = Reader(properties, path)
        creation = _KINDS[resource.kind].prepare(reader, template.identity(resource.logical_id))
        findings.extend(
            f"{unread}: not emulated for {resource.kind}"
            for unread in reader.unread()
            if not left_out(resource.kind, unread.removeprefix(f"{path}."))
        )
        return creation

    # --- creating

    def _upload(self, assets: tuple[FileAsset, ...]) -> None:
        s3 = self._clients.get("s3")
        bucket = _asset_bucket(self._place.settings)
        with already("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            s3.create_bucket(Bucket=bucket)
        for asset in assets:
            s3.put_object(Bucket=bucket, Key=asset.key, Body=asset.content())

    def _create(self, plan: _Plan) -> None:
        """Create resources as soon as what they need is there, several at a time."""
        sorter = _sorter(plan.template)
        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="deploy") as executor:
            while sorter.is_active():
                ready = sorter.get_ready()
                list(executor.map(lambda name: self._create_one(plan, name), ready))
                sorter.done(*ready)

    def _create_one(self, plan: _Plan, name: str) -> None:
        creation = plan.creations.get(name)
        if creation is None:
            return
        try:
            creation(self._clients)
        except ClientError as error:
            kind = plan.template.resources[name].kind
            raise DeploymentFailedError(f"Resources.{name} ({kind}): {error}") from error


def _sorter(template: Template) -> "TopologicalSorter[str]":
    graph = {name: template.needs(each) for name, each in template.resources.items()}
    sorter = TopologicalSorter(graph)
    try:
        sorter.prepare()
    except CycleError as error:
        raise AssemblyError(f"Resources need each other: {error.args[1]}") from error
    return sorter


def _asset_bucket(settings: CloudSettings) -> str:
    """The bucket that CDK's default bootstrap makes, and templates name."""
    return f"cdk-hnb659fds-assets-{settings.account_id}-{settings.region}"


def _code_assets(stack: Stack, template: Template) -> tuple[FileAsset, ...]:
    """The assets that functions are made from; layers' may not even be staged."""
    keys = {
        str(code.get("S3Key"))
        for resource in template.resources.values()
        if resource.kind == "AWS::Lambda::Function"
        and isinstance(code := template.resolve(resource.properties.get("Code", {})), dict)
    }
    return tuple(asset for asset in stack.assets if asset.key in keys)


def _summary(plans: list[_Plan]) -> Deployed:
    outputs = dict[str, str]()
    physical_ids = dict[str, str]()
    for plan in plans:
        outputs |= plan.template.outputs()
        physical_ids |= {name: plan.template.identity(name).ref for name in plan.creations}
    return Deployed(outputs, physical_ids)

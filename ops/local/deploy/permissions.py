"""IAM roles and policies; moto stores and validates them, and enforces nothing here."""

import json
from collections.abc import Sequence

from ops.local.deploy.property_reader import PropertyReader
from ops.local.deploy.resource_type import (
    Creation,
    DeploymentLocation,
    PropertyText,
    ResourceType,
    named,
    tolerate,
)
from ops.local.deploy.template import ResourceIdentity
from ops.local.gateway.clients import ServiceClients


def _role_identity(
    location: DeploymentLocation, name: str, text_of: PropertyText
) -> ResourceIdentity:
    arn = f"arn:aws:iam::{location.settings.account_id}:role{text_of('Path') or '/'}{name}"
    return ResourceIdentity(name, {"Arn": arn})


def _role(properties: PropertyReader, identity: ResourceIdentity) -> Creation:
    properties.text("RoleName")
    trust = json.dumps(properties.raw("AssumeRolePolicyDocument"))
    arguments = properties.pick("Description", "MaxSessionDuration", "Path")
    inline = _inline_policies(properties.children("Policies"))
    managed = properties.texts("ManagedPolicyArns")

    def create(clients: ServiceClients) -> None:
        iam = clients.get("iam")
        with tolerate("EntityAlreadyExists"):
            iam.create_role(RoleName=identity.ref, AssumeRolePolicyDocument=trust, **arguments)
        iam.update_assume_role_policy(RoleName=identity.ref, PolicyDocument=trust)
        for name, document in inline.items():
            iam.put_role_policy(RoleName=identity.ref, PolicyName=name, PolicyDocument=document)
        for arn in managed:
            iam.attach_role_policy(RoleName=identity.ref, PolicyArn=arn)

    return create


def _inline_policies(policies: Sequence[PropertyReader]) -> dict[str, str]:
    return {
        each.required("PolicyName"): json.dumps(each.raw("PolicyDocument")) for each in policies
    }


def _policy(properties: PropertyReader, _: ResourceIdentity) -> Creation:
    name = properties.required("PolicyName")
    document = json.dumps(properties.raw("PolicyDocument"))
    roles = properties.texts("Roles")

    def create(clients: ServiceClients) -> None:
        for role in roles:
            clients.get("iam").put_role_policy(
                RoleName=role, PolicyName=name, PolicyDocument=document
            )

    return create


def _managed_policy_identity(
    location: DeploymentLocation, name: str, text_of: PropertyText
) -> ResourceIdentity:
    arn = f"arn:aws:iam::{location.settings.account_id}:policy{text_of('Path') or '/'}{name}"
    return ResourceIdentity(arn, {"PolicyArn": arn})


def _managed_policy(properties: PropertyReader, identity: ResourceIdentity) -> Creation:
    properties.text("ManagedPolicyName")
    arguments = properties.pick("Description", "Path")
    document = json.dumps(properties.raw("PolicyDocument"))
    roles = properties.texts("Roles")
    name = identity.ref.rpartition("/")[2]

    def create(clients: ServiceClients) -> None:
        iam = clients.get("iam")
        with tolerate("EntityAlreadyExists"):
            iam.create_policy(PolicyName=name, PolicyDocument=document, **arguments)
        for role in roles:
            iam.attach_role_policy(RoleName=role, PolicyArn=identity.ref)

    return create


RESOURCE_TYPES = {
    "AWS::IAM::Role": ResourceType(_role_identity, _role, "RoleName"),
    "AWS::IAM::Policy": ResourceType(named(), _policy, "PolicyName", max_name_length=128),
    "AWS::IAM::ManagedPolicy": ResourceType(
        _managed_policy_identity, _managed_policy, "ManagedPolicyName", max_name_length=128
    ),
}

"""Roles and policies. moto keeps and validates them; it does not enforce them here."""

import json
from collections.abc import Sequence

from ops.local.deploy.kind import Creation, Given, Kind, Place, already, named
from ops.local.deploy.reader import Reader
from ops.local.deploy.template import Identity
from ops.local.gateway.clients import Clients


def _role_identity(place: Place, name: str, given: Given) -> Identity:
    arn = f"arn:aws:iam::{place.settings.account_id}:role{given('Path') or '/'}{name}"
    return Identity(name, {"Arn": arn})


def _role(properties: Reader, identity: Identity) -> Creation:
    properties.text("RoleName")
    trust = json.dumps(properties.raw("AssumeRolePolicyDocument"))
    asked = properties.pick("Description", "MaxSessionDuration", "Path")
    inline = _inline_policies(properties.children("Policies"))
    managed = properties.texts("ManagedPolicyArns")

    def create(clients: Clients) -> None:
        iam = clients.get("iam")
        with already("EntityAlreadyExists"):
            iam.create_role(RoleName=identity.ref, AssumeRolePolicyDocument=trust, **asked)
        iam.update_assume_role_policy(RoleName=identity.ref, PolicyDocument=trust)
        for name, document in inline.items():
            iam.put_role_policy(RoleName=identity.ref, PolicyName=name, PolicyDocument=document)
        for arn in managed:
            iam.attach_role_policy(RoleName=identity.ref, PolicyArn=arn)

    return create


def _inline_policies(policies: Sequence[Reader]) -> dict[str, str]:
    return {
        each.required("PolicyName"): json.dumps(each.raw("PolicyDocument")) for each in policies
    }


def _policy(properties: Reader, _: Identity) -> Creation:
    name = properties.required("PolicyName")
    document = json.dumps(properties.raw("PolicyDocument"))
    roles = properties.texts("Roles")

    def create(clients: Clients) -> None:
        for role in roles:
            clients.get("iam").put_role_policy(
                RoleName=role, PolicyName=name, PolicyDocument=document
            )

    return create


def _managed_policy_identity(place: Place, name: str, given: Given) -> Identity:
    arn = f"arn:aws:iam::{place.settings.account_id}:policy{given('Path') or '/'}{name}"
    return Identity(arn, {"PolicyArn": arn})


def _managed_policy(properties: Reader, identity: Identity) -> Creation:
    properties.text("ManagedPolicyName")
    asked = properties.pick("Description", "Path")
    document = json.dumps(properties.raw("PolicyDocument"))
    roles = properties.texts("Roles")
    name = identity.ref.rpartition("/")[2]

    def create(clients: Clients) -> None:
        iam = clients.get("iam")
        with already("EntityAlreadyExists"):
            iam.create_policy(PolicyName=name, PolicyDocument=document, **asked)
        for role in roles:
            iam.attach_role_policy(RoleName=role, PolicyArn=identity.ref)

    return create


KINDS = {
    "AWS::IAM::Role": Kind(_role_identity, _role, "RoleName"),
    "AWS::IAM::Policy": Kind(named(), _policy, "PolicyName", longest=128),
    "AWS::IAM::ManagedPolicy": Kind(
        _managed_policy_identity, _managed_policy, "ManagedPolicyName", longest=128
    ),
}

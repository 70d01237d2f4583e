"""IAM statements with the reason of each wildcard.

Most grants match names by a wildcard; each must give the reason why it can't be narrower, and
cdk-nag finds those that don't.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aws_cdk import Stack
from aws_cdk import aws_iam as iam

from cdk.nag import acknowledge

Conditions = Mapping[str, Mapping[str, str | Sequence[str]]]


@dataclass(frozen=True)
class IamPermission:
    """Permission for `actions` on `resources`.

    Attributes:
        sid: The statement's name: letters and digits.
        actions: IAM actions, without wildcards.
        resources: ARNs; those with a wildcard are only accepted with `wildcard_reason`.
        conditions: IAM conditions, by operator and key.
        wildcard_reason: Why the resources can't be named exactly.
    """

    sid: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: Conditions = field(default_factory=dict)
    wildcard_reason: str = ""


def permit(identity: iam.Role | iam.ManagedPolicy, permissions: Sequence[IamPermission]) -> None:
    """Give an identity its permissions, and record the reason of each wildcard."""
    for permission in permissions:
        statement = iam.PolicyStatement(
            sid=permission.sid,
            actions=list(permission.actions),
            resources=list(permission.resources),
            conditions=dict(permission.conditions),
        )
        if isinstance(identity, iam.Role):
            identity.add_to_policy(statement)
        else:
            identity.add_statements(statement)
        _acknowledge_wildcards(identity, permission)


def _acknowledge_wildcards(
    identity: iam.Role | iam.ManagedPolicy, permission: IamPermission
) -> None:
    if not permission.wildcard_reason:
        return
    for resource in permission.resources:
        finding = _as_nag_writes_it(Stack.of(identity).resolve(resource))
        if "*" in finding:
            acknowledge(
                identity,
                f"AwsSolutions-IAM5[Resource::{finding}]",
                permission.wildcard_reason,
            )


def _as_nag_writes_it(value: object) -> str:
    """A resolved ARN in cdk-nag's notation: `<LogicalId.Arn>/sites/*`."""
    match value:
        case {"Ref": str(name)}:
            return f"<{name}>"
        case {"Fn::GetAtt": [str(name), str(attribute)]}:
            return f"<{name}.{attribute}>"
        case {"Fn::Join": [str(glue), [*parts]]}:
            return glue.join(_as_nag_writes_it(part) for part in parts)
        case _:
            return str(value)

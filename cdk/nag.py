"""The checks by cdk-nag, and the acknowledgment of its findings.

An acknowledgment stands next to its construct and gives the reason. One for a finding that does not
exist raises no error, so the tests look for those.
"""

from aws_cdk import Acknowledgment, App, Validations
from constructs import IConstruct


def acknowledge(construct: IConstruct, rule: str, reason: str) -> None:
    """Accept what `rule` finds at `construct` and below, with the reason why.

    Args:
        construct: The construct that the finding is about.
        rule: The rule's id, such as `AwsSolutions-S1`; IAM5 wants the finding too, in brackets.
        reason: Why the finding is acceptable, for whoever audits the stack.
    """
    Validations.of(construct).acknowledge(Acknowledgment(id=f"AwsSolutions::{rule}", reason=reason))


def check_when_synthesized(app: App) -> None:
    """Have cdk-nag check the app's templates; an unanswered finding fails the synthesis."""
    from cdk_nag import AwsSolutionsChecks  # noqa: PLC0415 - slow, and only checks need it

    Validations.of(app).add_plugins(AwsSolutionsChecks(app))

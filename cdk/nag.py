"""The security rules that the stack is checked against, and the answers to what they find.

An acknowledgment stands next to the construct that it is about and gives its reason; one for a
finding that does not exist is silent here, so the tests look for those.
"""

from aws_cdk import Acknowledgment, App, Validations
from constructs import IConstruct


def acknowledge(construct: IConstruct, rule: str, reason: str) -> None:
    """Accept what `rule` finds at `construct` and below, with the reason why.

    Args:
        construct: The construct that the finding is about.
        rule: The rule's id, such as `AwsSolutions-S1`; IAM5 wants the finding too, in brackets.
        reason: Why it is right as it is, for whoever audits the stack.
    """
    Validations.of(construct).acknowledge(Acknowledgment(id=f"AwsSolutions::{rule}", reason=reason))


def check_when_synthesized(app: App) -> None:
    """Have cdk-nag check the app's templates; an unanswered finding fails the synthesis."""
    from cdk_nag import AwsSolutionsChecks  # noqa: PLC0415 - slow, and only checks need it

    Validations.of(app).add_plugins(AwsSolutionsChecks(app))

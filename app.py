"""Writes the AWS side as CloudFormation to cdk.out/; needs no account, no network, no Docker."""

from cdk.errors import InfrastructureError
from cdk.node import provide_node
from cdk.settings import read_context, settings_from_context


def main() -> None:
    """Synthesize; exit with 1 and a sentence if the settings or the tools don't allow it."""
    try:
        context = read_context()
        settings = settings_from_context(context)
        provide_node()
    except InfrastructureError as error:
        raise SystemExit(str(error)) from error
    from cdk.assembly import synthesize  # noqa: PLC0415 - importing the CDK starts Node

    synthesize(settings, context)


if __name__ == "__main__":
    main()

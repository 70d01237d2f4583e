"""Runs the nightly clean-up now, for real or dry.

The stack's own Lambda does it, with its settings and permissions: a caller needs only permission to
invoke it. If there are more files than it can delete in 15 minutes, the next run continues.
"""

import json
from datetime import UTC, datetime

from botocore.exceptions import BotoCoreError, ClientError

from ops.account.session import AwsSession
from ops.errors import OpsError

_TIMEOUT_S = 910
"""Longer than a Lambda may run."""


def clean_up_function(stage: str) -> str:
    """The name of the stage's clean-up function."""
    return f"rssi-mlops-{stage}-clean-up"


def clean_up(aws: AwsSession, stage: str, *, dry_run: bool) -> str:
    """Invoke the stage's clean-up and wait for its end.

    Args:
        aws: the stack's account.
        stage: whose artifacts to clean up.
        dry_run: only count what would go; the function's log names each file.

    Returns:
        A summary in a few words.

    Raises:
        OpsError: it could not be invoked, or failed.
    """
    function = clean_up_function(stage)
    try:
        answer = aws.lambda_client(_TIMEOUT_S).invoke(
            FunctionName=function, Payload=json.dumps(_scheduled_event(dry_run=dry_run))
        )
    except (ClientError, BotoCoreError) as error:
        raise OpsError(f"{function} could not be invoked, or did not answer: {error}") from error
    body = answer["Payload"].read().decode()
    if "FunctionError" in answer:
        raise OpsError(
            f"{function} failed: {body}. What it deleted stays deleted. Run it again, or read its "
            "log."
        )
    return str(json.loads(body))


def _scheduled_event(*, dry_run: bool) -> dict[str, object]:
    """The event of the nightly schedule, as an operator sends it."""
    return {
        "id": "by-hand",
        "source": "rssi-mlops.operator",
        "detail-type": "Scheduled Event",
        "account": "",
        "region": "",
        "time": datetime.now(UTC).isoformat(),
        "detail": {"dry_run": dry_run},
    }

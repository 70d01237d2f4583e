"""`rssi clean-up`: has the nightly clean-up done now, or only said.

The stack's own Lambda does it, with its settings and its permissions; who calls it needs no more
than leave to. What may go wrong: there are more files than a Lambda's quarter of an hour is enough
for; then what is done is done, and the next call or night goes on from there.
"""

import json
from datetime import UTC, datetime

from botocore.exceptions import BotoCoreError, ClientError

from ops.account.session import AwsSession
from ops.errors import OpsError

_LONGEST_S = 910
"""Longer than a Lambda may take."""


def clean_up_function(stage: str) -> str:
    """What the stage's clean-up is called in Lambda."""
    return f"rssi-mlops-{stage}-clean-up"


def clean_up(aws: AwsSession, stage: str, *, dry_run: bool) -> str:
    """Have the stage's clean-up done.

    Args:
        aws: where the stack is.
        stage: whose artifacts.
        dry_run: only say what would go; each run and file of it is in the function's log.

    Returns:
        What came of it, in a few words.

    Raises:
        OpsError: it could not be called, or did not come to its end.
    """
    function = clean_up_function(stage)
    try:
        answer = aws.patient_client("lambda", _LONGEST_S).invoke(
            FunctionName=function, Payload=json.dumps(_order(dry_run=dry_run))
        )
    except (ClientError, BotoCoreError) as error:
        raise OpsError(f"{function} could not be called, or did not answer: {error}") from error
    said = answer["Payload"].read().decode()
    if "FunctionError" in answer:
        raise OpsError(
            f"{function} did not come to its end: {said}. What it deleted stays deleted; call it "
            "again, or look into its log."
        )
    return str(json.loads(said))


def _order(*, dry_run: bool) -> dict[str, object]:
    """The schedule's event, as a person sends it."""
    return {
        "id": "by-hand",
        "source": "rssi-mlops.operator",
        "detail-type": "Scheduled Event",
        "account": "",
        "region": "",
        "time": datetime.now(UTC).isoformat(),
        "detail": {"dry_run": dry_run},
    }

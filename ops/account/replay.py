"""Uploads a quarantined survey again.

A quarantine record names one version of one upload. The survey, or its corrected copy, is uploaded
under the same key as a new version, which no record names; the old version stays.
"""

from pathlib import Path

from events import names
from events.manifests import Quarantine, SurveyRef
from ops.account.stack_client import StackClient
from ops.errors import UsageError


def replay(stack_client: StackClient, site: str, what: str, mended: Path | None) -> SurveyRef:
    """Upload a quarantined survey as a new version.

    Args:
        stack_client: the stack.
        site: whose survey it is.
        what: its key, file name, version or id.
        mended: the corrected file; by default the survey as it is, for when the site's thresholds
            were changed.

    Raises:
        UsageError: no such survey is quarantined, or the file can't be read.
    """
    entry = _quarantined(stack_client, site, what)
    name = entry.survey.key.removeprefix(names.surveys_prefix(site))
    return stack_client.drop_bytes(site, name, _content(stack_client, entry.survey, mended))


def _quarantined(stack_client: StackClient, site: str, what: str) -> Quarantine:
    found = [entry for entry in stack_client.quarantined(site) if what in _names(entry.survey)]
    if not found:
        raise UsageError(
            f"No quarantined survey of {site} is called {what!r}: `rssi status --site {site}` "
            "lists them."
        )
    return max(found, key=lambda entry: entry.survey.uploaded_at)


def _names(survey: SurveyRef) -> set[str]:
    return {survey.key, survey.key.rsplit("/", 1)[-1], survey.version_id, survey.id}


def _content(stack_client: StackClient, survey: SurveyRef, mended: Path | None) -> bytes:
    if mended is not None:
        try:
            return mended.read_bytes()
        except OSError as error:
            raise UsageError(f"{mended} can't be read: {error.strerror}.") from error
    stored = stack_client.aws.s3.get_object(
        Bucket=survey.bucket, Key=survey.key, VersionId=survey.version_id
    )
    content: bytes = stored["Body"].read()
    return content

"""Takes a survey out of a site's data by hand, so that no later release learns from it.

A quarantine record says by whom and why, and a delete marker hides the upload from the agent's
listing. The upload's content stays in the versioned bucket: `rssi replay` brings it back.
"""

import getpass

from aws.s3 import Bucket
from events.manifests import Quarantine, SurveyRef
from ops.account.stack_client import StackClient
from ops.errors import UsageError


def withdraw(stack_client: StackClient, site: str, what: str, reason: str) -> Quarantine:
    """Withdraw the current version of a survey; doing it twice is doing it once.

    Args:
        stack_client: the stack.
        site: whose survey it is.
        what: its key, file name, version or id.
        reason: why, for whoever wonders later.

    Returns:
        The record of it.

    Raises:
        UsageError: the site has no such survey, or several.
    """
    found = [survey for survey in stack_client.surveys(site) if what in _names(survey)]
    if not found:
        known = [entry for entry in stack_client.quarantined(site) if what in _names(entry.survey)]
        if known:
            return max(known, key=lambda entry: entry.survey.uploaded_at)
        raise UsageError(
            f"No survey of {site} is called {what!r}. `rssi trace` takes a release and lists the "
            "surveys that it learned from."
        )
    if len(found) > 1:
        keys = ", ".join(survey.key for survey in found)
        raise UsageError(f"{what!r} fits {len(found)} surveys of {site}: {keys}. Give one key.")
    survey = found[0]
    record = Quarantine(
        site=site, survey=survey, reason=f"withdrawn by {getpass.getuser()}: {reason}"
    )
    stack_client.put_in_quarantine(record)
    # Last: a record without the marker is only a survey that is still used, and can be repeated.
    Bucket(stack_client.aws.s3, survey.bucket).delete([(survey.key, None)])
    return record


def _names(survey: SurveyRef) -> set[str]:
    return {survey.key, survey.key.rsplit("/", 1)[-1], survey.version_id, survey.id}

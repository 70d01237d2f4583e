"""Ids, names and object keys, with the rules that AWS and Kubernetes put on them.

A site's name goes into S3 keys, Kubernetes Job names (a DNS label of at most 63 characters) and
SageMaker names (``[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}``), so it obeys the narrowest of the three.
"""

import re
from typing import Annotated, NamedTuple

from pydantic import StringConstraints

_SITE = r"[a-z0-9](?:-?[a-z0-9])*"
_HEX12 = r"[0-9a-f]{12}"
_HEX64 = r"[0-9a-f]{64}"
MAX_SITE_LENGTH = 32
SURVEY_SUFFIXES = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".ndjson", ".parquet")
"""How the names of surveys end, by their format: CSV, JSON lines (each plain or gzip), Parquet."""
SAGEMAKER_NAME = re.compile(r"[a-zA-Z0-9](?:-*[a-zA-Z0-9]){0,62}")

Site = Annotated[str, StringConstraints(pattern=rf"^{_SITE}$", max_length=MAX_SITE_LENGTH)]
RunId = Annotated[
    str, StringConstraints(pattern=rf"^{_SITE}-{_HEX12}$", max_length=MAX_SITE_LENGTH + 13)
]
Digest = Annotated[str, StringConstraints(pattern=rf"^{_HEX64}$")]


class InvalidNameError(ValueError):
    """A name or key that breaks the rules; its text names the rule and a valid form."""


class SurveyKey(NamedTuple):
    """The parts of a survey's object key."""

    site: str
    name: str


class ReleaseKey(NamedTuple):
    """The parts of a release manifest's object key."""

    site: str
    run_id: str


class AttemptKey(NamedTuple):
    """The parts of the object key of a file that one attempt at a run wrote."""

    run_id: str
    attempt: str
    name: str


def is_site(site: str) -> bool:
    """Whether this is a valid name of a site."""
    return len(site) <= MAX_SITE_LENGTH and re.fullmatch(_SITE, site) is not None


def check_site(site: str) -> str:
    """Return ``site`` unchanged.

    Raises:
        InvalidNameError: it is not a valid name of a site.
    """
    if not is_site(site):
        raise InvalidNameError(
            f"{site!r} can't be the name of a site: use 1 to {MAX_SITE_LENGTH} lower-case letters, "
            "digits and single hyphens, such as library-1f"
        )
    return site


def is_run_id(run_id: str) -> bool:
    """Whether this can be the id of a run, hence of a release."""
    match = re.fullmatch(rf"({_SITE})-{_HEX12}", run_id)
    return match is not None and len(match[1]) <= MAX_SITE_LENGTH


def check_run_id(run_id: str) -> str:
    """Return ``run_id`` unchanged.

    Raises:
        InvalidNameError: it can't be the id of a run, hence of a release.
    """
    if not is_run_id(run_id):
        raise InvalidNameError(
            f"{run_id!r} is no release id: it is the site's name, a hyphen and 12 hex digits, "
            "such as library-1f-0123456789ab"
        )
    return run_id


def run_id(site: str, digest: str) -> str:
    """The id of the run, and so of the release, whose inputs have this SHA-256 (hex)."""
    return f"{check_site(site)}-{digest[:12]}"


def site_of_run(run: str) -> str:
    """The site that a run id belongs to."""
    return check_run_id(run)[: -len("-0123456789ab")]


def surveys_prefix(site: str) -> str:
    """The prefix of a site's surveys, in the data bucket."""
    return f"sites/{check_site(site)}/surveys/"


def parse_survey_key(key: str) -> SurveyKey:
    """Take a survey's object key apart.

    Raises:
        InvalidNameError: it is a folder's key, has another prefix, or its site's name is invalid.
    """
    match = re.fullmatch(r"sites/([^/]+)/surveys/(.+)", key, flags=re.DOTALL)
    if match is None or key.endswith("/"):
        raise InvalidNameError(
            f"{key!r} is no survey: surveys are objects named sites/SITE/surveys/NAME.csv"
        )
    return SurveyKey(check_site(match[1]), match[2])


def has_survey_suffix(key: str) -> bool:
    """Whether a key's name ends as those of surveys do (:data:`SURVEY_SUFFIXES`), in any case."""
    return key.lower().endswith(SURVEY_SUFFIXES)


def snapshot_key(site: str, digest: str) -> str:
    """The key of a sealed snapshot, in the artifact bucket."""
    return f"sites/{check_site(site)}/snapshots/{digest}.json"


def quarantine_prefix(site: str) -> str:
    """The prefix of the records of a site's quarantined surveys, in the artifact bucket."""
    return f"sites/{check_site(site)}/quarantine/"


def quarantine_key(site: str, survey_id: str) -> str:
    """The key of the record why one survey is not used."""
    return f"{quarantine_prefix(site)}{survey_id}.json"


def releases_prefix(site: str) -> str:
    """The prefix of a site's releases, in the artifact bucket."""
    return f"sites/{check_site(site)}/releases/"


def release_key(run: str) -> str:
    """The key of a release's manifest, the object whose presence makes it a release."""
    return f"{releases_prefix(site_of_run(run))}{run}/release.json"


def champion_key(site: str) -> str:
    """The key of the pointer to a site's champion, in the artifact bucket."""
    return f"sites/{check_site(site)}/champion.json"


def attempt_key(run: str, attempt: str, name: str) -> str:
    """The key of a file of one attempt at a run; two attempts never share a key."""
    return f"{releases_prefix(site_of_run(run))}{run}/attempts/{attempt}/{name}"


def parse_attempt_key(key: str) -> AttemptKey:
    """Take the object key of an attempt's file apart.

    Raises:
        InvalidNameError: it is not the key of an attempt's file.
    """
    match = re.fullmatch(
        rf"sites/([^/]+)/releases/({_SITE}-{_HEX12})/attempts/([^/]+)/(.+)", key, flags=re.DOTALL
    )
    if match is None or site_of_run(match[2]) != match[1]:
        raise InvalidNameError(
            f"{key!r} is no attempt's file: those are named "
            "sites/SITE/releases/RUN/attempts/ATTEMPT/NAME"
        )
    return AttemptKey(match[2], match[3], match[4])


def parse_release_key(key: str) -> ReleaseKey:
    """Take a release manifest's object key apart.

    Raises:
        InvalidNameError: the key is not one of a release manifest.
    """
    match = re.fullmatch(rf"sites/([^/]+)/releases/({_SITE}-{_HEX12})/release\.json", key)
    if match is None or site_of_run(match[2]) != match[1]:
        raise InvalidNameError(
            f"{key!r} is no release manifest: those are named sites/SITE/releases/RUN/release.json"
        )
    return ReleaseKey(match[1], match[2])


def endpoint_name(prefix: str, site: str) -> str:
    """The SageMaker endpoint of a site."""
    return _sagemaker_name(f"{prefix}-{check_site(site)}")


def site_of_endpoint(prefix: str, endpoint: str) -> str:
    """The site that an endpoint serves.

    Raises:
        InvalidNameError: the endpoint is not one of ours.
    """
    if not endpoint.startswith(f"{prefix}-"):
        raise InvalidNameError(f"{endpoint!r} is not an endpoint of this stack ({prefix}-SITE)")
    return check_site(endpoint.removeprefix(f"{prefix}-"))


def model_name(run: str, specification_digest: str) -> str:
    """The SageMaker model of a release: named by what it contains, so made once."""
    return _sagemaker_name(f"{check_run_id(run)}-{specification_digest[:8]}")


def endpoint_config_name(run: str, specification_digest: str) -> str:
    """The endpoint configuration of a release under one specification of its fleet."""
    return _sagemaker_name(f"{check_run_id(run)}-{specification_digest[:12]}")


def _sagemaker_name(name: str) -> str:
    if not SAGEMAKER_NAME.fullmatch(name):
        raise InvalidNameError(
            f"{name!r} can't be a name in SageMaker: at most 63 letters, digits and inner hyphens"
        )
    return name

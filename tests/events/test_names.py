"""Names obey the narrowest of S3's, Kubernetes' and SageMaker's rules."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events import names

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
sites = st.from_regex(r"[a-z0-9](-?[a-z0-9]){0,20}", fullmatch=True).filter(
    lambda site: len(site) <= names.MAX_SITE_LENGTH
)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)


@given(sites, digests)
def test_every_name_made_from_a_good_site_is_one_that_aws_and_kubernetes_take(site, digest):
    run = names.run_id(site, digest)

    assert DNS_LABEL.fullmatch(run)
    for name in (
        names.model_name(run, digest),
        names.endpoint_config_name(run, digest),
        names.endpoint_name("rssi-production", site),
    ):
        assert names.SAGEMAKER_NAME.fullmatch(name)


@given(sites, digests)
def test_names_lead_back_to_what_they_were_made_from(site, digest):
    run = names.run_id(site, digest)

    assert names.site_of_run(run) == site
    assert names.parse_release_key(names.release_key(run)) == (site, run)
    assert names.site_of_endpoint("rssi", names.endpoint_name("rssi", site)) == site
    assert names.parse_survey_key(f"{names.surveys_prefix(site)}a b/ü.csv") == (site, "a b/ü.csv")


@pytest.mark.parametrize(
    "site", ["", "Library", "a_b", "-a", "a-", "a--b", "a" * 33, "ä", "a/b", "a\n", "..", "a b"]
)
def test_a_name_that_can_not_be_a_site_is_refused_with_the_rule(site):
    with pytest.raises(names.InvalidNameError, match="lower-case letters"):
        names.check_site(site)


@pytest.mark.parametrize(
    "key",
    [
        "sites/lab/surveys/",
        "sites/lab/surveys/folder/",
        "sites/lab/releases/x.csv",
        "lab/surveys/a.csv",
        "sites/LAB/surveys/a.csv",
        "sites/a/b/surveys/a.csv",
    ],
)
def test_a_key_that_is_no_survey_is_refused(key):
    with pytest.raises(names.InvalidNameError):
        names.parse_survey_key(key)


@pytest.mark.parametrize(
    "key",
    [
        "sites/lab/releases/lab-0123456789ab/model.tar.gz",
        "sites/lab/releases/lab-0123456789ab/attempts/1/release.json",
        "sites/lab/releases/hall-0123456789ab/release.json",
        "sites/lab/releases/lab-0123456789/release.json",
        "sites/lab/snapshots/release.json",
    ],
)
def test_only_a_release_manifest_is_taken_for_one(key):
    with pytest.raises(names.InvalidNameError):
        names.parse_release_key(key)


def test_an_endpoint_of_another_stack_is_refused():
    with pytest.raises(names.InvalidNameError, match="not an endpoint of this stack"):
        names.site_of_endpoint("rssi", "MyEndpoint")

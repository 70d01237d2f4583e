"""Fixtures of the AWS layer's tests: a fake AWS on loopback."""

import pytest

from tests.aws.aws_world import fake_aws


@pytest.fixture(scope="session")
def aws():
    """A fake AWS."""
    with fake_aws() as started:
        yield started

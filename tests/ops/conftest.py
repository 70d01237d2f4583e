"""Fixtures of other rooms that the tests of the operator's side use."""

from tests.agent.conftest import aws, kubernetes
from tests.local.conftest import client, cloud, make_function, name
from tests.serving.conftest import bundle, server, service
from tests.training.conftest import survey_file, trained

__all__ = [
    "aws",
    "bundle",
    "client",
    "cloud",
    "kubernetes",
    "make_function",
    "name",
    "server",
    "service",
    "survey_file",
    "trained",
]

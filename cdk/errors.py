"""The errors that prevent a synthesis; each text says what to do.

InfrastructureError
├── SettingsError      a setting in cdk.json or the context is missing, unknown or out of bounds
├── NodeMissingError   there is no Node for the CDK to run on
└── LayerError         the Lambdas' dependency layer could not be built
"""


class InfrastructureError(Exception):
    """Root of everything that `app.py` reports as a sentence, not as a traceback."""


class SettingsError(InfrastructureError):
    """A setting is missing, unknown or out of bounds; the text names each one.

    A retry can't help: correct cdk.json or the `-c` option.
    """


class NodeMissingError(InfrastructureError):
    """The package that carries Node is not installed and `JSII_NODE` is not set."""


class LayerError(InfrastructureError):
    """The installer failed; what was built before is untouched."""

"""The errors of a release step, by what has to follow.

    ReleaseError
    ├── RetryLaterError        nothing is wrong; a retry will do
    │   ├── EndpointBusyError  the endpoint is in the middle of another change
    │   └── ContentionError    others changed the same state each time
    ├── ConflictError          a name is taken by other content: a person must look
    └── UnreadableReleaseError a manifest can't be read: a person must look; nothing is deleted

A rejected release is not an error: it is an outcome, recorded and announced.
"""


class ReleaseError(Exception):
    """Base of what a release step raises."""


class RetryLaterError(ReleaseError):
    """The step can't be done now; Lambda's asynchronous retries repeat it."""


class EndpointBusyError(RetryLaterError):
    """The endpoint is in the middle of another change, so SageMaker would refuse this one."""


class ContentionError(RetryLaterError):
    """Others changed the ledger or the pointer each time the step tried to write."""


class ConflictError(ReleaseError):
    """Something of this name exists with other content; a retry can't help."""


class UnreadableReleaseError(ReleaseError):
    """The object at a release's key is not a valid manifest."""

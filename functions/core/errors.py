"""What can go wrong in a release step, by what has to follow.

    ReleaseError
    ├── RetryLaterError        nothing is wrong; asking again in a while will do
    │   ├── EndpointBusyError  the endpoint is in the middle of another change
    │   └── ContentionError    others wrote the ledger at the same moment, again and again
    ├── ConflictError          a name is taken by other content: a person must look
    └── UnreadableReleaseError a manifest is none: a person must look; nothing of it is deleted

A rejected release is not an error: it is an outcome, recorded and announced.
"""


class ReleaseError(Exception):
    """Base of what a release step raises."""


class RetryLaterError(ReleaseError):
    """The step could not be done now. Lambda's asynchronous retries repeat it."""


class EndpointBusyError(RetryLaterError):
    """The endpoint is in the middle of another change, so SageMaker would refuse this one."""


class ContentionError(RetryLaterError):
    """The ledger changed under the step each time it tried to write."""


class ConflictError(ReleaseError):
    """Something of this name exists with other content; repeating can't help."""


class UnreadableReleaseError(ReleaseError):
    """What lies at a release's name can't be read as its manifest."""

"""What may mend an error that a step met, from its type and the code that AWS gave it."""

from aws.s3 import StoreUnavailableError
from functions.core.deadlines import ErrorKind, is_capacity
from functions.core.errors import (
    ConflictError,
    EndpointBusyError,
    RetryLaterError,
    UnreadableReleaseError,
)

_PERMANENT_CODES = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "ResourceNotFound",
        "ResourceNotFoundException",
        "UnauthorizedOperation",
        "ValidationException",
    }
)
_CAPACITY_CODES = frozenset(
    {
        "InsufficientInstanceCapacity",
        "LimitExceededException",
        "RequestLimitExceeded",
        "ResourceInUse",
        "ResourceLimitExceeded",
        "ServiceUnavailable",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)


def classify(error: Exception) -> ErrorKind:
    """The kind of an error; one that is not known may be mended by a repetition."""
    if isinstance(error, EndpointBusyError):
        return ErrorKind.BUSY
    if isinstance(error, RetryLaterError | StoreUnavailableError):
        return ErrorKind.TRANSIENT
    if isinstance(error, ConflictError | UnreadableReleaseError | LookupError | ValueError):
        return ErrorKind.PERMANENT
    code = getattr(error, "response", {}).get("Error", {}).get("Code", "")
    if code in _CAPACITY_CODES or (code and is_capacity(str(error))):
        return ErrorKind.CAPACITY
    return ErrorKind.PERMANENT if code in _PERMANENT_CODES else ErrorKind.TRANSIENT

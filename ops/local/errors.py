"""What can go wrong in the embedded cloud.

LocalCloudError
├── ServiceError                an AWS answer that refuses a request; it goes back to the client
│   └── InvalidEventPatternError  the pattern of a rule can't be understood
├── DeliveryError               an event could not be handed to a target; may be retried
│   └── UndeliverableError      and no retry would help: straight to the dead-letter queue
├── ChildFailedError            a process that should serve ended, or did not get ready
├── AssemblyError               a cloud assembly or template that can't be read
│   └── NotEmulatedError        it asks for things that are not emulated; lists all of them
└── AlreadyRunningError         this process runs an embedded cloud already
"""


class LocalCloudError(Exception):
    """Base of every error that the embedded cloud raises on purpose."""


class ServiceError(LocalCloudError):
    """A refusal in the words of an AWS service.

    Args:
        code: the error code, such as ``ValidationException``.
        message: what the client sees.
        status: the HTTP status.
        details: further members of the error, such as ``OriginalStatusCode``.
    """

    def __init__(
        self,
        code: str,
        message: str,
        status: int = 400,
        details: dict[str, str | int] | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.details = details or {}


class InvalidEventPatternError(ServiceError):
    """A rule's pattern that EventBridge would not take."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            "InvalidEventPatternException", f"Event pattern is not valid. Reason: {reason}"
        )


class DeliveryError(LocalCloudError):
    """An event could not be handed to a target this time.

    Args:
        code: what the dead-letter queue's ``ERROR_CODE`` attribute will say.
        message: what its ``ERROR_MESSAGE`` attribute will say.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class UndeliverableError(DeliveryError):
    """The target does not exist or may not be called: EventBridge does not retry these."""


class ChildFailedError(LocalCloudError):
    """A process of ours ended early or was not ready in time; the text quotes its output."""


class AssemblyError(LocalCloudError):
    """A cloud assembly that is not there, or a template that can't be resolved."""


class NotEmulatedError(AssemblyError):
    """The template asks for resources or properties that the embedded cloud would have to skip.

    Args:
        findings: one ``path: what about it`` line for each.
    """

    def __init__(self, findings: list[str]) -> None:
        listing = "\n".join(f"  {finding}" for finding in findings)
        super().__init__(
            f"{len(findings)} part(s) of the template are not emulated, so nothing was deployed:\n"
            f"{listing}\n"
            "Emulate them in ops/local/deploy, or state why they may be left out in "
            "ops/local/deploy/not_emulated.py."
        )
        self.findings = findings


class DeploymentFailedError(LocalCloudError):
    """A service refused a resource; what was created before stays, and another try goes on."""


class AlreadyRunningError(LocalCloudError):
    """moto's state is one per process, and so is the embedded cloud."""

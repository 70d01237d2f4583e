"""The errors of the embedded cloud.

LocalCloudError
├── ServiceError                a service refuses a request; goes back to the client
│   └── InvalidEventPatternError  the pattern of a rule is not valid
├── DeliveryError               an event could not be handed to a target; may be retried
│   └── UndeliverableError      no retry would help: straight to the dead-letter queue
├── ChildFailedError            a process that should serve ended, or did not get ready
├── AssemblyError               a cloud assembly or template can't be read
│   └── NotEmulatedError        it needs what is not emulated; lists all of it
├── DeploymentFailedError       a service refused a resource
└── AlreadyRunningError         this process already runs an embedded cloud
"""


class LocalCloudError(Exception):
    """Base of every error that the embedded cloud raises."""


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
    """A rule's pattern that EventBridge would refuse."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            "InvalidEventPatternException", f"Event pattern is not valid. Reason: {reason}"
        )


class DeliveryError(LocalCloudError):
    """An event could not be handed to a target this time.

    Args:
        code: the ``ERROR_CODE`` attribute in the dead-letter queue.
        message: the ``ERROR_MESSAGE`` attribute there.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class UndeliverableError(DeliveryError):
    """The target does not exist or may not be called: EventBridge does not retry these."""


class ChildFailedError(LocalCloudError):
    """A child process ended early or was not ready in time; the text quotes its output."""


class AssemblyError(LocalCloudError):
    """A cloud assembly is missing, or a template can't be resolved."""


class NotEmulatedError(AssemblyError):
    """The template asks for resources or properties that the embedded cloud would have to skip.

    Args:
        findings: one line for each, ``path: reason``.
    """

    def __init__(self, findings: list[str]) -> None:
        listing = "\n".join(f"  {finding}" for finding in findings)
        super().__init__(
            f"{len(findings)} part(s) of the template are not emulated, so nothing was deployed:\n"
            f"{listing}\n"
            f"Emulate them in {__package__}.deploy, or say in {__package__}.deploy.not_emulated "
            "why they may be ignored."
        )
        self.findings = findings


class DeploymentFailedError(LocalCloudError):
    """A service refused a resource; what was created stays, and another deployment goes on."""


class AlreadyRunningError(LocalCloudError):
    """A process can run one embedded cloud, because moto has one state per process."""

"""The agent's errors, as one tree.

::

    AgentError
    ├── AwsUnavailableError  SQS, EventBridge or SSM gave no useful answer: try again later
    ├── DocumentError        a document in the artifact bucket can't be read: a person has to look
    ├── MessageError         a message is not an event of S3: it goes to the dead-letter queue
    ├── RunnerError          a run could not be started or listed: try again later
    │   ├── ClusterError     the API server refused, or gave no answer
    │   └── ForeignJobError  another Job has the name of a run: a person has to look
    └── ConfigurationError   a setting is missing or wrong: a person has to correct it

`aws.s3.StoreError` stands beside it.
"""


class AgentError(Exception):
    """Base of everything that the agent raises."""


class AwsUnavailableError(AgentError):
    """SQS, EventBridge or SSM gave no useful answer. Nothing is lost; try again."""


class DocumentError(AgentError):
    """A document in the artifact bucket can't be parsed; the text names it."""


class MessageError(AgentError):
    """A message is not an ``Object Created`` event of S3; repeating can't help."""


class RunnerError(AgentError):
    """A run could not be started or listed. Nothing is lost; try again."""


class ClusterError(RunnerError):
    """The Kubernetes API server refused a request or gave no useful answer. Nothing is lost.

    Attributes:
        status: the HTTP status; None without an answer.
        retry_after_s: how long the server asks the client to wait; None if it does not say.
    """

    def __init__(
        self, message: str, *, status: int | None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class ForeignJobError(RunnerError):
    """A Job has the name of a run but is not its Job; the text says what to do about it."""


class ConfigurationError(AgentError):
    """A setting is missing or can't be used; the text names it."""

"""What may go wrong in the agent, as one tree.

::

    AgentError
    ├── BorderError        a queue or a bus gave no useful answer: try again later
    ├── DocumentError      a document in the artifact bucket can't be read: a person has to look
    ├── MessageError       a message is not what S3 says through EventBridge: leave it to the DLQ
    ├── RunnerError        a run could not be started or looked at: try again later
    │   ├── ClusterError     the API server refused, or gave no answer
    │   └── ForeignJobError  a Job has a run's name and is not ours: a person has to look
    └── ConfigurationError the agent was not told what it needs to know: a person has to

`aws.s3.StoreError` stands beside it: buckets are shared with the training process.
"""


class AgentError(Exception):
    """Base of everything that the agent raises."""


class BorderError(AgentError):
    """A queue, a bus or a parameter gave no useful answer. Nothing is lost; try again."""


class DocumentError(AgentError):
    """A document in the artifact bucket is not what we write there; its text names it."""


class MessageError(AgentError):
    """A message that says nothing we understand; its receive count brings it to the DLQ."""


class RunnerError(AgentError):
    """A run could not be started or looked at. Nothing is lost; try again."""


class ClusterError(RunnerError):
    """The Kubernetes API server refused a request or gave no useful answer. Nothing is lost.

    Attributes:
        status: the HTTP status; None without an answer.
        retry_after_s: how long the server asks to be left alone; None if it does not say.
    """

    def __init__(
        self, message: str, *, status: int | None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class ForeignJobError(RunnerError):
    """A Job has the name of a run and is not for it; the text says what to do about it."""


class ConfigurationError(AgentError):
    """The agent was not told what it needs to know; its text says which setting is missing."""

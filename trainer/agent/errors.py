"""What may go wrong in the agent, as one tree.

::

    AgentError
    ├── BorderError        a queue or a bus gave no useful answer: try again later
    ├── DocumentError      a document in the artifact bucket can't be read: a person has to look
    ├── MessageError       a message is not what S3 says through EventBridge: leave it to the DLQ
    ├── RunnerError        a run could not be started or looked at: try again later
    └── ConfigurationError the agent was not told what it needs to know: a person has to

`trainer.s3.StoreError` stands beside it: buckets are shared with the training process.
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


class ConfigurationError(AgentError):
    """The agent was not told what it needs to know; its text says which setting is missing."""

"""Request models of the Lambda operations that are emulated; what is missing here is refused."""

from pydantic import Base64Bytes, Field

from ops.local.gateway.protocol import ApiModel


class FunctionCode(ApiModel):
    """A zip archive: its bytes, or an object in S3."""

    zip_file: Base64Bytes | None = None
    s3_bucket: str | None = None
    s3_key: str | None = None
    s3_object_version: str | None = None


class EnvironmentVariables(ApiModel):
    """A function's own environment variables."""

    variables: dict[str, str] = Field(default_factory=dict)


class DeadLetterTarget(ApiModel):
    """The ARN of the dead-letter queue, if any."""

    target_arn: str | None = None


class LoggingConfiguration(ApiModel):
    """Where a function's output goes, and in which form."""

    log_group: str | None = None
    log_format: str = "Text"
    application_log_level: str | None = None
    system_log_level: str | None = None


class FunctionConfiguration(ApiModel):
    """What UpdateFunctionConfiguration may change."""

    function_name: str
    handler: str = ""
    role: str = ""
    runtime: str = "python3.11"
    description: str = ""
    timeout: int = 3
    memory_size: int = 128
    environment: EnvironmentVariables = EnvironmentVariables()
    dead_letter_config: DeadLetterTarget = DeadLetterTarget()
    logging_config: LoggingConfiguration = LoggingConfiguration()
    layers: tuple[str, ...] = ()


class CreateFunction(FunctionConfiguration):
    """A new function."""

    code: FunctionCode
    package_type: str = "Zip"
    publish: bool = False
    tags: dict[str, str] = Field(default_factory=dict)


class UpdateFunctionCode(FunctionCode):
    """Other code for a function."""

    function_name: str


class InvocationDestination(ApiModel):
    """The ARN of a queue, topic, function or bus."""

    destination: str | None = None


class DestinationConfig(ApiModel):
    """Where records of asynchronous invocations go."""

    on_success: InvocationDestination = InvocationDestination()
    on_failure: InvocationDestination = InvocationDestination()


class EventInvokeConfig(ApiModel):
    """How asynchronous invocations are retried, and where their records go."""

    function_name: str
    maximum_retry_attempts: int = Field(2, ge=0, le=2)
    maximum_event_age_in_seconds: int = Field(21600, ge=60, le=21600)
    destination_config: DestinationConfig = DestinationConfig()


class InvokePermission(ApiModel):
    """One statement of the resource policy: which service may invoke the function."""

    function_name: str
    statement_id: str
    action: str
    principal: str
    source_arn: str | None = None
    source_account: str | None = None


class PutFunctionConcurrency(ApiModel):
    """A limit on a function's concurrent invocations."""

    function_name: str
    reserved_concurrent_executions: int = Field(ge=0)

"""The embedded cloud: one process and one loopback address that answer for every AWS service.

moto answers for services that only keep state (S3, SQS, SNS, DynamoDB, IAM, CloudWatch, Logs); what
must run for real is here, a room per service: event routing, Lambda processes and SageMaker
endpoints, and a deployer that turns a synthesized CDK assembly into plain API calls. Start with
`ops.local.cloud.EmbeddedCloud`.

Only the emulation of AWS may come in, nothing about this project; modules import the standard
library, third parties and each other, so that the package could be published on its own.
"""

"""The embedded cloud: one process and one loopback address that answer for every AWS service.

What only keeps state (S3, SQS, SNS, DynamoDB, SSM, IAM, CloudWatch, Logs) is moto's; what must run
for real is here: event routing, Lambda processes, SageMaker endpoints, and a deployer that turns a
synthesized CDK assembly into plain API calls. `ops.local.cloud.EmbeddedCloud` is the way in.
"""

"""SageMaker: models, endpoint configurations, and endpoints that are real serving processes.

What happens to an endpoint or to its requests may come in. It imports `events`, `gateway` and the
modules at the top.
"""

"""The on-prem agent: sees surveys, seals snapshots, has them trained and says what came of it.

``reconcile`` decides and is pure; ``agent`` looks, acts and waits; ``borders`` reach S3, SQS and
EventBridge; ``runners`` start training. Only calls out: nothing listens.
"""

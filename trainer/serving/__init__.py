"""The SageMaker container: ``/ping`` and ``/invocations`` over a bundle, in numpy alone."""

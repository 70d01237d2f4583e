"""The SageMaker container: ``/ping`` and ``/invocations`` over a bundle, on LiteRT."""

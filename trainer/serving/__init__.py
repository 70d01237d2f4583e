"""The SageMaker container: ``/ping`` and ``/invocations`` over a bundle, on LiteRT.

What comes in is HTTP requests and the path of a bundle. ``exchange``, ``settings``, ``metrics`` and
``logs`` stand at the bottom; above them ``formats``, then ``models``, then ``http``. It may import
``trainer.localization`` and nothing else of ours: no MXNet, no AWS client.
"""

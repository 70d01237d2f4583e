"""The packaged model, ``model.tar.gz``: what it says of itself, how it is written, read and run.

What comes in is a fitted network with its description, or a file from a bucket. It may import
``dense``, ``runtime`` and the modules beside this folder; nothing here knows MXNet.
"""

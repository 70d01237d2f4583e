"""The one model family so far: dense layers over features of each beacon's strength.

It computes the posterior over cells in numpy (``network``), as an MXNet graph (``mxnet_graph``) and
as a served graph (``graph``, ``serving``). Another family is another such folder, with an engine
for serving and a ``ModelFamily`` in ``trainer.training.fitting``. It imports ``runtime``,
``graph`` and below.
"""

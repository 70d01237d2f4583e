"""The model itself, shared by training and serving so that the two cannot disagree.

What comes in is readings in dBm and fitted weights; what goes out is answers and bundles. From the
top: ``bundle`` packs and opens a model, ``dense`` is the model family, ``runtime`` runs its
``graph``, and ``decoding``, ``readings`` and ``errors`` are shared by all. It imports nothing of
ours outside; only ``mxnet_loader`` and ``dense.mxnet_graph`` use MXNet.
"""

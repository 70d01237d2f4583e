"""The model itself, shared by training and serving so that the two cannot disagree.

``readings`` and ``features`` turn dBm into numbers, ``network`` and ``decoding`` into answers, as
evaluation does. ``graph`` says the same as one graph, which ``runtime`` runs, and ``engine`` makes
sure that a row has the same bits alone and among others. ``bundle`` packs it all; only
``mxnet_loader`` and ``network_mxnet`` know MXNet.
"""

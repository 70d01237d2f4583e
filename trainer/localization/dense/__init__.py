"""The one model family so far: dense layers over features of each beacon's strength.

What comes in is fingerprints, or weights from the training; what goes out is probabilities of
cells, in numpy, as a LiteRT graph or as an MXNet graph. Only ``mxnet_graph`` knows MXNet.
"""

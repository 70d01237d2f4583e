"""Runs the graph of any model family: LiteRT's interpreter, and the engine around it.

What comes in is a graph and fingerprints; what goes out is answers, with the same bits for a row
alone and in any batch. It imports ``graph`` and below, and no family of models.
"""

"""Runs a model's graph: the writer of LiteRT's file format, the interpreter and the engine.

What comes in is a graph and fingerprints; what goes out is answers, with the same bits for a row
alone and in any batch.
"""

"""A model as one LiteRT graph: the writer of the file format, and the part from logits to answers.

What comes in is a model family's operations up to its logits; what goes out is the bytes of a
graph. It imports ``decoding`` and below, and no family of models.
"""

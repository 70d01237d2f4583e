"""From a request's body to fingerprints, and from a model's answers to a response's body.

What comes in is an HTTP request and the model that is to answer it. It imports ``exchange`` and
``trainer.localization``, and never ``models`` or ``http``.
"""

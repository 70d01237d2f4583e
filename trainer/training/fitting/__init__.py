"""Fits the network: from a training set and hyperparameters to weights, on one machine or several.

What comes in is a ``TrainingSet``; what goes out is a network of the model family. It imports
``trainer.localization``, ``reading`` and ``quality``. ``model_family`` is the port for other kinds
of models; only ``device``, ``distributed`` and ``adam`` handle MXNet's objects.
"""

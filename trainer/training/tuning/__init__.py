"""A search for hyperparameters that is spread over processes: its plan, its folds, its Job.

It may import ``job`` and the rooms before it. The search itself, which draws the settings, is part
of ``ops``.
"""

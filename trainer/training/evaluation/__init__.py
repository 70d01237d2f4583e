"""How well a recipe does on rows it has not seen, and whether it does better than the champion.

Hold-outs and folds, scores, figures with intervals, calibration and comparison come in here; it
imports fitting, quality and reading, and the model that it scores. No report is written here.
"""

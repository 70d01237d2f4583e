"""How good the rows of a training set are: near-duplicates, drift, and the audit that reports both.

A training set and its surveys come in; pairs of duplicate rows and an audit of figures and findings
go out. Imports ``trainer.training.reading``. Nothing is changed or dropped here.
"""

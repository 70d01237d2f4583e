"""From files to one training set.

A survey's file (or its content) and the site's description come in; a :class:`Survey` for each file
and one :class:`TrainingSet` of a site go out, or a reason to quarantine the file. Imports what a
reading and a position are from ``trainer.localization``; no other room of training.
"""

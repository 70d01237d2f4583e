"""File formats of surveys: a reader per format, behind one port.

A path or bytes come in; batches of rows with typed columns and the faults of single rows go out. A
new format is one module with a :class:`~trainer.training.reading.formats.port.SurveyReader` and one
entry in :mod:`~trainer.training.reading.formats.registry`. Imports from the room above: row faults
and times.
"""

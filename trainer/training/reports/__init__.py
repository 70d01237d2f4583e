"""What is written about a release: ``metrics.json``, and the model card for people.

The results of `reading`, `quality`, `fitting` and `evaluation` come in as `ReportContent`; it is
converted to plain values here, which the templates draw. Imports those rooms and `events` only.
"""

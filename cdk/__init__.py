"""The AWS side as code: what `app.py` synthesizes, one construct per capability.

Synthesis needs no account, no network and no Docker, and writes the same bytes every time.
"""

from pathlib import Path

ROOT = Path(__file__).parents[1]

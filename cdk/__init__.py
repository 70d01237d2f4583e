"""The AWS side as code, synthesized by `app.py`: settings, the stack, and its constructs.

Synthesis needs no account, no network and no Docker, and writes the same bytes every time. Imports
`functions` (settings only), `aws` and `events`.
"""

from pathlib import Path

ROOT = Path(__file__).parents[1]

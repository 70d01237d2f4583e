"""The cloud side's adapters of AWS: one class per service or document; clients are handed in.

May import `aws`, `events` and `functions.core`; handlers reach them through `functions.services`.
"""

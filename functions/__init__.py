"""The cloud side of a release: one file per Lambda, each parse, one use case, outcome.

New functions go here with a settings model in `settings` and their construct in `cdk`. Imports
`aws` and `events`; handlers import `entry` and `services`, adapters and the core, never each other.
"""

"""The constructs of a stage: one capability per file.

`cdk.stack` composes them. New resources go into the file of their capability, with the permissions
in `grants`. Imports `cdk.settings`, `events`, and the settings of `functions`.
"""

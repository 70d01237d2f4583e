"""The contract: every event and document that crosses a border, and the rules of names and ids.

Pure models only, from which the JSON Schemas are generated. Imports nothing of ours and no AWS
client, so that the cloud side, the on-prem side and any listener on the bus can build on it.
"""

"""The contract: every event and manifest that crosses a border, and how things are named.

Imports nothing of ours and no AWS client, so that both the cloud side and the on-prem side,
and anyone who listens to the bus, can build on it.
"""

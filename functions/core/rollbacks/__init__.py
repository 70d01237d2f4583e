"""Rollbacks: which release is put back, and what becomes of a person's request for one.

A site's state and the ledger's records come in; imports the state machine's documents only.
"""

"""`rssi demo`: a survey's whole way on one machine, in six acts that check themselves.

It drives a local stack through the operator's use cases, as people do. Imports the rest of `ops`,
the contract, and from the trainer what reads surveys, opens bundles and draws the floor map.
"""

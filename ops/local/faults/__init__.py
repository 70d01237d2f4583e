"""Faults on request, so that one can see what comes of them.

Requests for faults may come in, over HTTP or from tests, and questions what is to go wrong now. It
imports `gateway.protocol` and the modules at the top.
"""

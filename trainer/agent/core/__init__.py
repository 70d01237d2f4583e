"""The agent's decisions: which run is due, what to do about a site, what to report. Pure.

Takes listings and run states, returns decisions and events; no client, no clock, no environment.
May import `events` and the training job's contract (settings, outcome).
"""

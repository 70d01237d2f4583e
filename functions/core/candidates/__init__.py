"""Whether a candidate may replace the champion: the champion gate, a site's policy, decisions.

Comes in: a release's figures, the champion's, the site's policy. Pure; imports the contract and the
records of the core.
"""

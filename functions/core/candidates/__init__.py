"""Whether a candidate may go live: the two gates, a site's policy, decisions.

Comes in: a manifest and the files beside it, figures, the site's policy. Pure; imports the contract
and the records of the core.
"""

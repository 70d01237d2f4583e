"""What an operator of a deployed stack can ask and do: the use cases under every user interface.

Prints nothing and knows no command line. Imports the ledger and the core of `functions`, the
agent's settings and runners, `aws` and `events`.
"""

"""Where training runs: a machine's processes, or a Kubernetes cluster.

Each runner implements `runner.Runner` in a package of its own. A runner may import the agent's
core, its settings and `trainer.training`'s contracts; only `kubernetes` imports that client.
"""

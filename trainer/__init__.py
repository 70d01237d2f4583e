"""The on-prem side: the agent, the training Job, the model and its serving container."""

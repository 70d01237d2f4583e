"""Where the agent touches other systems: one class per border, its client handed in."""

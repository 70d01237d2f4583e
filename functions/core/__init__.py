"""The release logic: pure decisions over data. No clients, no clock, no environment."""

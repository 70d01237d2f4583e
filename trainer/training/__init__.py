"""The training Job: surveys in, a release's files out."""

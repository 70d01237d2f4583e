"""The borders to AWS, one class each; client and clock are handed in."""

"""The operator's side: the command line, its use cases, the demonstration, and the embedded cloud.

`cli` stands on `account` (a deployed stack) and `experiments` (the trainer's code on this machine);
`local` is the embedded cloud and imports nothing of ours; `dev` is for developers and not shipped.
May import every other package.
"""

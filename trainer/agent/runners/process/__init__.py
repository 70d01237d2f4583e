"""Runs training in processes of this machine, for a trial or a building without a cluster.

`runner` runs training runs, `indexed` numbered work; both give a process what a pod of a Job gets.
"""

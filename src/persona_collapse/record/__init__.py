"""What `dvc.lock` says and whether it holds: its graph, verification, diagnosis, and where a number comes from.

Beside it the curves of a stage while it runs, of which nothing is recorded.
"""

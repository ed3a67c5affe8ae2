"""What `dvc.lock` says and whether it holds: its graph, verification, diagnosis, and where a number comes from."""

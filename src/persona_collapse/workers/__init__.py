"""The stages of DVC's graph spread over workers by Dask: which runs where, how one is run, and what that takes.

DVC alone runs and records a stage; what lives here decides when and where it does.
"""

"""Work beyond one process: attacks and detectors over whole data sets, on workers of Apache Beam.

`crafting.craft` attacks and `scoring.score` scores what the in-process way does, with the same draws; `running` runs
any pipeline, and says in one sentence why one failed.
"""

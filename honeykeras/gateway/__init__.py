"""A gateway before guarded models: the API of TensorFlow Serving, and what becomes of who attacks them.

`honeykeras serve` runs one. Requests go to a `Backend` (artifacts in this process, or a TensorFlow Serving behind it)
by way of a `Guard`, which keeps each client's ledger in a `Store` and answers as a `Policy` says.
"""

"""How a server puts requests together, as the text protocol buffer that TensorFlow Serving reads."""

from __future__ import annotations

BATCHING_FILE = "batching_params.pbtxt"
"""Where a server looks for it in a version folder, with `--enable_per_model_batching_parameters`."""

# How long a request waits for others.
_TIMEOUT_MICROS = 1000
# Requests beyond are refused at once, rather than late.
_MAX_ENQUEUED = 100


def batching_parameters(max_batch_size: int = 64) -> str:
    """Parameters for batches of at most so many inputs, a power of two.

    Batches are filled up to one of few sizes, so that a model sees few.
    """
    sizes = [2**power for power in range(max_batch_size.bit_length())]
    lines = [
        f"max_batch_size {{ value: {max_batch_size} }}",
        f"batch_timeout_micros {{ value: {_TIMEOUT_MICROS} }}",
        f"max_enqueued_batches {{ value: {_MAX_ENQUEUED} }}",
        *(f"allowed_batch_sizes: {size}" for size in sizes),
    ]
    return "\n".join(lines) + "\n"

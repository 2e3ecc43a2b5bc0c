"""How runtimes say that there is no memory: by text, since no exception stands for all of it."""

from __future__ import annotations

# ONNX Runtime's allocators and CUDA; C++; PyTorch's CPU allocator; cuDNN and cuBLAS.
SIGNS = (
    "failed to allocate memory",
    "out of memory",
    "bad_alloc",
    "bad allocation",
    "can't allocate memory",
    "alloc_failed",
)
LONGEST = 200  # characters; PyTorch's go on with advice


def lack_of_memory(error: BaseException) -> str | None:
    """One line that says what memory was lacking; None for any other error.

    What an error came of counts too: a capture that ends in "out of memory" raises on its way out.
    """
    cause: BaseException | None = error
    while cause is not None:
        lines = str(cause).splitlines()
        for line in lines:
            if any(sign in line.lower() for sign in SIGNS):
                return line[:LONGEST]
        if isinstance(cause, MemoryError):
            return lines[0][:LONGEST] if lines else "no memory"
        cause = cause.__cause__ or cause.__context__
    return None

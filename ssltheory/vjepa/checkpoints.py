"""Checkpoints that are whole or not there, and that say what they are.

A file is one line with a mark and the SHA-256 of the rest, then what ``torch.save`` wrote: tensors, numbers and strings
only, read back with ``weights_only``. It is written beside its place and moved there when it is on the disk, so that a
process killed at any moment leaves the old file or the new one.
"""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ssltheory.records import write_whole

__all__ = ["CheckpointError", "read_checkpoint", "write_checkpoint"]

_MARK = "ssltheory-vjepa-checkpoint-1"


class CheckpointError(ValueError):
    """A checkpoint cannot be read or written; the words say why."""


def write_checkpoint(path: str | Path, state: Mapping[str, Any]) -> Path:
    """Write the state, all at once. Raises :class:`CheckpointError` if the disk fails, and the old file stays."""
    path = Path(path)
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    payload = buffer.getbuffer()
    head = f"{_MARK} {hashlib.sha256(payload).hexdigest()}\n".encode()
    try:
        return write_whole(path, (head, payload))
    except OSError as problem:
        reason = problem.strerror or problem
        raise CheckpointError(f"{path} could not be written ({reason}); the last one is kept") from None


def read_checkpoint(path: str | Path, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Read a state back. Raises :class:`CheckpointError` for a missing, foreign or damaged file. No pickle is run."""
    path = Path(path)
    try:
        raw = path.read_bytes()
    except OSError as problem:
        raise CheckpointError(f"{path} cannot be read: {problem.strerror or problem}") from None
    head, _, payload = raw.partition(b"\n")
    mark, _, digest = head[:200].decode("ascii", "replace").partition(" ")
    if mark != _MARK:
        raise CheckpointError(f"{path} is not a checkpoint of this program: it does not begin with {_MARK}")
    if hashlib.sha256(payload).hexdigest() != digest:
        raise CheckpointError(f"{path} is damaged: {len(payload)} bytes that are not those that were written")
    try:
        return torch.load(io.BytesIO(payload), map_location=device, weights_only=True)
    except Exception as problem:  # whatever torch raises for a payload that it does not know
        raise CheckpointError(f"{path} holds more than tensors, numbers and words: {problem}") from None

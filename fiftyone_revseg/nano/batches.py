"""Examples stacked into the tensors that the model takes."""

from __future__ import annotations

import numpy as np
import torch

from fiftyone_revseg.nano import vlm as nano_vlm
from fiftyone_revseg.nano.dialogues import IGNORED, Example


def collate(examples: list[Example]) -> dict[str, torch.Tensor]:
    """Stacks examples, padded to the longest.

    Returns:
        a dict with ``tokens``, ``labels``, ``branch`` ``(B, S)``, ``positions`` ``(3, B, S)``,
        ``patches`` and ``grids`` as Qwen's processors make them, and the dense targets
    """
    longest = max(len(e.tokens) for e in examples)

    def padded(arrays: list[np.ndarray], value: int) -> torch.Tensor:
        return torch.from_numpy(
            np.stack([np.pad(a, (0, longest - len(a)), constant_values=value) for a in arrays])
        )

    images = [image for e in examples for image in e.images]
    dense = [targets for e in examples for targets in e.dense]
    grids = [
        [1, image.shape[1] // nano_vlm.PATCH, image.shape[2] // nano_vlm.PATCH] for image in images
    ]
    batch = {
        "tokens": padded([e.tokens for e in examples], 0),
        "labels": padded([e.labels for e in examples], IGNORED),
        "branch": padded([e.branch for e in examples], -1),
        "positions": torch.stack(
            [padded([e.positions[axis] for e in examples], 0) for axis in range(3)]
        ),
        "grids": torch.tensor(grids),
    }
    if images:
        batch["patches"] = torch.from_numpy(np.concatenate([patches(i) for i in images]))
        for name in ("presence", "color", "shape", "box", "reach"):
            batch[name] = torch.from_numpy(np.concatenate([getattr(d, name) for d in dense]))
    return batch


def patches(image: np.ndarray) -> np.ndarray:
    """Cuts a normalized image into Qwen's patches: merge groups first, the frame doubled in time.

    Args:
        image: ``(3, height, width)``

    Returns:
        ``(patches, 3 * 2 * patch * patch)`` float32, as the Qwen image processors do (tested)
    """
    p, m = nano_vlm.PATCH, nano_vlm.MERGE
    c, height, width = image.shape
    cells = image.reshape(c, height // (p * m), m, p, width // (p * m), m, p)
    cells = cells.transpose(1, 4, 2, 5, 0, 3, 6)  # rows, columns, m, m, channels, p, p
    twice = np.repeat(cells[:, :, :, :, :, None], 2, axis=5)
    return np.ascontiguousarray(twice.reshape(-1, c * 2 * p * p))


def tree_mask(branch: torch.Tensor) -> torch.Tensor:
    """Who may look at whom in a batch of trees.

    Args:
        branch: ``(B, S)``: 0 in the prefix, 1, 2, ... in the branches, -1 in the padding

    Returns:
        ``(B, 1, S, S)`` float32: 0 where the row's token may attend to the column's, else -1e9
    """
    size = branch.shape[1]
    earlier = torch.ones(size, size, dtype=torch.bool, device=branch.device).tril()
    row, column = branch[:, :, None], branch[:, None, :]
    seen = earlier & ((column == 0) | (column == row))
    return torch.where(seen, 0.0, -1e9)[:, None]

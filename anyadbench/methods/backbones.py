"""Backbones loaded with resolved weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from anyadbench.errors import UserError
from anyadbench.weights.resolved import ResolvedWeights

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor, nn

    from anyadbench.methods.contract import Context

Family = Literal["any", "convolutional", "transformer"]
"""Kinds of networks that a method may insist on."""

_GETTER = "model."
"""Prefix that timm's feature wrapper for transformers adds to every name."""


def backbone(
    context: Context,
    *,
    family: Family = "any",
    image_size: int | None = None,
    stages: Sequence[int] | None = None,
    trainable: bool = False,
    position_offset: float = 0.0,
    position_antialias: bool = False,
) -> nn.Module:
    """Build the pretrained network that a context's weights belong to, without a classification head.

    Random weights are drawn from torch's global generator, which the harness seeds before it builds a method. With the
    authors' whole published network (``--weights file:PATH``) the backbone stays as drawn until ``load_published``
    fills it.

    Args:
        context: What the method's factory gets.
        family: The kind of network that the method can use; others are refused with a sentence.
        image_size: Side in pixels of the method's input. A transformer's has to be a multiple of its patch, and the
            position table of a plain one is resized to it once; ``None`` resizes it at every forward pass.
        stages: Return feature maps BxCxHxW of these stages (or, in a transformer, blocks) instead of the whole
            network's output. For the levels at strides 4, 8, 16 and 32, ``Pyramid`` is shorter.
        trainable: ``False`` freezes the network (see ``freeze``): it stays in eval mode, takes no gradients, and no
            cell stores it. ``True`` leaves it to be trained, and stores it.
        position_offset: How a position table is resized, as in ``anyadbench.weights.positions.resize_positions``.
        position_antialias: Likewise.

    Returns:
        timm's model on the CPU, parameters as float32.

    Raises:
        UserError: If there are no pretrained weights, they are of another family, cannot be read or do not fit, or the
            image size is not a multiple of the patch.
    """
    weights = context.weights
    if weights.kind == "none":
        raise UserError(
            "This method starts from a pretrained network, and the chosen weights have none for it; give --weights "
            "published or file:PATH, or --weights random for a row that is marked."
        )
    _check_family(weights.architecture, family)
    if image_size is not None:
        _check_size(weights.architecture, image_size)
    network = build_backbone(
        weights,
        img_size=image_size,
        features_only=stages is not None,
        out_indices=stages,
        position_offset=position_offset,
        position_antialias=position_antialias,
    )
    if trainable:
        return network
    from anyadbench.methods.freezing import freeze

    return freeze(network)


def _check_family(architecture: str, family: Family) -> None:
    if family == "transformer" and not _is_transformer(architecture):
        raise UserError(
            f"The weights {architecture} are not for a transformer, which this method needs; give --weights "
            "published or package."
        )
    if family == "convolutional" and _is_transformer(architecture):
        raise UserError(
            f"The weights {architecture} are for a transformer, and this method needs a convolutional network; "
            "give --weights published or package."
        )


def _check_size(architecture: str, image_size: int) -> None:
    patch = _patch(architecture)
    if patch and image_size % patch:
        raise UserError(
            f"Parameter image_size is {image_size}, not a multiple of the encoder's patch of {patch} pixels; "
            f"use {max(image_size // patch, 1) * patch}."
        )


def patch_size(network: nn.Module) -> int:
    """Return the side of a transformer's patches in pixels, 0 for a network that has none."""
    embed = getattr(network, "patch_embed", None)
    return int(embed.patch_size[0]) if embed is not None else 0


def patch_tokens(transformer: nn.Module, pixels: Float[Tensor, "N 3 h w"]) -> Float[Tensor, "N P D"]:
    """Return a plain transformer's normalised patch tokens, without class and register tokens."""
    tokens: Tensor = transformer.forward_features(pixels)  # type: ignore[operator]
    prefix = int(transformer.num_prefix_tokens)  # type: ignore[arg-type]
    return tokens[:, prefix:]


def build_backbone(
    resolved: ResolvedWeights,
    *,
    img_size: int | None = None,
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
    dynamic_img_size: bool = True,
    position_offset: float = 0.0,
    position_antialias: bool = False,
) -> nn.Module:
    """Build the timm model of resolved weights, without a classification head, and load it strictly.

    Random weights are timm's own initialisation, drawn from torch's global generator as the caller has seeded it.

    Args:
        resolved: Any weights except ``none``.
        img_size: For plain ViTs: build for this many pixels (a multiple of the patch size) and resize the position
            table once. ``None`` keeps the native table, 37x37 for DINOv2. Convolutional networks and Segment Anything's
            encoder take any size as they are.
        features_only: Return timm's feature extractor, whose output is a list of maps BxCxHxW.
        out_indices: For ``features_only``: which stages (or, in a ViT, blocks).
        dynamic_img_size: For plain ViTs: accept any multiple of the patch size; timm then resizes the table at every
            forward (bicubic, antialiased) where the input differs from what the model was built for.
        position_offset: With ``img_size``, as in ``resize_positions``.
        position_antialias: Likewise.

    Returns:
        The model in training mode on the CPU, parameters as float32 and requiring gradients.

    Raises:
        UserError: If the weights cannot be read or do not fit.
        ValueError: If there is no architecture (``none``) or ``out_indices`` comes without ``features_only``.
    """
    import timm

    if resolved.kind == "none":
        raise ValueError("The weights 'none' name no architecture; build the network directly.")
    if out_indices is not None and not features_only:
        raise ValueError("out_indices chooses among features; pass features_only=True with it.")
    options: dict[str, Any] = {}
    if _is_plain_vit(resolved.architecture):
        options["dynamic_img_size"] = dynamic_img_size
        if img_size is not None:
            options["img_size"] = img_size
    if features_only:
        options["features_only"] = True
        if out_indices is not None:
            options["out_indices"] = tuple(out_indices)
    else:
        options["num_classes"] = 0
    model: nn.Module = timm.create_model(resolved.architecture, pretrained=False, **options)
    fill_backbone(model, resolved, position_offset=position_offset, position_antialias=position_antialias)
    return model


def fill_backbone(
    model: nn.Module, resolved: ResolvedWeights, *, position_offset: float = 0.0, position_antialias: bool = False
) -> None:
    """Load resolved weights strictly into an existing timm model of their architecture.

    The model may be a feature extractor, which has part of the tensors, or have a position table of another size; it
    has no classification head. Random weights leave it as it is, and so does the authors' whole network (kind
    ``checkpoint``), which ``load_published`` takes apart.

    Raises:
        UserError: If the weights cannot be read.
        KeyError: If the model has a tensor that the weights lack.
    """
    if resolved.kind not in ("random", "checkpoint"):
        _load(model, resolved.state_dict(), position_offset, position_antialias)


def feature_pyramid(resolved: ResolvedWeights, out_indices: Sequence[int] = (1, 2, 3)) -> nn.Module:
    """Build a convolutional backbone that returns a pyramid, one map BxCxHxW per stage.

    The default stages 1, 2 and 3 have strides 4, 8 and 16: in a ResNet, ``layer1`` to ``layer3``.
    ``feature_info.channels()`` and ``feature_info.reduction()`` of the model return widths and strides.

    Raises:
        UserError: If the weights cannot be read or do not fit.
        ValueError: If the architecture is a transformer, all of whose blocks have the same stride.
    """
    if resolved.kind != "none" and _is_transformer(resolved.architecture):
        raise ValueError(f"{resolved.architecture} has no pyramid; use build_backbone(..., features_only=True).")
    return build_backbone(resolved, features_only=True, out_indices=out_indices)


def _load(model: nn.Module, state: Mapping[str, Tensor], offset: float, antialias: bool) -> None:
    wanted = model.state_dict()
    # The state was checked against the whole architecture; a feature extractor keeps part of it.
    chosen = {key: state[key.removeprefix(_GETTER)] for key in wanted}
    for key, tensor in chosen.items():
        if key.endswith("pos_embed") and tensor.shape != wanted[key].shape:
            chosen[key] = _resized_table(state, int(wanted[key].shape[1]), offset, antialias)
    model.load_state_dict(chosen, strict=True)


def _resized_table(state: Mapping[str, Tensor], tokens: int, offset: float, antialias: bool) -> Tensor:
    import math

    import torch

    from anyadbench.weights.positions import resize_positions, split_positions

    row, grid = split_positions(state)
    side = math.isqrt(tokens - (0 if row is None else 1))
    resized = resize_positions(grid, side, side, offset=offset, antialias=antialias).reshape(1, side * side, -1)
    return resized if row is None else torch.cat([row, resized], dim=1)


def _is_transformer(architecture: str) -> bool:
    return "patch_embed.proj.weight" in _shapes(architecture)


def _patch(architecture: str) -> int:
    return _shapes(architecture).get("patch_embed.proj.weight", (0,))[-1]


def _is_plain_vit(architecture: str) -> bool:
    # Segment Anything's encoder keeps its table as a grid (four dimensions) and resizes it by itself.
    return _is_transformer(architecture) and len(_shapes(architecture).get("pos_embed", ())) == 3


def _shapes(architecture: str) -> dict[str, tuple[int, ...]]:
    from anyadbench.weights.naming import architecture_shapes

    return architecture_shapes(architecture)

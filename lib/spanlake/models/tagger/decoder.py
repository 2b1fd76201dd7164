"""A decoder language model as the backbone of a tagger: its causal mask, and its adapter.

`attention` says what a word sees:

    full    all layers see both sides (LS-LLaMA, arXiv 2310.01208)
    upper   the upper half of the layers sees both sides (arXiv 2401.14556)
    causal  no layer sees what follows
    twice   as causal, but the text is read twice and tagged the second time (arXiv 2604.05158)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from spanlake.errors import ModelError
from spanlake.models.loading import find_folder, missing_packages

Attention = Literal["full", "upper", "causal", "twice"]


def is_decoder(folder: Path) -> bool:
    """Tell from a checkpoint's config.json whether it is a causal language model."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False  # loading it will say what is wrong
    return any("CausalLM" in name for name in config.get("architectures") or ())


def see_both_sides(backbone: Any, attention: Attention) -> None:
    """Lift the causal mask of a backbone from all of its layers, or from the upper half."""
    if attention == "full":
        backbone.config.is_causal = False
        for module in backbone.modules():
            if hasattr(module, "is_causal"):
                module.is_causal = False
    elif attention == "upper":
        kept: dict[str, Any] = {}

        def keep_mask(_: Any, args: Any, kwargs: dict[str, Any]) -> None:
            kept["mask"] = kwargs["attention_mask"]  # [batch, tokens], 1 where real

        def lift_mask(_: Any, args: Any, kwargs: dict[str, Any]) -> Any:
            states = args[0] if args else kwargs["hidden_states"]
            padding = kept["mask"][:, None, None, :] == 0
            mask = torch.zeros(padding.shape, dtype=states.dtype, device=states.device)
            mask = mask.masked_fill(padding, torch.finfo(states.dtype).min)
            mask = mask.expand(-1, -1, states.shape[1], -1)  # [batch, 1, tokens, tokens]
            return args, {**kwargs, "attention_mask": mask}

        backbone.register_forward_pre_hook(keep_mask, with_kwargs=True)
        for layer in backbone.layers[len(backbone.layers) // 2 :]:
            layer.register_forward_pre_hook(lift_mask, with_kwargs=True)


def add_adapter(backbone: Any, options: Mapping[str, Any]) -> None:
    """Freeze a backbone and put LoRA layers (arXiv 2106.09685) beside all of its linear layers.

    `options` are rank, alpha and dropout.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise missing_packages("llama", "peft") from None
    for parameter in backbone.parameters():
        parameter.requires_grad = False
    linear = sorted(
        {
            name.rpartition(".")[2]
            for name, module in backbone.named_modules()
            if isinstance(module, torch.nn.Linear)
        }
    )
    config = LoraConfig(
        r=options["rank"],
        lora_alpha=options["alpha"],
        lora_dropout=options["dropout"],
        target_modules=linear,
    )
    inject_adapter_in_model(config, backbone)


def load_decoder(details: Mapping[str, Any], device: str, precision: str) -> Any:
    """Return the backbone that a manifest's `decoder` describes, its adapter still untrained.

    Raises ModelError where the base is missing, or is not the one that was trained over.
    """
    from spanlake.models.llama.loading import base_digests, load_base

    base = find_folder(details["base"]["name"])
    if base_digests(base) != details["base"]["files"]:
        raise ModelError(f"{base}: not the base that was trained over (sha256 differs)")
    backbone = load_base(base, details["quantization"], device, precision).get_decoder()
    see_both_sides(backbone, details["attention"])
    if details["lora"]:
        add_adapter(backbone, details["lora"])
    return backbone


def trained_state(module: Any) -> dict[str, Any]:
    """Return the weights that were trained: all, or over a frozen base the adapter and heads."""
    frozen = {name for name, p in module.named_parameters() if not p.requires_grad}
    if not frozen:
        return dict(module.state_dict())
    trained = {name for name, p in module.named_parameters() if p.requires_grad}
    return {name: value for name, value in module.state_dict().items() if name in trained}


def base_of(name: str, folder: Path) -> dict[str, Any]:
    """Return how a manifest names a base: as it was given, and by the digests of its files."""
    from spanlake.models.llama.loading import base_digests

    return {"name": name, "files": base_digests(folder)}

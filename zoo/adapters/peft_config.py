"""The `adapter_config.json` of PEFT folders: what is written, what is understood, and what is refused.

    write_json("c/adapter_config.json", peft_config({"stem": 8}, saved=["output"]))
    check_config(Path("c"), config)             # refuses what would change the picture and is not read here
    scaling(Path("c"), config, "stem", rank=8)  # what B is multiplied with
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.errors import WeightzooError

PLAIN_LAYER = re.compile(r"[\w.]+")
MAX_ALPHA = 1e6

# Of adapter_config.json: what is read here, what the tensors' names and shapes say by themselves, and what matters
# in training only. Anything else that is set is a feature of PEFT that would change the picture.
UNDERSTOOD = frozenset(
    "peft_type r lora_alpha rank_pattern alpha_pattern use_rslora bias modules_to_save init_lora_weights "
    "target_modules exclude_modules layers_to_transform layers_pattern fan_in_fan_out lora_dropout inference_mode "
    "task_type auto_mapping peft_version base_model_name_or_path revision eva_config loftq_config corda_config "
    "lora_ga_config runtime_config megatron_core qalora_group_size ensure_weight_tying".split()
)
# Initialisations that leave the base as it is; the others subtract from W what A and B begin with.
UNCHANGED_BASE = ("true", "false", "none", "gaussian", "eva", "orthogonal", "mica")


def peft_config(lora: Mapping[str, int], saved: list[str]) -> dict[str, Any]:
    """Return the `adapter_config.json` for LoRA layers of given ranks."""
    rank = max(lora.values(), default=1)
    others = {name: own for name, own in lora.items() if own != rank}
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": None,
        "inference_mode": True,
        "target_modules": list(lora),
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": others,
        "alpha_pattern": others,
        "lora_dropout": 0.0,
        "bias": "all",
        "modules_to_save": saved or None,
    }


def check_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Raise WeightzooError for an adapter that is more than plain LoRA on the base as it is."""
    unknown = [key for key, value in config.items() if value and key not in UNDERSTOOD]
    if config.get("peft_type") != "LORA" or unknown:
        kind = ", ".join([str(config.get("peft_type")), *unknown])
        raise WeightzooError(f"{folder} is a PEFT adapter of kind {kind:.200}; weightzoo reads plain LoRA only")
    start = str(config.get("init_lora_weights")).lower()
    if start not in UNCHANGED_BASE:
        raise WeightzooError(
            f"{folder} belongs to a base that PEFT has changed (init_lora_weights is {start:.40}); convert it with "
            "PEFT: model.save_pretrained(FOLDER, path_initial_model_for_weight_conversion=ADAPTER_BEFORE_TRAINING)"
        )


def scaling(folder: Path, config: Mapping[str, Any], layer: str, rank: int) -> float:
    """Return PEFT's scaling of one layer: alpha / rank, or alpha / sqrt(rank) where it is rank-stabilised.

    Raises:
        WeightzooError: the config's alpha is no number, or its alphas are named by a pattern.
    """
    alphas = config.get("alpha_pattern") or {}
    alpha = config.get("lora_alpha", rank) if isinstance(alphas, dict) else None
    for name, own in reversed(alphas.items() if isinstance(alphas, dict) else ()):  # as PEFT, the first that fits
        if not PLAIN_LAYER.fullmatch(name):  # a stranger's regular expression is not run
            raise WeightzooError(f"{folder}: adapter_config.json has the pattern {name!r:.80}; name its layers instead")
        if f".{layer}".endswith(f".{name}"):
            alpha = own
    if not isinstance(alpha, (int, float)) or not abs(alpha) <= MAX_ALPHA:
        raise WeightzooError(f"{folder}: adapter_config.json has no alpha for {layer}; fetch the adapter again")
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)

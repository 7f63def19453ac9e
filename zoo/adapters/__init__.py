"""LoRA adapters, and the files that PEFT reads."""

"""SharpV inside Hugging Face transformers: both stages, on unmodified models."""

"""SharpV: faster and smaller video LLMs, without training."""

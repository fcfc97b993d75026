"""SharpV inside engines that serve models."""

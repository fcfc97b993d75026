"""SharpV inside engines that serve models, and tools that ask them."""

"""Stage 1 of SharpV as a plug-in of vLLM, which calls `plugin.register` in each of its processes."""

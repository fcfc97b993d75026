"""Lets a torchvision built for CUDA be imported beside a torch built for the CPU. Test environments only.

`make test-vllm` puts this file and a `.pth` file that imports it into the environment, so that the processes
that vLLM starts have it too. It defines the two operators whose registration fails, when torchvision is first
imported, and costs nothing where it is not.
"""

import sys
from importlib.abc import MetaPathFinder

OPERATORS = ("nms", "qnms")
LIBRARIES = []  # A library that is not referenced takes its operators with it.


class Finder(MetaPathFinder):
    """Finds nothing: it is told of the import, and defines the operators."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            import torch  # noqa: PLC0415

            library = torch.library.Library("torchvision", "DEF")
            for name in OPERATORS:
                library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            LIBRARIES.append(library)


sys.meta_path.insert(0, Finder())

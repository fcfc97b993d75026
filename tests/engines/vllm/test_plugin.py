"""What installing the package changes in vLLM, and the names in it that the plug-in leans on."""

import inspect
import logging
import sys
from importlib import import_module

import pytest

from sharpv import UnsupportedModelError
from sharpv.engines.vllm import plugin


def test_without_vllm_the_way_to_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(UnsupportedModelError, match=r'not installed.*pip install "vllm>=0.32,<0.33"'):
        plugin.require_vllm()


@pytest.fixture
def vllm():
    return pytest.importorskip("vllm", reason="vLLM is not installed: run `make test-vllm`")


@pytest.mark.parametrize("version", ["0.31.2", "0.33.0", "1.0.0"])
def test_an_untested_vllm_gets_a_warning_and_no_architectures(monkeypatch, caplog, vllm, version):
    monkeypatch.setattr(vllm, "__version__", version)
    monkeypatch.setattr(vllm.ModelRegistry, "register_model", lambda *_: pytest.fail("registered"))
    with caplog.at_level(logging.WARNING):
        plugin.register()
    assert f"got vLLM {version}; sharpv supports vLLM >= 0.32, < 0.33" in caplog.text


def test_vllm_calls_the_plugin_and_keeps_its_own_architectures(vllm):
    from vllm.plugins import load_general_plugins  # noqa: PLC0415

    load_general_plugins()
    known = vllm.ModelRegistry.get_supported_archs()
    for architecture in plugin.ARCHITECTURES:
        assert {architecture, f"SharpV{architecture}"} <= set(known)
        stock = vllm.ModelRegistry.models[architecture]
        assert "sharpv" not in stock.module_name


def test_registering_again_changes_nothing(vllm):
    from vllm.v1.worker.cpu_model_runner import CPUModelRunner  # noqa: PLC0415

    plugin.register()
    load_model = CPUModelRunner.load_model
    plugin.register()
    assert CPUModelRunner.load_model is load_model


def test_what_media_are_fetched_with_is_loaded_where_it_is_asked_for_only(monkeypatch, vllm):
    module = "sharpv.engines.vllm.media"
    # As where a name that it leans on has gone.
    monkeypatch.setitem(sys.modules, module, None)
    for connector in (None, "http"):
        if connector is not None:
            monkeypatch.setenv("VLLM_MEDIA_CONNECTOR", connector)
        plugin.register()
    for connector in ("sharpv-any", "sharpv-public"):
        monkeypatch.setenv("VLLM_MEDIA_CONNECTOR", connector)
        with pytest.raises(ModuleNotFoundError, match=module):
            plugin.register()


@pytest.fixture(params=plugin.ARCHITECTURES.items(), ids=lambda item: item[1])
def classes(request, vllm):
    """Our model and processor of a family, and vLLM's of which they are made."""
    architecture, module = request.param
    ours = import_module(f"sharpv.engines.vllm.{module}")
    model = getattr(ours, f"SharpV{architecture}")
    stock = getattr(import_module(f"vllm.model_executor.models.{module}"), architecture)
    assert issubclass(model, stock)
    return model, stock, ours.Processor


def own_methods(cls):
    """Methods that a class of ours gives a name of vLLM's."""
    ours = [base for base in cls.__mro__ if base.__module__.startswith("sharpv.")]
    return {name for base in ours for name, value in vars(base).items() if inspect.isfunction(value)}


NEW_NAMES = {
    "_videos",
    "_patches",
    "_placeholders",
    "_options",
    "_prune",
    "_mask",
    "_dense_ids",
    "_dense_positions",
}
MROPE_NAMES = {"_postprocess_image_embeds_evs", "_postprocess_video_embeds_evs", "recompute_mrope_positions"}


def test_what_we_replace_is_there_to_be_replaced(classes):
    model, stock, processor = classes
    bases = [base for base in processor.__mro__ if base.__module__.startswith("vllm.")]
    for name in own_methods(processor) - NEW_NAMES:
        assert any(name in vars(base) for base in bases), name
    # Qwen2-VL does not prune in vLLM, so there is nothing to replace.
    fresh = NEW_NAMES | (MROPE_NAMES if stock.__name__ == "Qwen2VLForConditionalGeneration" else set())
    for name in own_methods(model) - fresh:
        assert hasattr(stock, name), name


def parameters(function):
    return list(inspect.signature(function).parameters)


def test_what_we_replace_takes_what_it_took(vllm):
    from vllm.model_executor.models.interfaces import SupportsMRoPE, SupportsMultiModalPruning  # noqa: PLC0415
    from vllm.multimodal.processing import BaseMultiModalProcessor  # noqa: PLC0415

    from sharpv.engines.vllm.mrope import SharpVMRope  # noqa: PLC0415
    from sharpv.engines.vllm.processor import SharpVProcessor  # noqa: PLC0415

    for name in ("_apply_hf_processor_main", "_get_prompt_updates", "_get_mm_hashes"):
        assert parameters(getattr(SharpVProcessor, name)) == parameters(
            getattr(BaseMultiModalProcessor, name)
        )
    for interface, name in (
        (SupportsMRoPE, "get_mrope_input_positions"),
        (SupportsMultiModalPruning, "recompute_mrope_positions"),
    ):
        assert parameters(getattr(SharpVMRope, name)) == parameters(getattr(interface, name))


def test_qwen3_vl_still_puts_positions_behind_its_videos_where_we_do(vllm):
    from vllm.model_executor.models.qwen3_vl import Qwen3VLForConditionalGeneration as Stock  # noqa: PLC0415

    assert {"device", "video_grid_thw", "timestamps", "retention_mask"} <= set(
        parameters(Stock._get_expanded_positions)
    )
    assert "_get_expanded_positions(" in inspect.getsource(Stock._create_final_video_embeddings)


def test_the_runner_still_asks_for_positions_where_we_say_so(vllm):
    from vllm.v1.worker.cpu_model_runner import CPUModelRunner  # noqa: PLC0415
    from vllm.v1.worker.gpu_model_runner import GPUModelRunner  # noqa: PLC0415

    asks = "self.is_multimodal_pruning_enabled and self.uses_mrope"
    assert asks in inspect.getsource(GPUModelRunner._gather_mm_embeddings)
    assert "is_multimodal_pruning_enabled = (" in inspect.getsource(GPUModelRunner.load_model)
    # Once the runner for CPUs finds out for itself, our patch of it can go.
    source = inspect.getsource(import_module(CPUModelRunner.__module__))
    assert "is_multimodal_pruning_enabled" not in source

"""What the vision tower is to encode: the plan against the float64 loops, and on clips made for each rule."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import settings as example_settings
from hypothesis import strategies as st

from sharpv.config import SharpVConfig, VisionReuse
from sharpv.core import ReusePlan, plan_reuse
from sharpv.core.reference_reuse import plan_source
from sharpv.errors import InputError
from sharpv.video import Sampling, read_video

SEED = st.integers(0, 2**31)
SETTINGS = st.builds(
    VisionReuse,
    threshold=st.sampled_from([0, 4, 6.5, 12, 40]),
    texture=st.sampled_from([0, 20, 60, 255]),
    dilate=st.sampled_from([0, 0, 1, 2]),
    full_frame=st.sampled_from([0, 0.3, 0.6, 1]),
    max_age=st.sampled_from([None, 1, 2, 5]),
    window=st.sampled_from([1, 2, 64]),
)
# Frames, source frames, unit, and pixels that fill no patch.
SHAPE = st.tuples(
    st.integers(1, 7),
    st.sampled_from([None, 1, 2]),
    st.sampled_from([2, 4, 6]),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(0, 1),
)
EAGER = VisionReuse(threshold=0, texture=255, full_frame=1)
"""Encodes exactly what differs, of clips whose patches have one colour each."""


def clip_of(shape, seed):
    """A clip of two scenes that take turns, with noise, and with patches and single quarters that change."""
    n, sources, unit, rows, cols, rest = shape
    generator = torch.Generator().manual_seed(seed)

    def chance(*size):
        return torch.rand(size, generator=generator)

    height, width = rows * unit + rest, cols * unit + rest
    scenes = chance(2, sources or 1, 3, height, width) * 255
    levels = scenes[(chance(n) < 0.3).long()]
    for side, likely in ((unit, 0.2), (unit // 2, 0.1)):
        moved = chance(n, sources or 1, 1, -(-height // side), -(-width // side)) < likely
        moved = moved.repeat_interleave(side, -1).repeat_interleave(side, -2)[..., :height, :width]
        levels = torch.where(moved, levels + 40 * chance(n, 1, 3, 1, 1) - 20, levels)
    noise = torch.randn(levels.shape, generator=generator)
    levels = (levels + 8 * chance(n, 1, 1, 1, 1) * noise).clamp(0, 255)
    return levels if sources else levels[:, 0]


def flat(*frames):
    """Makes frames of 2x2 pixels to a patch, `[n, 3, 2, 2 f]`, from each frame's levels of its patches."""
    levels = torch.tensor(frames, dtype=torch.float32)[:, None, None].repeat_interleave(2, -1)
    return levels.repeat(1, 3, 2, 1)


def sources(frames, settings, unit=2):
    plan = plan_reuse(frames, unit, settings)
    assert torch.equal(plan.source, plan_source(frames, unit, settings))
    return plan.source.tolist()


@given(SHAPE, SEED, SETTINGS)
@example_settings(max_examples=150, deadline=None)
def test_the_plan_equals_the_reference(shape, seed, settings):
    frames = clip_of(shape, seed)
    plan = plan_reuse(frames, shape[2], settings)
    assert plan.source.dtype == torch.int64
    assert torch.equal(plan.source, plan_source(frames, shape[2], settings))


@given(SHAPE, SEED, SETTINGS, st.sampled_from([2, 3]))
@example_settings(max_examples=60, deadline=None)
def test_so_does_a_plan_of_several_patches_at_once(shape, seed, settings, m):
    patch = shape[2]
    frames = clip_of((*shape[:2], m * patch, *shape[3:]), seed)
    plan = plan_reuse(frames, m * patch, settings, patch)
    assert torch.equal(plan.source, plan_source(frames, m * patch, settings, patch))


@given(SHAPE, SEED, SETTINGS)
@example_settings(max_examples=60, deadline=None)
def test_a_source_is_an_encoded_patch_of_no_later_frame(shape, seed, settings):
    plan = plan_reuse(clip_of(shape, seed), shape[2], settings)
    n, f = plan.source.shape
    assert (plan.source <= torch.arange(n)[:, None]).all()
    assert plan.computed.gather(0, plan.source).all()
    assert plan.computed[0].all()
    assert (plan.rows, plan.total, plan.share) == (int(plan.computed.sum()), n * f, plan.rows / (n * f))
    assert plan.full_frames == sum(all(frame) for frame in plan.computed.tolist())


@given(SHAPE, SEED, SETTINGS, st.permutations(range(3)))
@example_settings(max_examples=40, deadline=None)
def test_the_order_of_the_colours_does_not_matter(shape, seed, settings, order):
    frames = clip_of(shape, seed)
    permuted = frames[..., list(order), :, :]
    assert torch.equal(
        plan_reuse(permuted, shape[2], settings).source, plan_reuse(frames, shape[2], settings).source
    )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float64, torch.float16, torch.bfloat16])
def test_the_dtype_does_not_matter(dtype, device):
    frames = clip_of((6, 2, 4, 2, 3, 1), 7).round()
    # Whole levels that bfloat16 holds.
    frames = frames - frames % 2 * (frames > 127)
    expected = plan_source(frames, 4, VisionReuse())
    assert 0 < (expected == torch.arange(6)[:, None]).sum() < expected.numel()
    assert torch.equal(plan_reuse(frames.to(device, dtype), 4, VisionReuse()).source.cpu(), expected)


def test_levels_are_rounded_to_whole_numbers():
    # As they come back from a normalisation in bfloat16: a little off, below 0 and above 255, too.
    frames = flat([0, 100, 255], [0, 100, 255])
    frames[1] += torch.tensor([-0.7, 0.4, 0.7]).repeat_interleave(2)
    assert sources(frames, EAGER) == [[0, 0, 0], [0, 0, 0]]


def test_the_grid_leaves_out_what_fills_no_patch():
    frames = torch.zeros(2, 3, 384, 380)
    frames[1, :, 378:] = 255
    frames[1, :, :, 378:] = 255
    plan = plan_reuse(frames, 14, VisionReuse())
    assert plan.source.shape == (2, 27 * 27)
    assert plan.rows == 27 * 27


@pytest.mark.parametrize("settings", [VisionReuse(), SharpVConfig(vision_reuse="safe").reuse], ids=str)
def test_identical_frames_cost_nothing(settings):
    still = clip_of((1, None, 14, 3, 4, 0), 3)
    plan = plan_reuse(still.expand(70, -1, -1, -1), 14, replace(settings, max_age=None))
    assert (plan.source == 0).all()
    assert (plan.rows, plan.full_frames, plan.share) == (12, 1, 1 / 70)


@pytest.mark.parametrize("unit", [14, 28])
def test_noise_on_a_still_image_costs_nothing(unit):
    still = 128 + 60 * torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    still = torch.nn.functional.interpolate(still, 168).clamp(0, 255)
    noise = 0.03 * 255 * torch.randn(12, 3, 168, 168, generator=torch.Generator().manual_seed(2))
    assert plan_reuse((still + noise).clamp(0, 255), unit, VisionReuse()).share == 1 / 12


def test_a_cut_costs_a_full_frame():
    scenes = clip_of((1, None, 14, 4, 4, 0), 5), 255 - clip_of((1, None, 14, 4, 4, 0), 6)
    plan = plan_reuse(torch.cat([scenes[i] for i in (0, 0, 1, 1, 0, 1)]), 14, VisionReuse())
    assert plan.full_frames == 2
    assert plan.source[:, 0].tolist() == [0, 0, 2, 2, 0, 2]


def test_the_nearest_version_is_the_reference_and_the_latest_of_equals():
    settings = replace(EAGER, threshold=10)
    # Patches: 40 is nearer to 50 than to 20; 35 is as near to 20 as to 50.
    frames = flat([20, 20, 9], [50, 50, 9], [42, 35, 9])
    assert sources(frames, settings)[2] == [1, 2, 0]
    assert sources(frames, replace(settings, threshold=15))[2] == [1, 1, 0]


def test_a_frame_is_compared_with_pixels_that_were_encoded():
    # A slow fade: each frame is near its predecessor, and encoded when it is far from what was encoded.
    fade = flat(*([4.0 * t, 0] for t in range(8)))
    assert [frame[0] for frame in sources(fade, VisionReuse(full_frame=1))] == [0, 0, 2, 2, 4, 4, 6, 6]


def test_the_worst_quarter_of_a_patch_counts():
    frames = torch.zeros(2, 3, 4, 4)
    frames[1, :, :2, 2:] = 7
    assert plan_reuse(frames, 4, VisionReuse()).rows == 2
    frames[1, 1:] = 0
    assert plan_reuse(frames, 4, VisionReuse()).rows == 1
    assert plan_reuse(frames, 4, VisionReuse(threshold=7 / 3 - 0.1)).rows == 2
    assert plan_reuse(frames, 4, VisionReuse(threshold=7 / 3 + 0.1)).rows == 1


def test_texture_that_slides_has_changed():
    stripes = torch.zeros(2, 3, 14, 14)
    stripes[0, ..., ::2] = stripes[1, ..., 1::2] = 60
    # The cells are 7 pixels wide: 4 lines of one kind and 3 of the other, 60 / 7 levels apart.
    settings = VisionReuse(threshold=9)
    assert plan_reuse(stripes, 14, settings).rows == 2
    assert plan_reuse(stripes, 14, replace(settings, texture=60)).rows == 1
    assert plan_reuse(stripes, 14, replace(settings, texture=59.5)).rows == 2


def test_texture_is_compared_place_by_place():
    frames = torch.zeros(2, 3, 12, 8)
    frames[1, :, 8:12:2, :4] = 60
    settings = VisionReuse(threshold=255)
    assert plan_reuse(frames, 4, settings).computed[1].tolist() == [False] * 4 + [True, False]
    assert plan_reuse(frames, 4, settings, patch=2).computed[1].tolist() == [False] * 4 + [True, False]


def test_the_worst_source_frame_counts():
    frames = torch.zeros(2, 2, 3, 4, 4)
    frames[1, 1] = 6.4
    assert plan_reuse(frames, 4, VisionReuse()).rows == 1
    frames[1, 1] = 7
    assert plan_reuse(frames, 4, VisionReuse()).rows == 2
    frames[1, 1], frames[1, 1, ..., ::2] = 0, 44
    assert plan_reuse(frames, 4, VisionReuse(threshold=30)).rows == 2
    assert plan_reuse(frames, 4, VisionReuse(threshold=30, texture=22)).rows == 1


def test_the_worst_patch_of_a_unit_counts():
    frames = torch.zeros(2, 3, 8, 8)
    frames[1, :, 2:4, 4:6] = 8
    assert plan_reuse(frames, 8, VisionReuse()).rows == 1
    assert plan_reuse(frames, 8, VisionReuse(), patch=4).rows == 2
    frames[1, :, 4:, 4:] = torch.eye(4) * 120
    # The texture of one patch is 30 levels, that of the unit 8.
    assert plan_reuse(frames, 8, VisionReuse(threshold=90)).rows == 1
    assert plan_reuse(frames, 8, VisionReuse(threshold=90), patch=4).rows == 2


def test_dilation_marks_neighbours_and_diagonals():
    frames = torch.zeros(2, 3, 10, 14)
    frames[1, :, 4:6, 6:8] = 99
    grid = [
        plan_reuse(frames, 2, replace(EAGER, dilate=steps)).computed[1].view(5, 7).int() for steps in range(3)
    ]
    assert [int(marked.sum()) for marked in grid] == [1, 9, 25]
    assert grid[1][1:4, 2:5].all()


def test_a_mostly_changed_frame_is_encoded_in_full():
    frames = flat([0, 0, 0, 0, 0], [9, 9, 9, 0, 0], [0, 0, 8, 8, 8])
    assert sources(frames, replace(EAGER, full_frame=0.6)) == [[0] * 5, [1, 1, 1, 0, 0], [0, 0, 2, 2, 2]]
    assert sources(frames, replace(EAGER, full_frame=0.59)) == [[0] * 5, [1] * 5, [2] * 5]


def test_a_reference_is_at_most_so_old():
    frames = flat(*[[5]] * 6)
    assert sources(frames, replace(EAGER, max_age=2)) == [[0], [0], [0], [3], [3], [3]]
    assert sources(frames, replace(EAGER, max_age=1)) == [[0], [0], [2], [2], [4], [4]]
    assert sources(flat([5], [90], [5]), replace(EAGER, max_age=1)) == [[0], [1], [2]]


def test_the_window_counts_encoded_versions_of_each_patch():
    # The right patch is encoded once, and stays in reach however many frames pass.
    frames = flat([10, 7], [50, 7], [90, 7], [10, 7], [50, 7])
    assert sources(frames, replace(EAGER, window=3)) == [[0, 0], [1, 0], [2, 0], [0, 0], [1, 0]]
    assert sources(frames, replace(EAGER, window=2)) == [[0, 0], [1, 0], [2, 0], [3, 0], [4, 0]]
    # A frame that encodes nothing of a patch pushes none of its versions out.
    frames = flat([10], [10], [50], [10], [90], [50])
    assert sources(frames, replace(EAGER, window=2)) == [[0], [0], [2], [0], [4], [2]]


def test_a_plan_says_why_a_video_is_better_encoded_as_a_whole():
    settings = VisionReuse(max_share=0.6)
    assert ReusePlan(torch.tensor([[0, 0], [0, 0]])).reason_for_dense(settings) is None
    assert ReusePlan(torch.tensor([[0] * 5, [1, 0, 0, 0, 0]])).reason_for_dense(settings) is None
    reason = ReusePlan(torch.tensor([[0, 0], [1, 0]])).reason_for_dense(settings)
    assert reason is not None
    assert reason.startswith("3 of 4 patches changed, a share of 0.750: above max_share=0.6 ")


@pytest.mark.parametrize(
    ("frames", "unit", "message"),
    [
        (torch.zeros(2, 3, 8, 8), 3, "a patch has side 3: give it in pixels, an even number"),
        (torch.zeros(2, 3, 8, 8), 0, "a patch has side 0"),
        (torch.zeros(2, 3, 8, 8), 2.0, "a patch has side 2.0"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.int64), 2, "dtype torch.int64: convert them to a float dtype"),
        (torch.zeros(0, 3, 8, 8), 2, r"shape \[0, 3, 8, 8\]: give one video as"),
        (torch.zeros(3, 8, 8), 2, r"shape \[3, 8, 8\]"),
        (torch.zeros(2, 4, 8, 8), 2, r"shape \[2, 4, 8, 8\]"),
        (torch.zeros(2, 0, 3, 8, 8), 2, r"shape \[2, 0, 3, 8, 8\]"),
        (torch.zeros(2, 3, 8, 13), 14, "frames of 13x8 pixels hold no patch of 14"),
    ],
)
def test_frames_that_cannot_be_compared_are_refused(frames, unit, message):
    with pytest.raises(InputError, match=message):
        plan_reuse(frames, unit, VisionReuse())


@pytest.mark.parametrize("unit", [6, 2, 4.0])
def test_a_unit_is_of_whole_patches(unit):
    with pytest.raises(
        InputError, match=f"unit is {unit}: give its side in pixels, a multiple of the patch's 4"
    ):
        plan_reuse(torch.zeros(2, 3, 8, 8), unit, VisionReuse(), patch=4)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), -1.0, 256.0])
def test_values_that_are_no_levels_are_refused(value, device):
    frames = torch.full((3, 3, 4, 4), 100.0, device=device)
    frames[1, 2, 3, 3] = value
    with pytest.raises(InputError, match=r"frame 1 holds values from .*: give levels in 0\.\.255"):
        plan_reuse(frames, 2, VisionReuse())


def uniform_clip(path):
    """32 frames as SigLIP sees them: 384 pixels square, as LLaVA-OneVision's processor resizes."""
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    frames = torch.from_numpy(read_video(path, Sampling(frames=32)).frames).permute(0, 3, 1, 2)
    bicubic = functional.InterpolationMode.BICUBIC
    return functional.resize(frames, [384, 384], interpolation=bicubic, antialias=True)


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("asl-walk.mkv", 0.15),
        ("bottle-detection.mp4", 0.19),
        ("nasa_13013.mp4", 0.21),
        ("car-detection.mp4", 0.24),
        ("flower.mp4", 0.25),
    ],
)
def test_real_clips_need_the_shares_that_were_measured(name, share, videos):
    frames = uniform_clip(videos / name)
    for texture in (255, 20):
        settings = VisionReuse(threshold=8, texture=texture)
        assert plan_reuse(frames, 14, settings).share == pytest.approx(share, abs=0.02)

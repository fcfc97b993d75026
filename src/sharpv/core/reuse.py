"""Which patches of a video the vision tower encodes, and which take the features of an earlier version."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import floor

import torch
import torch.nn.functional as F
from torch import Tensor

from sharpv.config import VisionReuse
from sharpv.core.eager import eager
from sharpv.errors import InputError

__all__ = ["ReusePlan", "plan_reuse"]


@dataclass(frozen=True, slots=True, eq=False)
class ReusePlan:
    """Where the features of each patch of one video come from.

    Attributes:
        source: int64 `[n frames, f patches]`, raster order: the frame whose encoded patch, at the same place,
            serves this one. Its own number where it is encoded itself; never a later one.
    """

    source: Tensor

    @property
    def computed(self) -> Tensor:
        """Where patches are encoded: bool `[n, f]`."""
        return self.source == torch.arange(len(self.source), device=self.source.device).unsqueeze(-1)

    @property
    def rows(self) -> int:
        """Number of patches that are encoded."""
        return int(self.computed.sum())

    @property
    def total(self) -> int:
        """Number of patches, n f."""
        return self.source.numel()

    @property
    def share(self) -> float:
        """Share of the patches that are encoded."""
        return self.rows / self.total

    @property
    def full_frames(self) -> int:
        """Number of frames that are encoded in full."""
        return int(self.computed.all(-1).sum())

    def reason_for_dense(self, settings: VisionReuse) -> str | None:
        """Says why the video is better encoded as if there were no reuse; None where it is not."""
        if self.share <= settings.max_share:
            return None
        return (
            f"{self.rows} of {self.total} patches changed, a share of {self.share:.3f}: "
            f"above max_share={settings.max_share:g} reuse costs more than it saves"
        )


@eager
@torch.no_grad()
def plan_reuse(frames: Tensor, unit: int, settings: VisionReuse, patch: int | None = None) -> ReusePlan:
    """Compares each patch of a video with its earlier encoded versions, and plans what to encode.

    Levels are rounded to whole numbers first, and a patch is cut into 2x2 cells. Where several patches are
    encoded as one, the worst of them counts in 1 and 3, and so does the worst source frame. Frame by frame:

    1. Two versions of a patch are as far apart as the worst of their cells: the absolute difference of the
       cells' mean levels, mean over RGB. Noise averages out in it.
    2. A patch's reference is the nearest of its last `window` encoded versions that are at most `max_age`
       frames old; the latest of equals.
    3. A patch has changed if it has no reference, is farther from it than `threshold`, or if the mean of the
       absolute differences of its pixels exceeds `texture`. So has every patch within `dilate` of it.
    4. If more than the share `full_frame` of a frame has changed, all of it has. What has changed is encoded;
       the other patches take the features of their reference.

    All comparisons are exact and with pixels that were encoded, so that no error adds up over frames. Time
    grows with n f and the number of versions; beyond the frames themselves, memory holds their levels as
    bytes and `min(n, window)` versions of the cells.

    Args:
        frames: levels in 0..255 of any float dtype or uint8, `[n, 3, H, W]`, or `[n, s, 3, H, W]` where a
            frame of the LLM holds s source frames (2 for Qwen-VL).
        unit: side in pixels of what is encoded as one: 14 for SigLIP, 28 for Qwen2.5-VL. Pixels to the right
            and at the bottom that fill none are left out, as the tower does.
        settings: the rule; `max_share` and `audit` are the caller's.
        patch: side in pixels of a patch, even: 14 for Qwen2.5-VL, whose unit holds 2x2. None: unit.

    Returns:
        The plan, with f = `(H // unit) (W // unit)` units, on the device of the frames.

    Raises:
        InputError: a shape, dtype, unit or patch other than these, NaN, or values out of 0..255, as pixels
            that are still normalised.

    Source: SharpV's own. References per patch are what video codecs call long-term references.
    """
    side = unit if patch is None else patch
    video = _checked(frames, unit, side)
    grid = (video.shape[-2] // unit, video.shape[-1] // unit)
    cells, pixels = _measured(video, grid, unit // side, side)
    n, f = cells.shape[:2]
    history = _History(cells, min(settings.window, n))
    source = torch.arange(n, device=frames.device).unsqueeze(-1).repeat(1, f)
    for t in range(1, n):
        history.add(t - 1, source[t - 1] == t - 1)
        distance, reference = history.nearest(t, settings.max_age)
        changed = distance > floor(settings.threshold * 3 * (side // 2) ** 2)
        changed |= _texture(pixels, t, reference) > floor(settings.texture * 3 * side**2)
        changed = _spread(changed.view(grid), settings.dilate).flatten()
        changed |= changed.sum() > floor(settings.full_frame * f)
        source[t] = torch.where(changed, t, reference)
    return ReusePlan(source)


class _History:
    """The cells of the last encoded versions of each patch: a ring of `window` places for each."""

    def __init__(self, cells: Tensor, window: int) -> None:
        f = cells.shape[1]
        self.cells = cells
        self.window = window
        self.versions = cells.new_zeros(window, *cells.shape[1:])
        self.frames = torch.full((window, f), -1, device=cells.device)
        self.count = torch.zeros(f, dtype=torch.long, device=cells.device)

    def add(self, t: int, computed: Tensor) -> None:
        """Takes in the patches that frame t encodes, bool `[f]`."""
        (places,) = computed.nonzero(as_tuple=True)
        slots = self.count[places] % self.window
        self.versions[slots, places] = self.cells[t, places]
        self.frames[slots, places] = t
        self.count[places] += 1

    def nearest(self, t: int, max_age: int | None) -> tuple[Tensor, Tensor]:
        """Returns each patch's distance to its reference, in sums of levels, and that one's frame: `[f]`."""
        filled = min(int(self.count.max()), self.window)
        frames = self.frames[:filled]
        # The channels come last, after the cells of all patches and source frames.
        distances = (self.versions[:filled] - self.cells[t]).abs_().sum(-1).amax(-1)
        oldest = 0 if max_age is None else max(t - max_age, 0)
        distances.masked_fill_(frames < oldest, torch.inf)
        distance = distances.amin(0)
        return distance, frames.masked_fill(distances > distance, -1).amax(0)


def _measured(video: Tensor, grid: tuple[int, int], m: int, side: int) -> tuple[Tensor, Tensor]:
    """Sums levels over cells, and puts them in the order of units of m x m patches.

    Returns:
        Sums, float32 `[n, f, cells, 3]`, and levels, uint8 `[n, f, s m m, 3 side^2]`.
    """
    rows, cols = grid
    n, s = video.shape[:2]
    cells = torch.empty(n, rows * cols, s * (2 * m) ** 2, 3, device=video.device)
    pixels = torch.empty(n, rows * cols, s * m**2, 3 * side**2, dtype=torch.uint8, device=video.device)
    for t, levels in enumerate(_levels(video)):
        covered = levels[..., : rows * m * side, : cols * m * side]
        # Whole numbers below 2^24: float32 adds them exactly, in any order.
        sums = F.avg_pool2d(covered, side // 2, divisor_override=1).view(s, 3, rows, 2 * m, cols, 2 * m)
        cells[t].view(rows, cols, s, 2 * m, 2 * m, 3).copy_(sums.permute(2, 4, 0, 3, 5, 1))
        patches = (
            covered.unfold(-2, side, side).unfold(-2, side, side).view(s, 3, rows, m, cols, m, side, side)
        )
        pixels[t].view(rows, cols, s, m, m, 3, side, side).copy_(patches.permute(2, 4, 0, 3, 5, 1, 6, 7))
    return cells, pixels


def _texture(pixels: Tensor, t: int, reference: Tensor) -> Tensor:
    """Returns how far the pixels of frame t are from their references', in sums of levels: `[f]`."""
    places = torch.arange(len(reference), device=reference.device)
    now, then = pixels[t], pixels[reference, places]
    # Bytes have no sign.
    apart = torch.maximum(now, then).sub_(torch.minimum(now, then))
    return apart.sum(-1, dtype=torch.int32).amax(-1)


def _spread(changed: Tensor, steps: int) -> Tensor:
    """Marks the neighbours of what is marked, bool `[rows, cols]`, within so many steps, diagonals too."""
    if not steps:
        return changed
    return F.max_pool2d(changed[None].float(), 2 * steps + 1, 1, steps)[0] > 0


def _levels(video: Tensor) -> Iterator[Tensor]:
    """Yields each frame `[s, 3, H, W]` as float32 in whole levels."""
    for t, frame in enumerate(video):
        levels = frame.float()
        low, high = torch.stack(levels.aminmax()).tolist()
        # What a processor in half precision normalised comes back up to half a level off.
        if not (low > -1 and high < 256):
            raise InputError(
                f"frame {t} holds values from {low:g} to {high:g}: give levels in 0..255, before the "
                "processor's normalisation or with it undone"
            )
        yield levels.round().clamp_(0, 255)


def _checked(frames: Tensor, unit: int, side: int) -> Tensor:
    """Returns frames as `[n, s, 3, H, W]`."""
    if type(side) is not int or side < 2 or side % 2:
        raise InputError(f"a patch has side {side!r}: give it in pixels, an even number of at least 2")
    if type(unit) is not int or unit < side or unit % side:
        raise InputError(f"unit is {unit!r}: give its side in pixels, a multiple of the patch's {side}")
    if not (frames.is_floating_point() or frames.dtype == torch.uint8):
        raise InputError(f"frames have dtype {frames.dtype}: convert them to a float dtype or to uint8")
    video = frames.unsqueeze(1) if frames.ndim == 4 else frames
    if video.ndim != 5 or 0 in video.shape or video.shape[2] != 3:
        raise InputError(
            f"frames have shape {list(frames.shape)}: give one video as [frames, 3, height, width] or "
            "[frames, source frames, 3, height, width], each at least 1"
        )
    if min(video.shape[-2:]) < unit:
        height, width = video.shape[-2:]
        raise InputError(f"frames of {width}x{height} pixels hold no patch of {unit}: give larger frames")
    return video

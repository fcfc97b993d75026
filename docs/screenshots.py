"""Takes the pictures of docs/inspect.md again: pages of `sharpv inspect` in a headless Chromium.

Run from the repository's root: `python docs/screenshots.py VIDEOS`, which holds big_buck_bunny_0_30.webm and
car-detection.mp4. Needs Chromium on the PATH and the extra dev.
"""

import shutil
import sys
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from sharpv.cli.app import app
from sharpv.shapesqa import iterate, render_clip
from sharpv.shapesqa.files import write_clip

FOLDER = Path("docs/inspect")
WIDTH, HEIGHT = 1400, 1560
SIDE = 256
# A frame on which the methods differ: the first after a cut.
COMPARED = 14
# A frame of which a part was encoded.
REUSING = 20


def inspect(clip: str, output: str, *options: str) -> Path:
    """Writes a page or a picture, as the command line does."""
    app(["inspect", clip, *options, "-o", output], standalone_mode=False)
    return Path(output)


def take(browser: Browser, page: Path, target: Path, theme: str, frame: int, shown: str = "kept") -> None:
    """Photographs the upper part of a page in few colours, at a frame, from 1, and a layer."""
    tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=theme)
    tab.goto(page.resolve().as_uri())
    tab.check(f"[name=map][value={shown}]")
    tab.locator("#frame").fill(str(frame))
    tab.evaluate("document.activeElement.blur()")
    tab.screenshot(path="shot.png")
    tab.close()
    with Image.open("shot.png") as shot:
        shot.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(target, optimize=True)


def main() -> None:
    """Writes the pictures; clips are called as a reader would call them, without folders."""
    videos, folder = Path(sys.argv[1]).resolve(), FOLDER.resolve()
    sample = next(sample for sample in iterate("test", frames=16) if sample.scene.cut is not None)
    question = next(asked.text for asked in sample.questions if asked.family == "direction")
    with TemporaryDirectory() as work, chdir(work), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name in ("big_buck_bunny_0_30.webm", "car-detection.mp4"):
            shutil.copy(videos / name, name)
        write_clip(sample, render_clip(sample.scene, SIDE), "shapes.mp4")
        page = inspect("shapes.mp4", "page.html", "--frames", "16", "-q", question)
        take(browser, page, folder / "page.png", "light", sample.scene.cut + 1)
        methods = ("--methods", "sharpv,vidcom2,random", "--retention", "0.12")
        page = inspect("big_buck_bunny_0_30.webm", "compare.html", "--frames", "32", *methods)
        take(browser, page, folder / "compare.png", "dark", COMPARED)
        reusing = ("--frames", "32", "--vision-reuse", "balanced")
        page = inspect("car-detection.mp4", "encoded.html", *reusing)
        take(browser, page, folder / "encoded.png", "light", REUSING, "encoded")
        inspect("car-detection.mp4", str(folder / "strip.jpg"), "--frames", "12")
        browser.close()


if __name__ == "__main__":
    main()

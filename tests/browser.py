"""A headless Chromium, and pages that must not complain or ask for anything."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sharpv.config import SharpVConfig

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["chromium", "open_page", "shown_counts", "turn"]

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_MS = 10_000
FIELDS = ("retention", "threshold", "spatial_weight", "min_tokens_per_frame", "coverage")


# Of a module, since Playwright's event loop runs as long as it does, and lets no test have one of its own.
@pytest.fixture(scope="module")
def chromium() -> "Iterator[Browser]":
    # The environment of vLLM has none, and needs none.
    playwright_api = pytest.importorskip("playwright.sync_api")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        reason = f"no browser: none of {', '.join(NAMES)} is on the PATH; on Debian: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with playwright_api.sync_playwright() as playwright:
        # The sandbox needs rights that a container may not give; the pages are our own.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: "Browser", tmp_path: Path) -> "Iterator[Callable[..., Page]]":
    """Opens HTML from disk; at the end, nothing may have been logged as an error, thrown or requested."""
    contexts, complaints, requests = [], [], []

    def open_page(html: str, width: int = 1400, before: str = "", **options: Any) -> "Page":
        path = tmp_path / f"page-{len(contexts)}.html"
        path.write_text(html, encoding="utf-8")
        context = chromium.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.on(
            "console", lambda message: complaints.append(message.text) if message.type == "error" else None
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        if before:
            page.add_init_script(before)
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    files = {(tmp_path / f"page-{i}.html").as_uri() for i in range(len(contexts))}
    assert [url for url in requests if not url.startswith("data:") and url not in files] == []


def turn(tab: "Page", config: SharpVConfig) -> None:
    """Asks the form for a configuration."""
    values = config.to_dict()
    mode = "adaptive" if config.retention == "adaptive" else "budget"
    tab.check(f"[name=mode][value={mode if config.threshold is None else 'threshold'}]")
    for name in FIELDS:
        if tab.is_visible(f"#{name}"):
            tab.fill(f"#{name}", repr(values[name]))


def shown_counts(tab: "Page") -> list[int]:
    """Returns the kept tokens per frame in the table of the page."""
    return [int(text) for text in tab.locator("#frame-table [data-live]").all_text_contents()]

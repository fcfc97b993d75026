"""The browser that pages are opened in."""

from tests.browser import chromium, open_page

__all__ = ["chromium", "open_page"]

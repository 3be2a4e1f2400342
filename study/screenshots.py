"""A picture of a page as a browser shows it: the report of `normbench compare`, for README."""

import shutil
import tempfile
from io import BytesIO
from pathlib import Path

import PIL.Image

WIDTH, HEIGHT = 540, 760  # of the window, in CSS pixels: README shows the picture in this width
BROWSERS = ("chromium", "google-chrome", "chrome")


def browser_path() -> str | None:
    """Return where a browser that can be asked for pictures is installed, if there is one."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def shoot(page: str, path: Path, dark: bool = False) -> None:
    """Write what a browser shows of the top of `page`, which is HTML, to `path` as a PNG of 256 colours.

    Raises FileNotFoundError if there is no Chromium, or no playwright to ask it.
    """
    browser = browser_path()
    try:
        from playwright.sync_api import sync_playwright  # only who renews README needs it
    except ImportError:
        browser = None
    if browser is None:
        raise FileNotFoundError("no picture of the report without Chromium and playwright")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.html"
        file.write_text(page, encoding="utf-8")
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        window = chromium.new_page(
            viewport={"width": WIDTH, "height": HEIGHT},
            device_scale_factor=2,
            color_scheme="dark" if dark else "light",
        )
        window.goto(file.as_uri())
        picture = window.screenshot()
        chromium.close()
    PIL.Image.open(BytesIO(picture)).convert("RGB").quantize(256).save(path, format="PNG", optimize=True)

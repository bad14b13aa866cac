"""Photograph the report of a run with Chromium: `python tools/shoot_report.py RUN docs/pictures/FILE.png`.

The picture is `--height` pixels of the page, from the top or from the title of a section (`--section pos`).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

WIDTH = 1000


def shoot(page: Path, picture: Path, height: int, section: str) -> None:
    html = page.read_text(encoding="utf-8")
    if section:  # a screenshot begins at the top of a page, so what is above is left out
        before, heading, after = html.partition(f"<h2>{section}</h2>")
        assert heading, f"no section {section!r} in {page}"
        html = f"{before[: before.index('<header>')]}<main><section><h2>{section}</h2>{after}"
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with tempfile.TemporaryDirectory() as folder:
        copy, raw = Path(folder, "page.html"), Path(folder, "raw.png")
        copy.write_text(html, encoding="utf-8")
        command = [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
            f"--user-data-dir={folder}/profile", f"--window-size={WIDTH},{height}", f"--screenshot={raw}",
            copy.as_uri(),
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        image = Image.open(raw).convert("RGB")
        image.quantize(128, dither=Image.Dither.NONE).save(picture, optimize=True)
    print(f"{picture}: {picture.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--height", type=int, default=1800)
    parser.add_argument("--section", default="")
    given = parser.parse_args()
    shoot(given.run / "report.html", given.picture, given.height, given.section)

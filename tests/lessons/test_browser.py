"""The widgets in a real browser: Chromium against a real JupyterLab server. Run by `make test-browser`."""

import os
import re
import shutil
import subprocess
import sys
import time

import nbformat
import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make test-browser")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SCREENSHOTS = os.environ.get("VAE_SCREENSHOTS")  # a folder, to look at what the test saw
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install the package chromium or Google Chrome"),
]

CELLS = [
    "from vae_lib import load_dataset, load_pretrained, widgets\n"
    "digits, (model, _) = load_dataset('mnist', 'test'), load_pretrained('mnist-vae-z2')",
    "widgets.interpolation(model, digits.images[:3], ['a', 'b', 'c'])",
    "widgets.plane(model)",
]


@pytest.fixture
def lab(tmp_path):
    """The address of a JupyterLab server whose folder holds widgets.ipynb."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "widgets.ipynb")
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--port=0", "--allow-root"]
    command += [f"--ServerApp.root_dir={tmp_path}", "--IdentityProvider.token=lab"]
    environment = {**os.environ, "VAE_PROFILE": "quick", "HOME": str(tmp_path)}
    log = tmp_path / "server.log"
    with log.open("w") as stderr:
        server = subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=stderr)
        deadline = time.time() + 90
        while not (found := re.search(r"http://(?:localhost|127\.0\.0\.1):(\d+)/", log.read_text())):
            assert server.poll() is None and time.time() < deadline, f"JupyterLab did not start: {log.read_text()}"
            time.sleep(0.1)
        yield f"http://127.0.0.1:{found[1]}/lab/tree/widgets.ipynb?token=lab"
        server.terminate()
        server.wait(20)


@pytest.fixture
def page(lab):
    """The notebook in the browser, all cells run."""
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 1400})
        page.goto(lab, timeout=90_000)
        page.get_by_text("| Idle").wait_for(timeout=90_000)  # the kernel is there
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        loaded = (
            "[...document.querySelectorAll('img.widget-image')].filter(i => i.complete && i.naturalWidth).length == 3"
        )
        page.wait_for_function(loaded, timeout=90_000)
        yield page
        browser.close()


def screenshot(page, name):
    if SCREENSHOTS:
        page.screenshot(path=f"{SCREENSHOTS}/{name}.png")


def expect_change(page, image, before):
    """Wait until the picture is no longer the one of before, as the browser has drawn it."""
    for _ in range(100):
        if image.screenshot() != before:
            return
        page.wait_for_timeout(100)
    raise AssertionError("the picture did not change within 10 seconds")


def test_slider_and_map_change_the_pictures(page):
    between, chart, point = (page.locator("img.widget-image").nth(k) for k in range(3))
    screenshot(page, "before")

    before = between.screenshot()
    page.locator(".noUi-handle").nth(0).focus()
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    expect_change(page, between, before)

    before = point.screenshot()
    box = chart.bounding_box()
    page.mouse.click(box["x"] + 0.9 * box["width"], box["y"] + 0.1 * box["height"])
    expect_change(page, point, before)
    labels = page.locator(".widget-readout").all_inner_texts()
    assert [float(text) for text in labels[-2:]] == pytest.approx([2.57, 2.57], abs=0.1)
    screenshot(page, "after")

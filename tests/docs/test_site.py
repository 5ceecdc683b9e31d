"""The pages as a site: built strictly, asking no other host, found and read from a folder."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

from tests.docs.pages import ROOT

for module in ("mkdocs", "mkdocstrings", "pymdownx"):
    pytest.importorskip(module, reason="the extra docs is not installed")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
LOADING = re.compile(r'<(?:script|img|iframe)[^>]+src="(?:https?:)?//|<link[^>]+href="https?://')


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "PYTHONPATH": str(ROOT / "src")},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_pages_build_and_ask_no_other_host_for_anything(site):
    built = list(site.rglob("*.html"))
    assert len(built) > 50
    for each in built:
        found = LOADING.search(each.read_text(encoding="utf-8"))
        assert found is None, f"{each.name}: {found[0]}"


def test_every_page_is_in_the_navigation(site):
    """Also one that was written after mkdocs.yml: a folder stands for its pages."""
    home = (site / "index.html").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        place = page.relative_to(ROOT / "docs").with_suffix(".html").as_posix()
        assert f'href="{place}"' in home, place


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_it_is_searched_and_read_from_a_folder_on_any_width(site):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        complaints = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: said.type == "error" and complaints.append(said.text))
        page.goto(f"{site.as_uri()}/howto/serve.html")
        page.keyboard.press("/")
        page.keyboard.type("sighup tokens")
        found = page.locator("#found a")
        playwright.expect(found.first).to_contain_text("Let others in")
        page.locator("#query").fill("xyzzy")
        playwright.expect(page.locator("#found")).to_have_text("Nothing found.")
        page.locator("#query").fill("gallery.move")
        playwright.expect(found.first).to_be_visible()
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile("file://.*(?<!serve).html"))
        for name in ("index", "benchmarks", "reference/cli", "reference/python/stores"):
            page.goto(f"{site.as_uri()}/{name}.html")
            for width in (1280, 390):
                page.set_viewport_size({"width": width, "height": 900})
                assert page.evaluate("document.documentElement.scrollWidth") == width, name
        page.set_viewport_size({"width": 390, "height": 900})
        page.goto(f"{site.as_uri()}/index.html")
        link = page.locator("#menu a", has_text="Quickstart")
        playwright.expect(link).to_be_hidden()  # the list of pages is folded on a phone
        page.get_by_text("Pages", exact=True).click()
        link.click()
        playwright.expect(page.locator("h1")).to_contain_text("Quickstart")
        browser.close()
    assert complaints == []

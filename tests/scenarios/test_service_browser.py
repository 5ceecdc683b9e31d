"""The dashboard in a real browser: an upgrade by clicking and by the keyboard, by every role."""

from __future__ import annotations

import re
import shutil
from contextlib import contextmanager

import pytest

from benchmarks.service.models import contents
from benchmarks.service.project import make, served
from hotfill.service.tokens import hash_of
from tests.unit.cli.project import ITEMS, fill, write_config

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MILLISECONDS = 120_000  # the machine may be busy with other things

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with playwright.sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("browser")),
            executable_path=CHROMIUM,
            args=FLAGS,
            viewport={"width": 1280, "height": 900},
        )
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        playwright.expect.set_options(timeout=PATIENCE_MILLISECONDS)
        yield context
        context.close()


ROLES = ("read", "write", "operate")
TOKENS = "".join(
    f'\n[[service.tokens]]\nname = "{role}"\nrole = "{role}"\nsha256 = "{hash_of(role)}"\n'
    for role in ROLES
)
WITH_TOKENS = pytest.mark.parametrize("service", [TOKENS], indirect=True, ids=["tokens"])


@pytest.fixture
def service(tmp_path, request):
    """A service over 300 items; a parameter is put at the end of its configuration."""
    path = make(
        tmp_path,
        300,
        16,
        exact=True,
        seconds_per_item=0.01,
        batch_size=8,
        fit_items=120,
        verify_items=20,
    )
    with path.open("a", encoding="utf-8") as file:
        file.write(getattr(request, "param", ""))
    with served(path) as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def opened(browser, service, token=None, expected=()):
    """The dashboard; what the browser complains about fails the test, but for what is expected."""
    browser.clear_cookies()
    page = browser.new_page()
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda message: complaints.append(message.text) if message.type == "error" else None,
    )
    page.goto(service)
    if token is not None:
        log_in(page, token)
    playwright.expect(page.locator("#live")).to_have_attribute("data-state", "live")
    yield page
    page.close()
    assert [each for each in complaints if not any(part in each for part in expected)] == []


@pytest.fixture
def page(browser, service):
    """The dashboard of a service without tokens."""
    with opened(browser, service) as page:
        yield page


def log_in(page, token):
    page.get_by_label("Token").fill(token)
    press(page, "Log in")


def phase(page, name):
    playwright.expect(page.locator("#now h2")).to_have_text(re.compile(f"^{name}"))


def press(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def test_an_upgrade_is_started_paused_resumed_and_cut_over_by_clicking(page):
    phase(page, "Planned")
    press(page, "Start")
    phase(page, "Backfilling")
    press(page, "Pause")
    playwright.expect(page.locator("#holds")).to_contain_text("paused by local")
    coverage = page.locator("#coverage .big").inner_text()
    assert not coverage.startswith("100.0")
    press(page, "Resume")
    playwright.expect(page.locator("#holds")).to_be_hidden()
    phase(page, "Backfilled")
    playwright.expect(page.locator("#coverage .big")).to_contain_text("100.0")
    press(page, "Verify")
    playwright.expect(page.locator("#journal")).to_contain_text("Verification passed: 300 items")
    press(page, "Cut over")
    press(page, "Yes")
    phase(page, "Cut over")
    press(page, "Complete")
    playwright.expect(page.locator("#confirm")).to_contain_text("There is no way back")
    press(page, "No, leave it")
    phase(page, "Cut over")
    press(page, "Complete")
    press(page, "Yes")
    phase(page, "Completed")
    playwright.expect(page.locator("#announcement")).to_have_text("Completed")
    playwright.expect(page.locator("button[data-step]")).to_have_count(0)


@pytest.mark.parametrize("service", ["\n[gate]\nold_overlap = 1.0\n"], indirect=True)
def test_past_a_gate_somebody_goes_on_by_saying_so(page):
    holds = page.locator("#holds")
    press(page, "Start")
    playwright.expect(holds).to_contain_text("gate old overlap")  # no other model answers the same
    playwright.expect(page.locator("#now")).to_contain_text("canaries got worse than you allow")
    press(page, "Go on anyway")
    playwright.expect(page.locator("#confirm")).to_contain_text("It is noted who said so")
    press(page, "No, leave it")
    playwright.expect(holds).to_contain_text("gate old overlap")
    press(page, "Go on anyway")
    press(page, "Yes")
    playwright.expect(page.locator("#journal")).to_contain_text("Gate accepted by local")
    playwright.expect(page.locator("#quality")).to_contain_text("accepted")
    playwright.expect(holds).to_be_hidden()
    phase(page, "Backfilled")


def test_it_can_be_used_by_keyboard_and_on_a_phone(page):
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    while page.evaluate("document.activeElement.id") != "do-start":
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    phase(page, "Backfilling")
    # The button that was pressed has gone; the focus must not be lost with it.
    assert page.evaluate("document.querySelector('#now').contains(document.activeElement)")
    page.locator("#do-abort").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "confirm-no"
    page.keyboard.press("Escape")
    page.wait_for_timeout(1500)  # in which sections are replaced
    assert page.evaluate("document.activeElement.id") == "do-abort"
    page.keyboard.press("Enter")
    page.locator("#confirm-yes").focus()
    page.keyboard.press("Enter")
    phase(page, "Aborted")


# Texts whose contrast is below what WCAG 2.2 AA asks, and controls without a name.
CHECKS = """() => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = numbers(getComputedStyle(each).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const pale = [...document.querySelectorAll("body *")].filter((element) => {
    const says = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    const inPicture = element instanceof SVGElement;
    if (!says || (element.offsetParent === null && !inPicture)) return false;
    const style = getComputedStyle(element);
    const both = [light(numbers(inPicture ? style.fill : style.color)), light(ground(element))];
    return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05) < 4.5;
  });
  const controls = document.querySelectorAll("button, a, input, svg[role=img]");
  const nameless = [...controls].filter(
    (each) => !(each.getAttribute("aria-label") || each.textContent.trim() || each.labels?.length)
  );
  return [...pale, ...nameless].map((each) => each.outerHTML.slice(0, 200));
}"""


def check_looks(page):
    """At both widths and in both schemes nothing is pale, nameless or wider than the window."""
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") == width
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate(CHECKS) == [], (width, scheme)


def test_every_text_is_readable_and_every_control_has_a_name(browser, service):
    with opened(browser, service, expected=["status of 404"]) as page:
        check_looks(page)
        press(page, "Start")
        press(page, "Pause")
        playwright.expect(page.locator("#holds")).to_contain_text("paused by local")
        check_looks(page)
        press(page, "Abort")
        check_looks(page)
        page.goto(f"{service}/nowhere")
        check_looks(page)
        page.goto(service)
        playwright.expect(page.locator("#live")).to_have_attribute("data-state", "live")


def test_a_refusal_is_shown_and_announced(browser, service):
    with opened(browser, service, expected=["status of 409"]) as page:
        press(page, "Start")
        phase(page, "Backfilled")
        press(page, "Cut over")
        press(page, "Yes")
        notice = page.get_by_role("alert")
        playwright.expect(notice).to_contain_text("never verified: run verify")
        press(page, "Dismiss")
        playwright.expect(notice).to_be_hidden()


@WITH_TOKENS
def test_an_operator_logs_in_goes_there_and_back_and_logs_out(browser, service):
    with opened(browser, service, "operate") as page:
        press(page, "Start")
        phase(page, "Backfilled")
        press(page, "Verify")
        playwright.expect(page.locator("#journal")).to_contain_text("Verification passed")
        press(page, "Cut over")
        press(page, "Yes")
        phase(page, "Cut over")
        # What cannot be undone does not stand with what can.
        alone = page.locator(".buttons.apart button")
        playwright.expect(alone).to_have_text("Complete")
        press(page, "Roll back")
        press(page, "Yes")
        phase(page, "Rolled back")
        press(page, "Log out")
        playwright.expect(page.get_by_label("Token")).to_be_focused()
        log_in(page, "operate")
        phase(page, "Rolled back")
        playwright.expect(page.locator("#live")).to_have_attribute("data-state", "live")


@WITH_TOKENS
def test_a_wrong_token_is_refused_on_the_page_and_the_right_one_is_let_in(browser, service):
    browser.clear_cookies()
    page = browser.new_page()
    page.goto(service)
    log_in(page, "wrong")
    playwright.expect(page.get_by_role("alert")).to_have_text("This token is not known.")
    assert page.evaluate(CHECKS) == []
    log_in(page, "read")
    phase(page, "Planned")
    page.close()


@WITH_TOKENS
def test_whoever_may_not_operate_looks_on(browser, service):
    for role in ("read", "write"):
        with opened(browser, service, role) as page:
            playwright.expect(page.locator("#now")).to_contain_text("may look, but not operate")
            playwright.expect(page.locator("button[data-step]")).to_have_count(0)


@WITH_TOKENS
def test_a_session_that_has_ended_leads_back_to_the_log_in(browser, service):
    with opened(browser, service, "operate", expected=["status of 401"]) as page:
        browser.clear_cookies()
        press(page, "Start")
        playwright.expect(page.get_by_label("Token")).to_be_visible()
        log_in(page, "operate")
        phase(page, "Planned")
        playwright.expect(page.locator("#live")).to_have_attribute("data-state", "live")


@WITH_TOKENS
def test_an_error_that_a_person_meets_is_a_page_with_a_way_on(browser, service):
    browser.clear_cookies()
    page = browser.new_page()
    for path, status, said in (
        ("/nowhere", 404, "there is nothing at this address"),
        ("/upgrade/start", 405, "does not answer this method"),
        ("/upgrade", 401, "give a token"),
        ("/items/none", 401, "give a token"),
    ):
        answer = page.goto(service + path)
        assert answer.status == status
        playwright.expect(page.locator("main")).to_contain_text(said)
        page.locator("main a").click()
        playwright.expect(page.get_by_label("Token")).to_be_visible()
    page.close()


def test_a_search_is_tried_on_both_sides(browser, service):
    with opened(browser, service, expected=["status of 502"]) as page:
        press(page, "Start")
        playwright.expect(page.locator("#coverage .big")).not_to_contain_text("0.0%")
        press(page, "Pause")
        page.get_by_label("or like item").fill("item-7")
        press(page, "Search")
        titles = page.locator("#found h3")
        playwright.expect(titles).to_contain_text(["Old side", "Now", "New side"])
        playwright.expect(page.locator("#found")).to_contain_text("item-7")
        check_looks(page)
        page.get_by_label("or like item").fill("nobody")
        press(page, "Search")
        playwright.expect(page.locator("#notice")).to_contain_text("the source failed for nobody")
        press(page, "Pick an item")
        picks = page.locator("#picks button")
        playwright.expect(picks).to_have_count(24)
        check_looks(page)
        name = picks.nth(5).get_attribute("data-like")
        picks.nth(5).click()
        # First where it is: on its own side, by its own model.
        firsts = page.locator("#found section:not([aria-label=Now]) li:first-child code")
        playwright.expect(firsts.filter(has_text=re.compile(f"^{name}$"))).to_have_count(1)
        marks = page.locator("#found section[aria-label=Now] .side")
        assert set(marks.all_inner_texts()) <= {"old", "new"}
        playwright.expect(page.locator("#notice")).to_be_hidden()
        page.goto(f"{service}/#try")
        page.reload()  # the same page with a # is not loaded again by itself
        playwright.expect(picks).to_have_count(24)
        playwright.expect(page.locator("#live")).to_have_attribute("data-state", "live")


def test_charts_survive_a_restart_of_the_service(browser, tmp_path):
    path = make(tmp_path, 300, 16, exact=True, batch_size=8, fit_items=120, verify_items=20)
    shown = {}
    for life in ("first", "second"):
        with (
            served(path) as port,
            opened(browser, f"http://127.0.0.1:{port}") as page,
        ):
            if life == "first":
                asked = {"content": contents(300)(["item-7"])["item-7"].tolist()}
                for _ in range(3):
                    assert page.request.post(f"{page.url}search", data=asked).ok
                press(page, "Start")
                phase(page, "Backfilled")
                playwright.expect(page.locator("#latency")).to_contain_text("Before")
                playwright.expect(page.locator("#rates polyline")).to_have_count(3)
            shown[life] = page.locator("#latency tbody").inner_text()
            playwright.expect(page.locator("#rates polyline")).to_have_count(3)
            playwright.expect(page.locator("#rates")).to_contain_text("Embedded")
    assert shown["second"] == shown["first"]


def test_items_that_failed_are_tried_again_by_a_button(browser, tmp_path):
    fill(tmp_path)
    lacking = {"source": {"options": {"items": ITEMS, "without": "item-00003"}}}
    with (
        served(write_config(tmp_path, **lacking)) as port,
        opened(browser, f"http://127.0.0.1:{port}") as page,
    ):
        press(page, "Start")
        playwright.expect(page.locator("#letters")).to_contain_text("item-00003")
        press(page, "Try dead letters again")
        playwright.expect(page.locator("#letters")).to_contain_text("item-00003")
        phase(page, "Backfilled")

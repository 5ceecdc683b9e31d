"""A stranger's web page cannot use a visitor's browser against the service."""

from __future__ import annotations

import pytest

HOST = "127.0.0.1:8765"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": f"http://{HOST}.evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "origin": f"http://{HOST}"},
    ],
)
def test_other_sites_may_not_act(untouched, headers):
    untouched.ok("POST", "/upgrade/pause", 403, headers=headers)
    assert untouched.upgrade()["holds"] == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": f"http://{HOST}"},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "same-origin", "origin": "https://proxy.example"},
        {"sec-fetch-site": "none"},
    ],
)
def test_our_own_pages_and_programs_may_act(untouched, headers):
    # Let through, and refused by the phase alone.
    untouched.ok("POST", "/upgrade/verify", 409, headers=headers)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "[::", ""])
def test_without_tokens_foreign_names_are_refused(untouched, host):
    untouched.ok("GET", "/upgrade", 403, headers={"host": host})


@pytest.mark.parametrize("host", ["localhost:1", "[::1]:8765", "127.0.0.1"])
def test_names_of_this_machine_are_answered(untouched, host):
    untouched.ok("GET", "/upgrade", headers={"host": host})


def test_with_tokens_any_name_will_do(guarded):
    headers = {"host": "search.example", "authorization": "Bearer reader"}
    guarded.ok("GET", "/upgrade", headers=headers)


@pytest.mark.parametrize("path", ["/", "/static/dashboard.js", "/upgrade", "/nowhere"])
def test_every_answer_forbids_foreign_and_inline_scripts(untouched, path):
    headers = untouched.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert (
        headers["referrer-policy"] == "same-origin"
    )  # with no-referrer our own forms send "Origin: null"


def test_answers_are_not_kept_by_caches(untouched):
    assert untouched.get("/upgrade").headers["cache-control"] == "no-store"


def test_the_page_has_nothing_inline_and_nothing_from_elsewhere(untouched):
    page = untouched.get("/").text
    assert "<style" not in page
    assert " style=" not in page
    assert "onclick" not in page
    assert "<script>" not in page
    assert "http://" not in page
    assert "https://" not in page

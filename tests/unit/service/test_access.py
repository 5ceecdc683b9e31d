"""Who is let in, to what, and how often."""

from __future__ import annotations

import pytest

from hotfill.errors import ConfigError
from hotfill.service.access import SESSION_SECONDS, Sessions
from hotfill.service.settings import ServiceSettings, is_loopback
from hotfill.service.tokens import ROLES, TokenSettings, allows, hash_of, holder_of, make_token
from tests.unit.service.conftest import TOKENS, serving

NEEDS = [
    ("read", "GET", "/upgrade", None),
    ("read", "GET", "/upgrade/rehearsal", None),
    ("read", "GET", "/models", None),
    ("read", "GET", "/metrics", None),
    ("read", "GET", "/items/item-00001", None),
    ("read", "GET", "/events", None),
    ("read", "POST", "/search", {"content": [1.0] * 8}),
    ("write", "PUT", "/items", {"items": [{"item_id": "a", "content": [1.0] * 8}]}),
    ("write", "PATCH", "/items", {"items": [{"item_id": "a", "metadata": {}}]}),
    ("write", "DELETE", "/items/item-00001", None),
    ("write", "POST", "/items/delete", {"item_ids": ["item-00002"]}),
    *(
        ("operate", "POST", f"/upgrade/{step}", None)
        for step in (
            *("start", "pause", "resume", "verify"),
            *("cutover", "rollback", "abort", "complete"),
        )
    ),
]


def bearing(token):
    return {"authorization": f"Bearer {token}"}


def test_every_route_needs_a_token_of_its_role(guarded):
    for role, method, path, body in NEEDS:
        nobody = guarded.request(method, path, json=body)
        assert nobody.status_code == 401, path
        assert nobody.headers["www-authenticate"] == "Bearer"
        unknown = guarded.request(method, path, json=body, headers=bearing("x"))
        assert unknown.status_code == 401, path
        for name, has in TOKENS.items():
            if not allows(has, role):
                answer = guarded.request(method, path, json=body, headers=bearing(name))
                assert answer.status_code == 403, path
                assert f"the token {name!r} may {has}" in answer.json()["detail"]


def test_tokens_of_the_role_and_above_are_let_in(guarded):
    for name in TOKENS:
        guarded.ok("GET", "/upgrade", headers=bearing(name))
    for name in ("writer", "operator"):
        guarded.ok("DELETE", "/items/item-00001", headers=bearing(name))
    guarded.ok("POST", "/upgrade/pause", headers=bearing("operator"))
    (hold,) = guarded.ok("GET", "/upgrade", headers=bearing("reader"))["holds"]
    assert hold["about"] == "operator"


def test_no_route_was_forgotten(guarded):
    known = {(method, path.replace("item-00001", "{item_id}")) for _, method, path, _ in NEEDS}
    open_to_all = {("GET", "/health"), ("GET", "/ready")}
    described = guarded.app.openapi()["paths"]
    there = {(method.upper(), path) for path, methods in described.items() for method in methods}
    assert there - open_to_all == known - {("GET", "/events")}


def test_health_and_readiness_are_told_to_everybody(guarded):
    assert guarded.ok("GET", "/health") == guarded.ok("GET", "/ready") == {"status": "ok"}


def test_a_confirmation_is_for_whoever_asked(project):
    both = [{"name": name, "role": "operate", "sha256": hash_of(name)} for name in ("anna", "bert")]
    with serving(project, tokens=both) as client:
        client.headers.update(bearing("anna"))
        client.do("start")
        client.do("verify")
        client.ok("POST", "/upgrade/cutover")
        token = client.ok("POST", "/upgrade/complete")["confirmation_token"]
        body = {"confirmation_token": token}
        client.ok("POST", "/upgrade/complete", 422, json=body, headers=bearing("bert"))
        assert client.upgrade()["phase"] == "cut_over"


def test_the_dashboard_asks_for_a_token_and_remembers_who_it_was(guarded):
    assert 'name="token"' in guarded.get("/").text
    wrong = guarded.post("/login", data={"token": "x"})
    assert wrong.status_code == 401
    assert "This token is not known" in wrong.text
    right = guarded.post("/login", data={"token": "operator"}, follow_redirects=False)
    assert (right.status_code, right.headers["location"]) == (303, "/")
    cookie = right.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "operator" not in cookie
    assert 'data-step="start"' in guarded.get("/").text
    guarded.ok("POST", "/upgrade/pause")
    guarded.post("/logout")
    assert 'name="token"' in guarded.get("/").text
    guarded.ok("GET", "/upgrade", 401)


def test_a_session_cookie_is_worth_nothing_after_logging_out(guarded):
    answer = guarded.post("/login", data={"token": "operator"}, follow_redirects=False)
    cookie = answer.headers["set-cookie"].split(";")[0]
    guarded.post("/logout")
    guarded.cookies.clear()
    guarded.ok("GET", "/upgrade", 401, headers={"cookie": cookie})


def test_whoever_may_only_read_sees_no_buttons(guarded):
    guarded.post("/login", data={"token": "reader"})
    page = guarded.get("/").text
    assert "data-step" not in page
    assert "may look, but not operate" in page


def test_a_session_ends_after_a_while():
    now = [0.0]
    sessions = Sessions(clock=lambda: now[0])
    token = TokenSettings(name="a", role="read", sha256="0" * 64)
    key = sessions.begin(token)
    assert sessions.holder(key) == token
    assert sessions.holder(key[:-1]) is None
    now[0] = SESSION_SECONDS
    assert sessions.holder(key) is None


def test_a_token_is_long_random_and_kept_as_its_hash_only():
    first, second = make_token(), make_token()
    assert first != second
    assert len(first) > 40
    known = [TokenSettings(name="a", role="read", sha256=hash_of(first))]
    assert holder_of(first, known) == known[0]
    assert holder_of(second, known) is None
    assert first not in repr(known)


def test_each_role_includes_the_one_before():
    table = [[allows(role, needed) for needed in ROLES] for role in ROLES]
    assert table == [[True, False, False], [True, True, False], [True, True, True]]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.3", "example.org"])
def test_without_tokens_only_this_machine_is_listened_to(host):
    with pytest.raises(ConfigError, match="there are no tokens"):
        ServiceSettings(host=host).check()
    token = TokenSettings(name="a", role="read", sha256="0" * 64)
    ServiceSettings(host=host, tokens=(token,)).check()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_names_of_this_machine_are_known(host):
    assert is_loopback(host)
    ServiceSettings(host=host).check()


def test_two_tokens_of_one_name_are_refused():
    token = TokenSettings(name="a", role="read", sha256="0" * 64)
    with pytest.raises(ConfigError, match="'a' stands there twice"):
        ServiceSettings(tokens=(token, token)).check()


def with_tokens(**roles):
    return [{"name": name, "role": role, "sha256": hash_of(name)} for name, role in roles.items()]


def test_tokens_are_read_again_and_sessions_of_those_gone_have_ended(project):
    with serving(project, tokens=with_tokens(anna="operate", bert="read")) as client:
        door = client.app.state.door
        client.post("/login", data={"token": "anna"})
        assert client.get("/upgrade").status_code == 200
        later = ServiceSettings(tokens=with_tokens(bert="write", carl="read"))
        door.change(later)
        assert client.get("/upgrade").status_code == 401  # the session of anna
        assert client.get("/upgrade", headers=bearing("anna")).status_code == 401
        assert client.get("/upgrade", headers=bearing("carl")).status_code == 200
        assert client.delete("/items/item-00001", headers=bearing("bert")).status_code == 200
        with pytest.raises(ConfigError, match="start the service again"):
            door.change(ServiceSettings())
        assert client.get("/upgrade", headers=bearing("carl")).status_code == 200

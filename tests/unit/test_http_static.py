"""The console page from memory: exact paths, and 304 for what the browser has."""

import pytest

from tailrace.http.answers import HTML, Answer, render
from tailrace.http.head import Head
from tailrace.http.static import StaticFiles

FILES = StaticFiles(
    {"/": (HTML, b"<p>hello"), "/app.js": ("text/javascript", b"1"), "/b.js": ("text/javascript", b"2")}
)


def get(path: str, *tags: str) -> Answer | None:
    headers = tuple((b"if-none-match", tag.encode()) for tag in tags)
    return FILES.answer(Head("GET", path, path.partition("?")[0], "1.1", headers, b""))


def tag_of(path: str) -> str:
    answer = get(path)
    assert answer is not None
    return dict(answer.headers)["ETag"]


def test_a_file_is_answered_with_its_type_and_tag() -> None:
    answer = get("/?topic=orders")
    assert answer is not None
    assert (answer.status, answer.content_type, answer.body) == (200, HTML, b"<p>hello")
    assert dict(answer.headers)["Cache-Control"] == "no-cache"
    assert len({tag_of("/"), tag_of("/app.js"), tag_of("/b.js")}) == 3


@pytest.mark.parametrize("path", ["", "//", "/app.js/", "/APP.JS", "/./app.js", "/x/../app.js", "/app%2ejs", "/app"])
def test_any_other_path_is_not_there(path: str) -> None:
    assert get(path) is None


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', "*"])
def test_what_the_browser_has_is_not_sent_again(form: str) -> None:
    answer = get("/app.js", form.format(tag_of("/app.js")))
    assert answer is not None
    assert (answer.status, answer.body) == (304, b"")
    assert dict(answer.headers)["ETag"] == tag_of("/app.js")


@pytest.mark.parametrize("path", ["/", "/main.js"])
def test_headers_of_the_page_go_with_every_file_and_instead_of_the_defaults(path: str) -> None:
    own = (("Content-Security-Policy", "default-src 'self'"), ("x-content-type-options", "nosniff"))
    files = StaticFiles({"/": (HTML, b"<p>"), "/main.js": ("text/javascript", b"1")}, own)
    for tags in ((), ((b"if-none-match", b"*"),)):
        answer = files.answer(Head("GET", path, path, "1.1", tags, b""))
        assert answer is not None
        head = render(answer, head_only=True).decode().lower()
        assert head.count("content-security-policy: ") == head.count("x-content-type-options: nosniff") == 1
        assert "content-security-policy: default-src 'self'\r\n" in head


def test_an_old_copy_is_replaced() -> None:
    answer = get("/app.js", tag_of("/b.js"))
    assert answer is not None
    assert answer.status == 200

"""tailrace.console: the page is complete, holds its own policy, and nothing in it can break out of the markup."""

import re
from html.parser import HTMLParser
from urllib.parse import urljoin

import msgspec
import pytest

from tailrace.console import CONTENT_TYPES, HEADERS, assets

POLICY = dict(HEADERS)["Content-Security-Policy"]


class Page(HTMLParser):
    """What the page refers to, and what it carries inline."""

    def __init__(self, html: bytes) -> None:
        super().__init__()
        self.references: list[str] = []
        self.ids: list[str] = []
        self.fields: list[str] = []
        self.labelled: set[str] = set()
        self.inline: dict[str, str] = {}
        self.style_attributes = self.handlers = 0
        self._script: str | None = None
        self.feed(html.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.references += [found[name] or "" for name in ("src", "href") if name in found]
        self.ids += [found["id"] or ""] if "id" in found else []
        self.labelled |= {found[name] or "" for name in ("for", "aria-labelledby") if name in found and tag != "output"}
        if tag in ("input", "select", "textarea"):
            self.fields.append(found["id"] or "")
            self.labelled |= {found["id"] or ""} if "aria-label" in found else set()
        self.style_attributes += "style" in found or tag == "style"
        self.handlers += any(name.startswith("on") for name in found)
        self._script = found.get("id") or found.get("src") if tag == "script" else None

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self.inline[self._script] = self.inline.get(self._script, "") + data

    def handle_endtag(self, tag: str) -> None:
        self._script = None


@pytest.fixture
def page() -> Page:
    return Page(assets(["orders"])["/"][1])


def test_the_page_is_at_the_root_and_its_files_below_console() -> None:
    paths = set(assets([]))
    assert "/" in paths
    assert {path for path in paths if not path.startswith("/console/")} == {"/"}
    assert "/console/main.js" in paths


def test_content_types_are_what_nosniff_and_modules_need() -> None:
    for path, (content_type, body) in assets([]).items():
        kind = "html" if path == "/" else path.rpartition(".")[2]
        assert content_type == CONTENT_TYPES[kind]
        assert body


def test_everything_that_is_referred_to_is_served(page: Page) -> None:
    found = assets([])
    for reference in page.references:
        if not reference.startswith("#"):
            assert urljoin("/", reference) in found
    for path, (_, body) in found.items():
        if path.endswith(".js"):
            for name in re.findall(rb'(?:from|new URL\() ?"([^"]+\.js)"', body):
                assert urljoin(path, name.decode()) in found, (path, name)


def test_nothing_comes_from_elsewhere() -> None:
    for path, (_, body) in assets([]).items():
        outside = re.findall(rb"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}[^\s\"')]*", body)
        assert set(outside) <= {b"http://www.w3.org/2000/svg"}, path


def test_the_page_keeps_its_own_policy(page: Page) -> None:
    """No inline script or style, and no way from a string to markup: what the policy forbids would fail in silence."""
    assert page.style_attributes == page.handlers == 0
    assert page.inline.keys() == {"tailrace-config"}
    for path, (_, body) in assets([]).items():
        assert not re.search(rb"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|new Function", body), path


def test_the_policy_starts_from_nothing() -> None:
    assert POLICY.startswith("default-src 'none';")
    assert "unsafe" not in POLICY
    assert "*" not in POLICY
    for directive in ("script-src", "style-src", "connect-src", "worker-src", "img-src"):
        assert f"{directive} 'self';" in POLICY


def test_ids_are_unique_and_every_label_has_its_element(page: Page) -> None:
    assert len(page.ids) == len(set(page.ids))
    assert page.labelled <= set(page.ids)


@pytest.mark.parametrize(
    "topics",
    [[], ["orders", "prices"], ["</script><script>alert(1)</script>", "<!--", 'a"b\\c', "Ünïcode", "\u2028"]],
    ids=["none", "plain", "hostile"],
)
def test_topics_arrive_as_they_are_and_cannot_end_their_element(topics: list[str]) -> None:
    page = Page(assets(topics)["/"][1])
    assert page.inline.keys() == {"tailrace-config"}
    assert msgspec.json.decode(page.inline["tailrace-config"]) == {"topics": topics, "publish": [], "unlisted": False}


def test_the_page_is_told_what_can_be_published_to() -> None:
    page = Page(assets(["orders", "chat"], ["chat"], unlisted=True)["/"][1])
    offer = {"topics": ["orders", "chat"], "publish": ["chat"], "unlisted": True}
    assert msgspec.json.decode(page.inline["tailrace-config"]) == offer


def test_every_field_has_a_name(page: Page) -> None:
    assert len(page.fields) > 6
    assert [field for field in page.fields if field not in page.labelled] == []


def test_scripts_look_up_only_elements_that_exist(page: Page) -> None:
    scripts = b"".join(body for path, (_, body) in assets([]).items() if path.endswith(".js"))
    asked = set(re.findall(rb'(?:byId|getElementById)\("([^"]+)"\)', scripts))
    assert asked
    assert {name.decode() for name in asked} <= set(page.ids)

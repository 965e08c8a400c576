"""rules and claims: which rule decides, what it allows, and which keys its templates give."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.config import Rule
from tailrace.core.claims import Principal, find, holds, split_path, texts
from tailrace.core.rules import EVERYTHING, MAX_KEYS, NOTHING, Permission, Rules, faults, parse

READ = frozenset({"subscribe"})


def rule(*topics: str, allow: tuple[Any, ...] = ("subscribe",), **fields: Any) -> Rule:
    return Rule(topics=topics, allow=allow, **fields)


def keys(template: str, **claims: Any) -> frozenset[bytes] | None:
    """What one template gives; None: the rule allows nothing."""
    found = Rules([rule("*", keys=(template,))], NOTHING).find("t", claims)
    assert (found.allow == READ) is bool(found.keys), found
    return found.keys


# Which rule decides


def test_the_first_that_matches_decides_alone() -> None:
    rules = Rules([rule("orders.secret", allow=()), rule("orders.*"), rule("*", allow=("publish",))], NOTHING)
    assert rules.find("orders.secret", {}).allow == frozenset()
    assert rules.find("orders.eu", {}).allow == READ
    assert rules.find("prices", {}).allow == {"publish"}


def test_without_a_match() -> None:
    assert Rules([rule("a")], NOTHING).find("b", {}) == NOTHING
    assert Rules([rule("a")], EVERYTHING).find("b", {}) == EVERYTHING
    assert Rules().find("b", {}) == EVERYTHING


def test_a_rule_whose_claims_do_not_hold_is_passed_over() -> None:
    rules = Rules([rule("*", claims={"role": "staff"}), rule("*", keys=("x",))], NOTHING)
    assert rules.find("t", {"role": "staff"}).keys is None
    assert rules.find("t", {"role": "guest"}).keys == {b"x"}
    assert rules.find("t", {}).keys == {b"x"}


def test_a_rule_that_gives_no_key_decides_all_the_same() -> None:
    """Else a token without a tenant could reach the wider rule."""
    rules = Rules([rule("orders", keys=("${claims.tenant}",)), rule("*")], NOTHING)
    assert rules.find("orders", {"tenant": "a"}) == Permission(READ, frozenset({b"a"}))
    assert rules.find("orders", {}) == NOTHING
    assert rules.find("prices", {}).keys is None


def test_patterns_are_those_of_exposure() -> None:
    rules = Rules([rule("*")], NOTHING)
    assert rules.find("__consumer_offsets", {}) == NOTHING
    assert Rules([rule("__*")], NOTHING).find("__consumer_offsets", {}).allow == READ
    assert Rules([rule("orders.[ab]")], NOTHING).find("orders.A", {}) == NOTHING


# Claims


@pytest.mark.parametrize(
    ("expected", "actual", "held"),
    [
        ("staff", "staff", True),
        ("staff", "Staff", False),
        ("staff", ["guest", "staff"], True),
        ("staff", "staff,guest", False),
        ("staff", {"staff": True}, False),
        (["staff", "admin"], "admin", True),
        (["staff", "admin"], ["x", "admin"], True),
        (["staff", "admin"], "guest", False),
        ([], "guest", False),
        (1, 1, True),
        (1, True, False),
        (True, 1, False),
        (True, True, True),
        (False, 0, False),
        (False, None, False),
        (0, "", False),
        (1, "1", False),
        (1, 1.0, True),
        ({"roles": "a"}, {"roles": ["a", "b"], "more": 1}, True),
        ({"roles": "a"}, {"more": 1}, False),
        ({"roles": "a"}, "a", False),
        ({}, {}, True),
        ("a", [["a"]], False),
        (float("nan"), float("nan"), False),
    ],
)
def test_what_holds(expected: object, actual: object, held: bool) -> None:
    assert holds({"claim": expected}, {"claim": actual}) is held
    assert not holds({"claim": expected}, {"other": actual})


def test_all_claims_must_hold() -> None:
    expected = {"role": "staff", "level": [3, 4]}
    assert holds(expected, {"role": ["staff"], "level": 4})
    assert not holds(expected, {"role": "staff"})
    assert holds({}, {})


def test_paths() -> None:
    claims = {"realm_access": {"roles": ["a"]}, "https://example.com/tenant": "t", "a.b": {"c": 1}}
    assert find(claims, split_path("realm_access.roles")) == ["a"]
    assert find(claims, split_path('"https://example.com/tenant"')) == "t"
    assert find(claims, split_path('"a.b".c')) == 1
    for missing in ("realm_access.groups", "a.b.c", "realm_access.roles.a", "nothing"):
        assert find(claims, split_path(missing)) is None


# Keys


def test_templates() -> None:
    assert keys("fixed") == {b"fixed"}
    assert keys("${claims.tenant}", tenant="a") == {b"a"}
    assert keys("t-${claims.tenant}/x", tenant="ä") == {"t-ä/x".encode()}
    assert keys("${claims.a}-${claims.b.c}", a=["1", "2"], b={"c": [3, 4]}) == {b"1-3", b"1-4", b"2-3", b"2-4"}
    assert keys('${claims."https://e.com/t"}', **{"https://e.com/t": "x"}) == {b"x"}
    assert keys("$5 {x}") == {b"$5 {x}"}


@pytest.mark.parametrize("value", [None, "", [], {}, True, False, 1.5, [[]], {"a": "b"}, [None, "", True], "\ud800"])
def test_a_claim_that_is_no_text_gives_no_key(value: object) -> None:
    assert keys("${claims.tenant}", tenant=value) is None
    assert keys("prefix-${claims.tenant}", tenant=value) is None


def test_what_a_claim_holds_is_never_a_template_or_a_pattern() -> None:
    assert keys("${claims.tenant}", tenant="${claims.sub}", sub="root") == {b"${claims.sub}"}
    assert keys("${claims.tenant}", tenant="*") == {b"*"}


def test_several_templates_are_together() -> None:
    found = Rules([rule("*", keys=("all", "${claims.a}", "${claims.none}"))]).find("t", {"a": [1, "b", None]})
    assert found.keys == {b"all", b"1", b"b"}


def test_a_product_of_lists_is_bounded() -> None:
    half = [str(number) for number in range(64)]
    assert len(keys("${claims.a}${claims.a}x", a=half[:10]) or ()) <= 100
    assert keys("${claims.a}-${claims.a}", a=half) is not None
    assert MAX_KEYS == 64 * 64
    assert keys("${claims.a}-${claims.b}", a=half, b=[*half, "more"]) is None
    assert keys("-".join(["${claims.a}"] * 40), a=half) is None  # 64 to the power of 40, if it were counted out


@given(st.text())
def test_every_template_is_parsed_or_refused(template: str) -> None:
    try:
        parts = parse(template)
    except ValueError:
        assert "${" in template
    else:
        assert "".join(part if isinstance(part, str) else "${claims." for part in parts)[:1] == template[:1]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)


@given(JSON_VALUES, JSON_VALUES)
def test_any_claims_are_judged(expected: object, actual: object) -> None:
    """Nothing an issuer puts into a token raises; a key that a claim gives is that claim's own text."""
    assert holds({"a": expected}, {"a": actual}) in (True, False)
    given_keys = keys("${claims.a}", a=actual) or frozenset()
    assert given_keys <= {text.encode(errors="replace") for text in texts(actual)}


# What `config check` finds


@pytest.mark.parametrize(
    ("faulty", "what"),
    [
        (rule(), "rules[0].topics: names no topic"),
        (rule("a", keys=()), "rules[0].keys: no key at all"),
        (rule("a", keys=("${claims}",)), "rules[0].keys: '${claims}': after ${ a claim is expected"),
        (rule("a", keys=("${claims.a.}",)), "a claim is expected"),
        (rule("a", keys=("${claims.a",)), "a claim is expected"),
        (rule("a", keys=("${sub}",)), "a claim is expected"),
        (rule("a", keys=("${claims.a b}",)), "a claim is expected"),
        (rule("a", claims={"x": {"y": []}}), "rules[0].claims: x.y: an empty list"),
        (rule("a", claims={"x": "${claims.y}"}), "rules[0].claims: x: '${claims.y}' is compared as it stands"),
    ],
)
def test_faults(faulty: Rule, what: str) -> None:
    [found] = faults([faulty], authenticates=True)
    assert what in found


def test_claims_need_tokens() -> None:
    assert list(faults([rule("a", claims={"x": 1}, keys=("${claims.y}", "z"))], authenticates=False)) == [
        'rules[0].claims: never hold without tokens (auth.mode = "jwt")',
        "rules[0].keys: '${claims.y}': there are no claims without tokens (auth.mode = \"jwt\")",
    ]
    assert list(faults([rule("a", keys=("z",))], authenticates=False)) == []


def test_a_principal_shows_no_claims() -> None:
    assert "secret" not in repr(Principal("me", None, {"a": "secret"}))

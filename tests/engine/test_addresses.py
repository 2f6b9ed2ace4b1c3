"""What the URL of an engine says."""

from __future__ import annotations

import pytest

from realtime.engine.addresses import FORMS, Address, address
from realtime.engine.client import Engine
from realtime.exceptions import Misconfigured


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://db", Address("server", "redis://db", (("db", 6379),))),
        ("rediss://db:7/2?ssl_cert_reqs=none", Address("server", "rediss://db:7/2?ssl_cert_reqs=none", (("db", 7),))),
        ("REDIS://u:p%40@[::1]:7", Address("server", "redis://u:p%40@[::1]:7", (("::1", 7),))),
        ("unix:///a%20b/c.sock", Address("server", "unix:///a%20b/c.sock")),
        (
            "redis+sentinel://u:p@a,b:7/my%20service/3?sentinel_username=s&sentinel_password=p%26q&ssl_ca_certs=/c",
            Address(
                "sentinel", "redis://u:p@a/3?ssl_ca_certs=%2Fc", (("a", 26379), ("b", 7)), "my service", "s", "p&q"
            ),
        ),
        ("rediss+cluster://:p@a,[::1]:7/0", Address("cluster", "rediss://:p@a/0", (("a", 6379), ("::1", 7)))),
    ],
    ids=lambda value: value.partition(":")[0] if isinstance(value, str) else "",
)
def test_what_it_says(url: str, says: Address) -> None:
    assert address(url) == says


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("localhost:6379", "must begin with redis://, "),
        ("http://:hunter2@db", "must begin with"),
        ("unix+cluster://:hunter2@db", "must begin with"),
        ("redis://:hunter2@", "names no host"),
        ("redis://:hunter2@/1", "names no host"),
        ("redis://:hunter2@a,b", "names several hosts"),
        ("redis://u:hunter2/@a", "cannot be read"),
        ("redis://u:hunter2#@a", "cannot be read"),
        ("redis://:x@a:hunter2", "cannot be read"),
        ("redis://a?db=hunter2", "cannot be read"),
        ("unix://", "names no path"),
        ("redis+sentinel://:hunter2@a,b", "names no service"),
        ("redis+sentinel://:hunter2@a//1", "names no service"),
        ("redis+sentinel://:hunter2@a,/x", "names no host"),
        ("redis+sentinel://:hunter2@a/x/y", "names a database that is no number"),
        ("redis+cluster://:hunter2@", "names no host"),
        ("redis+cluster://:hunter2@a/1", "names a database"),
        ("redis+cluster://:hunter2@a?db=1", "names a database"),
    ],
)
def test_a_malformed_one_is_told_the_right_forms_and_never_its_password(url: str, fault: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        Engine(url)
    said = str(caught.value)
    assert fault in said
    assert all(form in said for form in FORMS)
    assert "hunter2" not in said + repr(caught.value.__cause__)


def test_no_password_is_shown() -> None:
    url = "redis+sentinel://:hunter2@a/x?sentinel_password=hunter2"
    assert "hunter2" not in repr(Engine(url)) + repr(address(url))

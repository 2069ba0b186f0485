"""Settings come from arguments, then the environment; what can't be meant is refused by name."""

from pathlib import Path

import pytest

from fedsight.collector.settings import is_loopback, serve_settings, view_index, view_settings
from fedsight.errors import UsageError


def test_serve_listens_on_this_machine_alone_unless_told_otherwise() -> None:
    settings = serve_settings(environ={})
    assert (settings.host, settings.port, settings.folder) == ("127.0.0.1", 8083, Path("fedsight-data"))
    assert settings.on_loopback
    assert settings.tokens == Path("fedsight-data/tokens.json")


def test_arguments_win_over_the_environment(tmp_path: Path) -> None:
    environ = {
        "FEDSIGHT_HOST": "0.0.0.0",
        "FEDSIGHT_PORT": "9000",
        "FEDSIGHT_DATA": "/elsewhere",
        "FEDSIGHT_MAX_BODY_MB": "3",
    }
    settings = serve_settings(tmp_path, port=0, environ=environ)
    assert (settings.folder, settings.host, settings.port, settings.max_body_mb) == (tmp_path, "0.0.0.0", 0, 3)
    assert not settings.on_loopback


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("FEDSIGHT_PORT", "70000", "0 to 65535"),
        ("FEDSIGHT_PORT", "http", "0 to 65535"),
        ("FEDSIGHT_MAX_BODY_MB", "0", "1 to 1024"),
        ("FEDSIGHT_MEMORY_LIMIT_MB", "-5", "64 to"),
        ("FEDSIGHT_OPEN_READS", "yes", "0 or 1"),
    ],
)
def test_a_wrong_value_is_refused_naming_variable_value_and_what_is_allowed(
    variable: str, value: str, allowed: str
) -> None:
    with pytest.raises(UsageError) as error:
        serve_settings(environ={variable: value})
    assert error.value.field == variable
    for part in (variable, repr(value), allowed):
        assert part in str(error.value)


def test_view_on_the_network_needs_a_tokens_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="FEDSIGHT_TOKENS"):
        view_settings(tmp_path, host="0.0.0.0", environ={})
    assert view_settings(tmp_path, host="0.0.0.0", environ={"FEDSIGHT_TOKENS": "t.json"}).tokens == Path("t.json")


def test_the_index_of_a_view_lies_in_the_cache_one_for_each_folder(tmp_path: Path) -> None:
    environ = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    a, b = view_index(tmp_path / "a", environ), view_index(tmp_path / "b", environ)
    assert a.parent == b.parent == tmp_path / "cache" / "fedsight" / "view"
    assert a != b


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("localhost", True),
        ("[::1]", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("10.0.0.3", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
        ("", False),
    ],
)
def test_what_means_this_machine_alone(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback

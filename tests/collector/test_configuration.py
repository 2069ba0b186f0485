"""Flags over environment over .env over a TOML file over defaults; what can't be meant is refused by name."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import fedsight.collector.settings as settings_module
from fedsight.collector.configuration import Configuration, read_configuration, read_dotenv, settings_of, shown
from fedsight.collector.options import OPTIONS
from fedsight.collector.settings import Settings
from fedsight.collector.sources.config import build, masked_url
from fedsight.errors import UsageError

TEXT_VARIABLES = [
    "COLLECTOR_PORT",
    "COLLECTION_INTERVAL",
    "INFLUXDB_HOST",
    "INFLUXDB_PORT",
    "REDIS_HOST",
    "REDIS_PORT",
    "FL_SERVER_URL",
    "POLICY_ENGINE_URL",
    "SDN_CONTROLLER_URL",
    "LOG_LEVEL",
    "ENABLE_ANOMALY_DETECTION",
    "EXPORT_RETENTION_DAYS",
    "NETWORK_MONITOR_ENABLED",
    "FL_SERVER_HOST",
    "FL_SERVER_PORT",
    "POLICY_ENGINE_HOST",
    "POLICY_ENGINE_PORT",
]


def read(
    folder: Path, toml: str = "", dotenv: str = "", flags: dict[str, str | None] | None = None, **environ: str
) -> Configuration:
    if toml:
        (folder / "fedsight.toml").write_text(toml)
    if dotenv:
        (folder / ".env").write_text(dotenv)
    return read_configuration(None, flags, environ=environ, folder=folder)


def value(configuration: Configuration, key: str) -> tuple[object, str]:
    [found] = [value for value in configuration.values if value.key == key]
    return found.value, found.origin


# ── who wins ──────────────────────────────────────────────────────────────────────────────────


def test_flags_win_over_the_environment_over_dotenv_over_the_file_over_defaults(tmp_path: Path) -> None:
    toml, dotenv = "port = 1001\n", "COLLECTOR_PORT=1002\n"
    steps = [
        (read(tmp_path), "8083", "default"),
        (read(tmp_path, toml), "1001", str(tmp_path / "fedsight.toml")),
        (read(tmp_path, toml, dotenv), "1002", "COLLECTOR_PORT, .env"),
        (read(tmp_path, toml, dotenv, COLLECTOR_PORT="1003"), "1003", "COLLECTOR_PORT, environment"),
        (read(tmp_path, COLLECTOR_PORT="1003", FEDSIGHT_PORT="1004"), "1004", "FEDSIGHT_PORT, environment"),
        (read(tmp_path, flags={"port": "1005"}, COLLECTOR_PORT="1003"), "1005", "--port"),
    ]
    for configuration, port, origin in steps:
        assert value(configuration, "port") == (port, origin)
        assert settings_of(configuration).port == int(port)


def test_an_empty_variable_says_nothing(tmp_path: Path) -> None:
    assert settings_of(read(tmp_path, COLLECTOR_PORT="", FL_SERVER_URL="")).port == 8083


def test_the_files_tables_are_variables_written_elsewhere(tmp_path: Path) -> None:
    settings = settings_of(
        read(tmp_path, "open_reads = false\ncollection_interval_sec = 2.5\n[redis]\nhost = 'cache'\nport = 7000\n")
    )
    assert settings.redis == "redis://cache:7000/0"
    assert settings.open_reads is False
    assert settings.collection_interval_sec == 2.5


def test_another_file_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("port = 7")
    named = str(tmp_path / "other.toml")
    assert settings_of(read(tmp_path, "port = 6", FEDSIGHT_CONFIG=named)).port == 7
    with pytest.raises(UsageError, match="no-such"):
        read(tmp_path, FEDSIGHT_CONFIG="no-such.toml")


def test_dotenv_lines(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "# comment\n\nA=1\nexport B = two words # comment\nC='x # y'\nD=\"q\" # z\nEMPTY=\nE=a#b\nALONE\n"
    )
    assert read_dotenv(tmp_path / ".env") == {"A": "1", "B": "two words", "C": "x # y", "D": "q", "E": "a#b"}
    (tmp_path / ".env").write_text("A=1\nnot a variable\n")
    with pytest.raises(UsageError, match="line 2"):
        read_dotenv(tmp_path / ".env")


# ── what is refused ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("variable", "text", "allowed"),
    [
        ("COLLECTOR_PORT", "70000", "0 to 65535"),
        ("COLLECTION_INTERVAL", "soon", "0.01 to 86400"),
        ("COLLECTION_INTERVAL", "nan", "0.01 to 86400"),
        ("LOG_LEVEL", "loud", "debug, info, warning"),
        ("REDIS_PORT", "0", "1 to 65535"),
        ("ENABLE_ANOMALY_DETECTION", "perhaps", "true, false"),
        ("EXPORT_RETENTION_DAYS", "-1", "0 to 36500"),
        ("FEDSIGHT_MEMORY_LIMIT_MB", "6", "64 to"),
    ],
)
def test_a_wrong_value_is_refused_naming_variable_value_and_what_is_allowed(
    tmp_path: Path, variable: str, text: str, allowed: str
) -> None:
    for given in ({"environ": True}, {"environ": False}):
        with pytest.raises(UsageError) as error:
            read(tmp_path, **{variable: text}) if given["environ"] else read(tmp_path, dotenv=f"{variable}={text}")
        assert all(part in str(error.value) for part in (variable, repr(text), allowed))


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("prot = 1", "'prot' (did you mean 'port'?)"),
        ("[redis]\nhots = 'x'", "'redis.hots' (did you mean 'redis.host'?)"),
        ("[zzz]\nx = 1", "'zzz'"),
        ("port = [1]", "port is [1]"),
        ("port = true", "port is true"),
        ("[[source]]\nkind = ['policy']\nurl = 'http://x'", "kind is ['policy']"),
        ("port = 'x", "is no TOML"),
        ("source = 3", "[[source]]"),
        ("[[source]]\nkind = 'fl_sever'\nurl = 'x'", "'fl_sever' (did you mean 'fl_server'?); allowed: "),
        ("[[source]]\nkind = 'policy'\nulr = 'x'", "'ulr' (did you mean 'url'?)"),
        ("[[source]]\nkind = 'policy'", "url"),
        ("[[source]]\nkind = 'policy'\nurl = 5", "url (5): Expected `str`"),
        (
            "[[source]]\nkind = 'policy'\nurl = 'http://x'\ninterval_sec = 5\ntimeout_sec = 5",
            "it must be below interval_sec",
        ),
        ("[[source]]\nkind = 'policy'\nurl = 'http://x'\ninterval_sec = nan", "interval_sec is nan; allowed: 0.01"),
        ("[[source]]\nkind = 'policy'\nurl = 'http://x'\ntoken = 5", "token (it is hidden)"),
        ("[[source]]\nkind = 'policy'\nurl = 'http://x'\ntoken = 'env:NO_SUCH'", "the environment has no NO_SUCH"),
        (2 * "[[source]]\nkind = 'policy'\nurl = 'http://x'\n", "two sources are named 'policy'"),
        ("[[source]]\nkind = 'policy'\nurl = 'http://x'\nname = 'a/b'", "name is 'a/b'"),
    ],
)
def test_what_is_wrong_in_the_file_is_named_with_the_nearest_that_is_right(
    tmp_path: Path, toml: str, said: str
) -> None:
    with pytest.raises(UsageError) as error:
        settings_of(read(tmp_path, toml))
    assert said in str(error.value)


def test_a_misspelt_variable_is_said(tmp_path: Path) -> None:
    assert read(tmp_path, FEDSIGHT_PROT="1", FEDSIGHT_TOKEN="t", OTHER="x").notes == [
        "FEDSIGHT_PROT is not known; did you mean FEDSIGHT_PORT?"
    ]


# ── sources ───────────────────────────────────────────────────────────────────────────────────


def test_every_variable_of_the_text_is_known() -> None:
    known = {variable for option in OPTIONS for variable in option.variables}
    assert known.issuperset(TEXT_VARIABLES)


def test_everything_that_the_settings_hold_can_be_set_in_the_file() -> None:
    keys = {option.key.replace(".", "_") for option in OPTIONS}
    elsewhere = {"mode", "folder", "index", "tls", "source_tables", "variables", "in_force"}
    assert set(Settings.__struct_fields__) - elsewhere <= keys
    known = {variable for option in OPTIONS for variable in option.variables}
    assert set(re.findall(r'"(FEDSIGHT_[A-Z_]+)"', Path(settings_module.__file__).read_text())) <= known


def test_defaults_that_are_shown_are_those_in_force(tmp_path: Path) -> None:
    settings = settings_of(read(tmp_path))
    for value in read(tmp_path).values:
        held = getattr(settings, value.key.replace(".", "_"), None)
        if value.value and held is not None:
            assert str(int(held) if isinstance(held, (bool, float)) else held) == value.value, value.key


def test_a_list_in_the_file(tmp_path: Path) -> None:
    settings = settings_of(read(tmp_path, "cors_origins = ['https://a.example', 'https://b.example']"))
    assert settings.cors_origins == ("https://a.example", "https://b.example")


def test_variables_of_the_text_name_sources_by_url_or_host(tmp_path: Path) -> None:
    configuration = read(
        tmp_path,
        FL_SERVER_URL="http://fl:8080",
        POLICY_ENGINE_HOST="pe",
        SDN_CONTROLLER_HOST="::1",
        SDN_CONTROLLER_PORT="8282",
        FL_SERVER_HOST="ignored-beside-a-url",
        COLLECTION_INTERVAL="2",
    )
    assert [(t["kind"], t["name"], t["url"]) for t in configuration.tables] == [
        ("fl_server", "fl-server", "http://fl:8080"),
        ("policy", "policy-engine", "http://pe:5000"),
        ("onos", "sdn-controller", "http://[::1]:8282"),
    ]
    [fl, *_] = build(configuration.tables, interval_sec=settings_of(configuration).collection_interval_sec)
    assert (fl.source.config.interval_sec, fl.source.config.timeout_sec) == (2.0, 1.6)
    off = read(tmp_path, SDN_CONTROLLER_HOST="sdn", NETWORK_MONITOR_ENABLED="false")
    assert off.tables == []


def test_without_any_variable_there_is_no_source(tmp_path: Path) -> None:
    assert read(tmp_path).tables == []


def test_a_secret_may_stand_in_the_environment(tmp_path: Path) -> None:
    toml = "[[source]]\nkind = 'policy'\nurl = 'http://pe'\ntoken = 'env:PE_TOKEN'\nusername = 'me'\n"
    configuration = read(tmp_path, toml, dotenv="PE_TOKEN=s3cret\n")
    settings = settings_of(configuration)
    [source] = build(settings.source_tables, environ=settings.variables)
    assert (source.access.token, source.access.username) == ("s3cret", "me")
    assert 'token = "env:PE_TOKEN"' in shown(configuration)
    assert "s3cret" not in shown(configuration)


# ── showing it ────────────────────────────────────────────────────────────────────────────────


def test_secrets_are_masked(tmp_path: Path) -> None:
    toml = """
    [influxdb]
    password = "hunter1"
    url = "http://me:hunter2@db:8086/?token=hunter3"
    [[source]]
    kind = "policy"
    url = "http://me:hunter4@pe"
    password = "hunter5"
    """
    text = shown(read(tmp_path, toml, REDIS_PASSWORD="hunter6"))
    assert "hunter" not in text
    assert "hunter" not in shown(read(tmp_path, REDIS_URL=":hunter7@cache:6379"))
    assert shown(read(tmp_path, FEDSIGHT_TOKENS="/etc/tokens.json")).count("/etc/tokens.json") == 1
    assert 'redis.password           = "***"' in text
    assert "http://***@db:8086/?token=***" in text


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("http://a:1/x", "http://a:1/x"),
        ("http://u:p@a", "http://***@a"),
        ("http://u@[::1]:80/?k=v&w=1", "http://***@[::1]:80/?k=***&w=***"),
        ("http://u:p@a:port/", "http://***"),
        ("u:p@a:6379/0", "***@a:6379/0"),
    ],
)
def test_a_url_is_shown_without_who_opens_it(url: str, safe: str) -> None:
    assert masked_url(url) == safe


def test_print_config_says_each_value_and_where_it_comes_from(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text("max_body_mb = 9\n")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from fedsight.cli import main; main()",
            "serve",
            "--config",
            "my.toml",
            "--print-config",
        ],
        cwd=tmp_path,
        env={"LOG_LEVEL": "INFO", "EXPORT_RETENTION_DAYS": "7", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    lines = {line.partition("=")[0].strip(): line for line in done.stdout.splitlines()}
    assert re.search(r'"9"\s+# my.toml', lines["max_body_mb"])
    assert re.search(r'"info"\s+# LOG_LEVEL, environment', lines["log_level"])
    assert re.search(r'"8083"\s+# default', lines["port"])
    assert "does nothing" in lines["export_retention_days"]
    # Nothing was started.
    assert [path.name for path in tmp_path.iterdir()] == ["my.toml"]

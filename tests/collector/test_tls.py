"""A collector that speaks HTTPS: with a CA of one's own, and what it says of files that can't be meant."""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from collector.harness import Collector, until
from fedsight.collector.configuration import read_configuration, settings_of
from fedsight.collector.settings import serve_settings
from fedsight.errors import UsageError

SHIP = """
import fedsight
from fedsight.emitters import CollectorEmitter
run = fedsight.init(run_id="over-tls", runs_dir="runs", emitters=[CollectorEmitter()])
run.log_round(0, global_accuracy=0.5)
run.finish()
"""


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a CA (ca.pem), a certificate by it for 127.0.0.1 (cert.pem, key.pem), and keys that don't fit."""
    folder = tmp_path_factory.mktemp("pki")
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(
        folder, "req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Site CA", "-days", "2"
    )
    openssl(folder, "req", *new_key, "-keyout", "key.pem", "-out", "csr.pem", "-subj", "/CN=collector")
    (folder / "san.cnf").write_text("subjectAltName=IP:127.0.0.1\n")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "san.cnf")
    openssl(folder, "x509", "-req", "-in", "csr.pem", *signed, "-out", "cert.pem")
    openssl(folder, "ec", "-in", "key.pem", "-aes256", "-passout", "pass:secret", "-out", "locked.pem")
    (folder / "empty.pem").write_text("")
    return folder


class HttpsCollector(Collector):
    """`fedsight serve` with the certificate of `pki`."""

    def __init__(self, folder: Path, pki: Path) -> None:
        super().__init__(folder, "--tls-cert", str(pki / "cert.pem"), "--tls-key", str(pki / "key.pem"))

    @property
    def url(self) -> str:
        def found() -> re.Match[str] | None:
            assert self.process.poll() is None, self.output
            return re.search(r"https://\S+:\d+", self.output)

        match: re.Match[str] = until(found, "its address")
        return match.group()


def test_a_browser_that_trusts_the_ca_reads_and_one_that_does_not_is_refused(tmp_path: Path, pki: Path) -> None:
    trusted = ssl.create_default_context(cafile=str(pki / "ca.pem"))
    with HttpsCollector(tmp_path, pki) as collector:
        assert httpx.get(f"{collector.url}/api/v1/status", verify=trusted).json()["name"] == "fedsight"
        login = httpx.post(f"{collector.url}/api/v1/login", json={"token": collector.admin}, verify=trusted)
        assert "secure" in login.headers["set-cookie"].lower()
        with connect(f"{collector.url.replace('https', 'wss')}/ws/metrics", ssl=trusted) as stream:
            assert '"type"' in str(stream.recv(timeout=20))
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"{collector.url}/api/v1/status")
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"{collector.url.replace('https', 'http')}/api/v1/status", timeout=5)


def test_an_emitter_ships_to_it_once_ssl_cert_file_names_the_ca(tmp_path: Path, pki: Path) -> None:
    with HttpsCollector(tmp_path, pki) as collector:
        environ = {**os.environ, "FEDSIGHT_COLLECTOR": collector.url, "FEDSIGHT_TOKEN": collector.token("producer")}
        command = [sys.executable, "-c", SHIP]
        environ["SSL_CERT_FILE"] = str(pki / "ca.pem")
        done = subprocess.run(
            command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        trusted = ssl.create_default_context(cafile=str(pki / "ca.pem"))

        def arrived() -> bool:
            return httpx.get(f"{collector.url}/api/v1/runs/over-tls", verify=trusted).status_code == 200

        until(arrived, f"the run: {done.stderr}")


def test_the_images_healthcheck_speaks_tls_where_the_collector_does(tmp_path: Path, pki: Path) -> None:
    with HttpsCollector(tmp_path, pki) as collector:
        port = collector.url.rpartition(":")[2]
        environ = {**os.environ, "FEDSIGHT_PORT": port, "FEDSIGHT_TLS_CERT": str(pki / "cert.pem")}
        command = [sys.executable, str(Path(__file__).parents[2] / "deploy" / "healthcheck.py")]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("cert", "key", "said"),
    [
        ("cert.pem", "", "FEDSIGHT_TLS_CERT is set without FEDSIGHT_TLS_KEY"),
        ("", "key.pem", "FEDSIGHT_TLS_KEY is set without FEDSIGHT_TLS_CERT"),
        ("nowhere.pem", "key.pem", "FEDSIGHT_TLS_CERT: .*nowhere.pem can't be read: No such file"),
        ("cert.pem", "nowhere.pem", "FEDSIGHT_TLS_KEY: .*nowhere.pem can't be read: No such file"),
        ("cert.pem", ".", "FEDSIGHT_TLS_KEY: .* can't be read: Is a directory"),
        ("empty.pem", "key.pem", "FEDSIGHT_TLS_CERT: .*empty.pem holds no certificate in PEM form"),
        ("key.pem", "key.pem", "FEDSIGHT_TLS_CERT: .*key.pem holds no certificate in PEM form"),
        ("cert.pem", "empty.pem", "FEDSIGHT_TLS_KEY: .*empty.pem holds no key in PEM form"),
        ("cert.pem", "ca.key", "FEDSIGHT_TLS_KEY: .*ca.key is not the key of the certificate .*cert.pem"),
        ("cert.pem", "locked.pem", "FEDSIGHT_TLS_KEY: .*locked.pem has a password"),
    ],
)
def test_files_that_can_not_serve_are_refused_by_name(
    tmp_path: Path, pki: Path, cert: str, key: str, said: str
) -> None:
    environ = {name: str(pki / file) for name, file in (("FEDSIGHT_TLS_CERT", cert), ("FEDSIGHT_TLS_KEY", key)) if file}
    with pytest.raises(UsageError, match=said):
        serve_settings(tmp_path, environ=environ)


def test_a_flag_wins_over_the_environment_and_every_setting_is_listed_once(tmp_path: Path, pki: Path) -> None:
    flags = {"tls.cert": str(pki / "cert.pem"), "tls.key": str(pki / "key.pem")}
    environ = {"FEDSIGHT_TLS_CERT": str(pki / "ca.pem"), "FEDSIGHT_TLS_KEY": str(pki / "ca.key")}
    configuration = read_configuration(None, flags, environ=environ, folder=tmp_path)
    tls = settings_of(configuration).tls
    assert tls is not None
    assert tls.cert == pki / "cert.pem"
    assert configuration.origin("tls.cert") == "--tls-cert"
    keys = [value.key for value in configuration.values]
    assert len(keys) == len(set(keys))


def test_the_command_says_so_in_one_line_and_starts_nothing(tmp_path: Path, pki: Path) -> None:
    arguments = ("serve", "--data", "data", "--tls-cert", str(pki / "cert.pem"), "--tls-key", str(pki / "ca.key"))
    done = subprocess.run(
        [sys.executable, "-c", "from fedsight.cli import main; main()", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "is not the key of the certificate" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()

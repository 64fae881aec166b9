"""Settings of pip and uv, each passed on to the other."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from infra.setup.indexes import find_links, local_folders, pip_environment, pip_settings, uv_environment


@pytest.fixture
def clean(tmp_path: Path) -> dict[str, str]:
    """An environment in which pip reads one configuration file alone."""
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://user:secret@a.example/simple\nextra-index-url = https://b.example/simple\n"
        "    https://c.example/simple\n[install]\nindex-url = https://user:other@d.example/simple\n"
    )
    return {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path)}


def test_pips_files_and_variables_are_read_as_pip_does(clean: dict[str, str]) -> None:
    settings = pip_settings(sys.executable, clean | {"PIP_CERT": "/etc/ca.pem"})
    assert settings["index-url"] == "https://user:other@d.example/simple", "install goes before global"
    assert settings["cert"] == "/etc/ca.pem"
    assert settings["extra-index-url"].split() == ["https://b.example/simple", "https://c.example/simple"]
    settings = pip_settings(sys.executable, clean | {"PIP_INDEX_URL": "https://e.example/simple"})
    assert settings["index-url"] == "https://e.example/simple", "a variable goes before every file"


def test_uv_is_told_what_pip_is_told(capfd: pytest.CaptureFixture[str], clean: dict[str, str]) -> None:
    environ = uv_environment(
        {
            "index-url": "https://user:secret@a.example/simple",
            "extra-index-url": "https://b.example/simple\nhttps://c.example/simple",
            "find-links": "/wheels /more",
            "cert": "/etc/ca.pem",
            "no-index": "true",
            "default-timeout": "180",
        },
        {"UV_FIND_LINKS": "/own,/more", "PATH": "/bin"},
    )
    assert environ == {
        "PATH": "/bin",
        "UV_DEFAULT_INDEX": "https://user:secret@a.example/simple",
        "UV_INDEX": "https://b.example/simple https://c.example/simple",
        "UV_FIND_LINKS": "/wheels,/more,/own",
        "SSL_CERT_FILE": "/etc/ca.pem",
        "UV_NO_INDEX": "1",
        "UV_HTTP_TIMEOUT": "180",
    }
    pip_settings(sys.executable, clean)
    assert "secret" not in "".join(capfd.readouterr()), "credentials are not shown"


@pytest.mark.parametrize("own", ["UV_DEFAULT_INDEX", "UV_INDEX_URL"])
def test_what_uv_is_told_itself_stays(own: str) -> None:
    made = uv_environment({"index-url": "https://a.example", "no-index": "0"}, {own: "https://b.example"})
    assert made == {own: "https://b.example"}


def test_pip_is_told_what_only_uv_is_told() -> None:
    environ = {"UV_INDEX_URL": "https://a.example", "UV_FIND_LINKS": "/own"}
    assert pip_environment({"find-links": "/wheels"}, environ) == environ | {
        "PIP_INDEX_URL": "https://a.example",
        "PIP_FIND_LINKS": "/wheels /own",
    }
    assert pip_environment({"index-url": "https://b.example"}, {"UV_INDEX_URL": "https://a.example"}) == {
        "UV_INDEX_URL": "https://a.example"
    }


def test_only_folders_of_this_machine_are_looked_into(tmp_path: Path) -> None:
    folder = tmp_path / "my wheels"
    folder.mkdir()
    links = find_links({"find-links": f"{folder.as_uri()} https://a.example/wheels.html /absent"}, {})
    assert local_folders(links) == [folder]

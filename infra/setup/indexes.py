"""Package index settings: translates pip's settings for uv, and uv's for pip.

uv reads neither pip's variables (PIP_INDEX_URL, PIP_FIND_LINKS, ...) nor its configuration files. Values may contain
credentials, so they are passed in the environment of a child process and never printed.
"""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

# pip's sections, least important first.
_SECTIONS = ("global", "install", ":env:")
# pip's option → uv's variable, followed by other variables of uv with the same effect.
_TO_UV = {
    "index-url": ("UV_DEFAULT_INDEX", "UV_INDEX_URL"),
    "extra-index-url": ("UV_INDEX", "UV_EXTRA_INDEX_URL"),
    "no-index": ("UV_NO_INDEX",),
    "trusted-host": ("UV_INSECURE_HOST",),
    "default-timeout": ("UV_HTTP_TIMEOUT",),
    "timeout": ("UV_HTTP_TIMEOUT",),
    "cert": ("SSL_CERT_FILE",),
    "proxy": ("ALL_PROXY", "HTTPS_PROXY"),
}


def pip_settings(python: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Option → value of pip's variables and configuration files, as ``pip config list`` reports them.

    Raises CalledProcessError when pip rejects its configuration.
    """
    command = [python, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    listed = subprocess.run(command, env=dict(environ), stdout=subprocess.PIPE, text=True, check=True).stdout
    found: dict[str, dict[str, str]] = {section: {} for section in _SECTIONS}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        section, _, option = name.rpartition(".")
        if section in found:
            found[section][option] = ast.literal_eval(value)
    return {option: value for section in _SECTIONS for option, value in found[section].items()}


def uv_environment(settings: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` with pip's `settings` as uv's variables; existing variables of uv take precedence."""
    made = dict(environ)
    for option, variables in _TO_UV.items():
        value = settings.get(option, "").strip()
        if option == "no-index" and value.lower() in ("0", "false", "no", "off"):
            continue
        if value and not any(made.get(variable) for variable in variables):
            made[variables[0]] = "1" if option == "no-index" else " ".join(value.split())
    links = find_links(settings, environ)
    if links:
        made["UV_FIND_LINKS"] = ",".join(links)
    return made


def pip_environment(settings: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` with uv's index and wheel folders as pip's variables; existing settings of pip take precedence."""
    made = dict(environ)
    for option, variables in (("index-url", _TO_UV["index-url"]), ("extra-index-url", _TO_UV["extra-index-url"])):
        given = next((environ[variable] for variable in variables if environ.get(variable)), "")
        if given and option not in settings:
            made[f"PIP_{option.upper().replace('-', '_')}"] = given
    links = find_links(settings, environ)
    if links:
        made["PIP_FIND_LINKS"] = " ".join(links)
    return made


def find_links(settings: Mapping[str, str], environ: Mapping[str, str]) -> list[str]:
    """Locations of wheels in addition to the index: pip's, then those that only uv's variable names."""
    given = [*settings.get("find-links", "").split(), *environ.get("UV_FIND_LINKS", "").replace(",", " ").split()]
    return list(dict.fromkeys(given))


def local_folders(links: list[str]) -> list[Path]:
    """The locations that are folders on this machine."""
    paths = [Path(unquote(urlsplit(link).path)) if link.startswith("file:") else Path(link) for link in links]
    return [path for path in paths if path.is_dir()]

"""The configuration, read once from the environment (prefix `LOCUTUS_`), a `.env` file, or `NAME_FILE` for secrets.

No other module looks at the environment for its settings.
"""

import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.sources import EnvSettingsSource
from redis.asyncio import ConnectionPool

from jobs.field_errors import reason

MINIMUM_SECRET_LENGTH = 32
MINIMUM_ADMIN_TOKEN_LENGTH = 8
INSTALL_PACKAGE = Path("/usr/local/lib/locutus/install-package")
"""Where deploy/sudoers expects it: a copy that root alone can change."""
HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
WEB_ADDRESS = re.compile(r"https?://([\w-]+(\.[\w-]+)*\.?|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?(/[^\s?#]*)?", re.IGNORECASE)
LOCAL_TIME = Path("/etc/localtime")
_UTC = {"Etc/UTC", "Etc/UCT", "Etc/Universal", "Etc/Zulu", "UCT", "Universal", "Zulu"}
DURATION_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}


class SettingsError(Exception):
    """A setting has a bad value; its text is the one clear line to print before exit 2."""


def parse_duration(value: Any) -> Any:
    """`1s`, `250ms`, `24h`, `7d` or a number of seconds, as a timedelta; anything else is left to pydantic."""
    text = str(value).strip()
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h|d)?", text)
    return timedelta(seconds=float(match[1]) * DURATION_UNITS[match[2] or "s"]) if match else value


def whole_seconds(value: Any) -> Any:
    """The same in whole seconds; anything else is left to pydantic."""
    duration = parse_duration(value)
    return round(duration.total_seconds()) if isinstance(duration, timedelta) else value


def machine_zone() -> str:
    """The IANA zone that this machine's clocks show: `TZ`, else `/etc/localtime` (localtime(5)), else UTC."""
    name = os.environ.get("TZ", "").removeprefix(":") or str(LOCAL_TIME.resolve()).partition("/zoneinfo/")[2]
    try:
        key = ZoneInfo(name).key
    except (ValueError, OSError, KeyError):
        return "UTC"
    return "UTC" if key in _UTC else key


def _web_address(value: str) -> str:
    if value and not (WEB_ADDRESS.fullmatch(value) and _has_valid_port(value)):
        raise ValueError("give an address such as https://locutus.example.org")
    return value


def _has_valid_port(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def _is_redis(url: str) -> bool:
    try:
        pool = ConnectionPool.from_url(url)
        pool.connection_class(**pool.connection_kwargs)  # connects nowhere yet, and refuses unknown options
    except (TypeError, ValueError):
        return False
    return bool(urlsplit(url).path) or not url.startswith("unix:")


def _header_text(value: SecretStr | None) -> SecretStr | None:
    """What goes into an HTTP header: visible ASCII (RFC 9110, 5.5)."""
    if value and not re.fullmatch(r"[!-~]+", value.get_secret_value()):
        raise ValueError("use printable ASCII characters without spaces or line breaks")
    return value


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
Token = Annotated[SecretStr | None, AfterValidator(_header_text)]


class SecretFileSource(EnvSettingsSource):
    """Reads a secret from the file that `NAME_FILE` names, as container platforms mount them.

    The addresses of database and Redis count as secrets: a password may stand in them.
    """

    def __init__(self, settings_cls: type[BaseSettings], dotenv: Mapping[str, str | None]) -> None:
        super().__init__(settings_cls)
        self._named = {**dotenv, **self.env_vars}

    def __call__(self) -> dict[str, Any]:
        values = {}
        for name, field in self.settings_cls.model_fields.items():
            if "Secret" not in str(field.annotation) and field.repr:
                continue
            for variable in _variables(name, field.validation_alias):
                if path := self._named.get(f"{variable}_file".lower()):
                    values[variable] = _read_secret(variable, path)
        return values


def _variables(name: str, alias: Any) -> list[str]:
    return [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [f"LOCUTUS_{name}".upper()]


def _read_secret(variable: str, path: str) -> str:
    try:
        secret = Path(path).read_text().strip()
    except OSError as error:
        raise SettingsError(f"{variable}_FILE: {path} can't be read ({error.strerror}).") from error
    except UnicodeDecodeError:
        raise SettingsError(f"{variable}_FILE: {path} is not a text.") from None
    if not secret:
        raise SettingsError(f"{variable}_FILE: {path} is empty.")
    return secret


def _own(name: str) -> AliasChoices:
    return AliasChoices(f"LOCUTUS_{name}")


def _platform(name: str) -> AliasChoices:
    return AliasChoices(name)


def default_data_directory() -> Path:
    """`/var/lib/locutus` for root, else `$XDG_DATA_HOME/locutus`."""
    if os.geteuid() == 0 and "XDG_DATA_HOME" not in os.environ:
        return Path("/var/lib/locutus")
    return Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local/share")) / "locutus"


class Settings(BaseSettings):
    """Every setting of Locutus; `docs/configuration.md` lists them with their defaults."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True, populate_by_name=True
    )

    data_dir: Path = Field(default_factory=default_data_directory, validation_alias=_own("DATA_DIR"))
    database_url_setting: str = Field("", validation_alias=_own("DATABASE_URL"), repr=False)
    redis_url: str = Field("", validation_alias=_own("REDIS_URL"), repr=False)
    host: str = Field(default_factory=socket.gethostname, validation_alias=_own("HOST"), min_length=1, max_length=255)
    bind: str = Field("127.0.0.1:8484", validation_alias=_own("BIND"))
    public_url: WebAddress = Field("", validation_alias=_own("PUBLIC_URL"))
    trusted_proxies: str = Field("", validation_alias=_own("TRUSTED_PROXIES"))
    secret_key: SecretStr | None = Field(None, validation_alias=_own("SECRET_KEY"))
    admin_token: Token = Field(None, validation_alias=_own("ADMIN_TOKEN"))
    max_jobs: int = Field(4, ge=1, le=1000, validation_alias=_own("MAX_JOBS"))
    progress_interval: Duration = Field(
        timedelta(seconds=1), ge=timedelta(milliseconds=50), validation_alias=_own("PROGRESS_INTERVAL")
    )
    host_lost_after: Duration = Field(
        timedelta(hours=24), ge=timedelta(seconds=1), validation_alias=_own("HOST_LOST_AFTER")
    )
    borg: str = Field("borg", validation_alias=_own("BORG"))
    install_package: Path = Field(INSTALL_PACKAGE, validation_alias=_own("INSTALL_PACKAGE"))
    url: WebAddress = Field("", validation_alias=_own("URL"))
    token: Token = Field(None, validation_alias=_own("TOKEN"))
    allow_private_webhook_targets: bool = Field(False, validation_alias=_own("ALLOW_PRIVATE_WEBHOOK_TARGETS"))
    slack_bot_token: Token = Field(None, validation_alias=_platform("SLACK_BOT_TOKEN"))
    slack_signing_secret: SecretStr | None = Field(None, validation_alias=_platform("SLACK_SIGNING_SECRET"))
    slack_app_token: SecretStr | None = Field(None, validation_alias=_platform("SLACK_APP_TOKEN"))
    slack_teams: str = Field("", validation_alias=_own("SLACK_TEAMS"), pattern=r"^[A-Z0-9, ]*$")
    discord_token: Token = Field(None, validation_alias=_platform("DISCORD_TOKEN"))
    discord_public_key: str = Field("", validation_alias=_platform("DISCORD_PUBLIC_KEY"))
    discord_application_id: str = Field("", validation_alias=_platform("DISCORD_APPLICATION_ID"))
    discord_api_url: WebAddress = Field("https://discord.com/api/v10", validation_alias=_own("DISCORD_API_URL"))
    slack_api_url: WebAddress = Field("https://slack.com/api/", validation_alias=_own("SLACK_API_URL"))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment, `NAME_FILE`, and `.env`."""
        del file_secret_settings
        dotenv = dotenv_settings.env_vars if isinstance(dotenv_settings, EnvSettingsSource) else {}
        return init_settings, env_settings, SecretFileSource(settings_cls, dotenv), dotenv_settings

    @field_validator("secret_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value and any(len(key.strip()) < MINIMUM_SECRET_LENGTH for key in value.get_secret_value().split(",")):
            raise ValueError(f"each key needs at least {MINIMUM_SECRET_LENGTH} characters")
        return value

    @field_validator("admin_token")
    @classmethod
    def _hard_to_guess(cls, value: SecretStr | None) -> SecretStr | None:
        if value and len(value.get_secret_value()) < MINIMUM_ADMIN_TOKEN_LENGTH:
            raise ValueError(f"it needs at least {MINIMUM_ADMIN_TOKEN_LENGTH} characters")
        return value

    @field_validator("host")
    @classmethod
    def _host_name(cls, value: str) -> str:
        if not HOST_NAME.fullmatch(value):
            raise ValueError("use letters, digits, '.', '_' and '-', with a letter or a digit first")
        return value

    @field_validator("bind")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65_535:
            raise ValueError("give an address and a port, such as 127.0.0.1:8484")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: str) -> str:
        try:
            _networks_in(value)
        except ValueError:
            raise ValueError("give addresses or networks with commas between, such as 10.0.0.5,192.0.2.0/24") from None
        return value

    @field_validator("database_url_setting")
    @classmethod
    def _known_database(cls, value: str) -> str:
        if value and value.partition("://")[0] not in {"sqlite", "postgres", "postgresql"}:
            raise ValueError("a database URL starts with sqlite:// or postgres://")
        if value.partition("://")[::2] == ("sqlite", ""):
            raise ValueError("name the file, such as sqlite:///var/lib/locutus/locutus.db")
        if not value.startswith("sqlite:") and not _has_valid_port(value):
            raise ValueError("give postgres://user:password@host:5432/name, with signs such as / in it as %2F")
        return value

    @field_validator("redis_url")
    @classmethod
    def _known_redis(cls, value: str) -> str:
        if value and not _is_redis(value):
            raise ValueError("give redis://host:6379/0, rediss://… or unix:///path")
        return value

    @field_validator("discord_public_key")
    @classmethod
    def _ed25519_key(cls, value: str) -> str:
        if value and not re.fullmatch(r"[0-9a-fA-F]{64}", value):
            raise ValueError("copy the 64 hexadecimal digits from the application's General Information page")
        return value

    @field_validator("discord_application_id")
    @classmethod
    def _snowflake(cls, value: str) -> str:
        if value and not re.fullmatch(r"[0-9]{1,20}", value):
            raise ValueError("copy the number from the application's General Information page")
        return value

    @field_validator("slack_api_url")
    @classmethod
    def _with_slash(cls, value: str) -> str:
        return value.rstrip("/") + "/"

    @property
    def database_url(self) -> str:
        """The database: `sqlite://DATA_DIR/locutus.db` unless set."""
        return self.database_url_setting or f"sqlite://{self.data_dir.resolve()}/locutus.db"

    @property
    def base_url(self) -> str:
        """Where people and clients reach the gateway, without a slash at the end."""
        return (self.public_url or self.own_url).rstrip("/")

    @property
    def own_url(self) -> str:
        """Where this machine itself reaches its gateway; the loopback address where it listens on every address."""
        host, _, port = self.bind.rpartition(":")
        return f"http://{_reachable(host.strip('[]'))}:{port}"

    @property
    def trusted_networks(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """Where the proxies stand that are believed when they say whose request they pass on."""
        return _networks_in(self.trusted_proxies)

    @property
    def runs(self) -> Path:
        """Where the run directories of this host stand."""
        return self.data_dir / "runs"


def _networks_in(text: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())


def _reachable(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "[::1]"
    return host if address.version == 4 else f"[{host}]"


def load_settings(**overrides: Any) -> Settings:
    """The settings of this process; raises `SettingsError` with one line that names the variable and what is wrong."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise SettingsError(f"{first['loc'][0]}: {reason(first)}") from error

"""Settings of where the service listens, and of who may ask it."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode

from app.addresses import is_local_host, origin_of, prefix_of

_KEY = re.compile(r"[!-~]([ -~]*[!-~])?")  # clients disagree on how a header spells anything else


class AccessSettings(BaseSettings):
    """The part of `app.settings.Settings` that is about addresses, keys, other sites and rates."""

    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Address to listen on; 0.0.0.0 opens it to the network, and :: to IPv6 as well.",
    )
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on.")
    admin_port: int = Field(
        0, ge=0, le=65535, description="Port of its own for probes and metrics; 0 serves them beside the rest."
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Host names to answer to, separated by commas; none: local names if `host` is local, else any.",
    )
    root_path: str = Field("", description="Path under which a proxy serves this, such as /photos; none: its root.")
    read_key: SecretStr | None = Field(None, description="Key to search and look; none: anybody may.")
    write_key: SecretStr | None = Field(None, description="Key to change the gallery; none: nobody may.")
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Origins of other sites' pages that may ask, separated by commas, or *; none: no page may."
    )
    rate_limit_per_minute: int = Field(
        3000, ge=0, description="Requests per minute for each key or address; 0 turns the limit off."
    )
    rate_limit_burst: int = Field(600, ge=1, description="Requests that may come at once within the rate limit.")

    @field_validator("read_key", "write_key")
    @classmethod
    def _no_empty_key(cls, value: SecretStr | None) -> SecretStr | None:
        """Treat an empty variable as no key, since compose writes unset ones so; refuse what no header can carry."""
        if value is None or not value.get_secret_value():
            return None
        if not _KEY.fullmatch(value.get_secret_value()):
            raise ValueError("a key is made of ASCII letters, digits and signs, without blanks around it")
        return value

    @field_validator("allowed_hosts", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value

    @field_validator("root_path")
    @classmethod
    def _plain_path(cls, value: str) -> str:
        return prefix_of(value)

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...], known: ValidationInfo) -> tuple[str, ...]:
        """With `*`, a page that nobody named could use a key, once somebody has typed it in there."""
        if "*" in value and (known.data.get("read_key") or known.data.get("write_key")):
            raise ValueError("a service with a key names its origins one by one, and does not take *")
        return tuple(origin_of(one) for one in value)

    @property
    def is_local(self) -> bool:
        """Whether the service listens to this machine only."""
        return is_local_host(self.host)

"""Which media a server fetches for whoever asks: from public addresses only, unless told otherwise."""

import socket
from functools import cache
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

import aiohttp
from urllib3.util import parse_url
from vllm.connections import HTTPConnection
from vllm.exceptions import VLLMClientError, VLLMUnprocessableEntityError, VLLMValidationError
from vllm.multimodal.media.connector import MEDIA_CONNECTOR_REGISTRY, MediaConnector

__all__ = ["AnyMedia", "PublicConnection", "PublicMedia", "is_public"]

REMEDY = "send the data, or have the server started with --allow-private-media"

_UNICAST = ip_network("2000::/3")
_NAT64 = ip_network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Says whether an address is one of the public internet.

    Those of IPv6 that stand for one of IPv4 are as public as it is; those that lead through a tunnel are not.
    """
    ip = ip_address(address.partition("%")[0])
    if ip.version == 6:
        if ip.ipv4_mapped or ip in _NAT64:
            ip = IPv4Address(int(ip) & 0xFFFFFFFF)
        elif ip not in _UNICAST or ip.sixtofour or ip.teredo:
            return False
    return ip.is_global and not ip.is_multicast


def _public_socket(found: tuple[Any, ...]) -> socket.socket:
    """Opens a socket to what a URL's host has been resolved to, unless that is not public."""
    family, kind, protocol, _, (address, *_) = found
    if not is_public(address):
        raise VLLMValidationError(f"got a URL whose address is not public: {REMEDY}")
    return socket.socket(family, kind, protocol)


async def _refuse_redirects(response: aiohttp.ClientResponse) -> None:
    if 300 <= response.status < 400:
        response.close()
        raise VLLMUnprocessableEntityError(
            f"got a URL that sends on to another (HTTP {response.status}): give that one, or {REMEDY}"
        )


class PublicConnection(HTTPConnection):
    """Looks at each address when it connects to it: however the URL was written, whatever a name server says.

    A proxy would connect in its place, so that none is used.
    """

    _async_client: aiohttp.ClientSession | None

    async def get_async_client(self) -> aiohttp.ClientSession:
        """Returns the client, with which whatever is fetched is fetched."""
        if self._async_client is None:
            # One address after another, since a race of several would hide why one was refused.
            connector = aiohttp.TCPConnector(socket_factory=_public_socket, happy_eyeballs_delay=None)
            self._async_client = aiohttp.ClientSession(
                connector=connector, trust_env=False, raise_for_status=_refuse_redirects
            )
        return self._async_client

    def get_sync_client(self) -> Any:
        """Refuses: this one would connect anywhere, and servers don't use it."""
        raise NotImplementedError("only asynchronous fetching is restricted to public addresses")


_public_connection = cache(PublicConnection)


@MEDIA_CONNECTOR_REGISTRY.register("sharpv-any")
class AnyMedia(MediaConnector):
    """Answers what cannot be read with an error of the client, not of the server."""

    async def load_from_url_async(self, url: str, media_io: Any, **kwargs: Any) -> Any:
        """Fetches and decodes one image or video.

        Raises:
            VLLMClientError: it is not to be had, or cannot be decoded.
        """
        if url[:5].lower() != "data:":
            self._check(url)
        try:
            return await super().load_from_url_async(url, media_io, **kwargs)
        except VLLMClientError:
            raise
        except (aiohttp.ClientError, TimeoutError) as error:
            raise VLLMUnprocessableEntityError(
                f"cannot fetch {_told(url, error)}: see that the server can reach it, or send the data"
            ) from error
        except Exception as error:
            raise VLLMUnprocessableEntityError(
                f"cannot read the media at {_told(url, error)}: send an image or a whole video of a common "
                "format"
            ) from error

    def _check(self, url: str) -> None:
        """Refuses what is no URL that can be fetched, as vLLM reads it."""
        try:
            scheme = parse_url(url).scheme
        except ValueError as error:
            raise VLLMValidationError(f"got {url[:60]!r}, which is no URL ({str(error)[:200]})") from error
        if scheme == "file" and self.allowed_local_media_path is None:
            raise VLLMValidationError(
                "got a file:// URL: the server reads no files of its own; send the data"
            )
        if scheme not in ("http", "https", "file"):
            raise VLLMValidationError(f"got {url[:60]!r}: give an http, https or data URL")


@MEDIA_CONNECTOR_REGISTRY.register("sharpv-public")
class PublicMedia(AnyMedia):
    """Refuses addresses inside the server's own network, which a stranger could otherwise look around in."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.connection = _public_connection()


def _told(url: str, error: Exception) -> str:
    return f"{url[:60]!r} ({type(error).__name__}: {str(error)[:200]})"

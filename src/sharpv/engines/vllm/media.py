"""Which media a server fetches for whoever asks: from public addresses only, unless told otherwise."""

import asyncio
import socket
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from vllm.exceptions import VLLMClientError, VLLMUnprocessableEntityError, VLLMValidationError
from vllm.multimodal.media.connector import MEDIA_CONNECTOR_REGISTRY, MediaConnector

__all__ = ["AnyMedia", "PublicMedia", "private_address"]


def private_address(host: str, port: int | None) -> str | None:
    """Returns an address of a host that is not public, as text, or None where all are.

    A host that cannot be resolved has none; fetching from it fails by itself.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return None
    addresses = {str(entry[4][0]).partition("%")[0] for entry in found}
    return next((address for address in sorted(addresses) if not ip_address(address).is_global), None)


@MEDIA_CONNECTOR_REGISTRY.register("sharpv-any")
class AnyMedia(MediaConnector):
    """Answers what cannot be read with an error of the client, not of the server."""

    async def load_from_url_async(self, url: str, media_io: Any, **kwargs: Any) -> Any:
        """Fetches and decodes one image or video.

        Raises:
            VLLMClientError: it is not to be had, or cannot be decoded.
        """
        if urlsplit(url).scheme == "file" and self.allowed_local_media_path is None:
            raise VLLMValidationError(
                "got a file:// URL: the server reads no files of its own; send the data"
            )
        try:
            return await super().load_from_url_async(url, media_io, **kwargs)
        except VLLMClientError:
            raise
        except Exception as error:
            raise VLLMUnprocessableEntityError(
                f"cannot read the media at {url[:60]!r} ({type(error).__name__}: {str(error)[:200]}): send "
                "an image or a whole video of a common format"
            ) from error


@MEDIA_CONNECTOR_REGISTRY.register("sharpv-public")
class PublicMedia(AnyMedia):
    """Refuses addresses inside the server's own network, which a stranger could otherwise look around in."""

    async def load_from_url_async(self, url: str, media_io: Any, **kwargs: Any) -> Any:
        """Fetches and decodes one image or video from a public address or a `data:` URL.

        Raises:
            VLLMClientError: its address is not public, it is not to be had, or cannot be decoded.
        """
        parts = urlsplit(url)
        if parts.scheme in ("http", "https"):
            host = parts.hostname or ""
            private = await asyncio.get_running_loop().run_in_executor(
                None, private_address, host, parts.port
            )
            if private:
                raise VLLMValidationError(
                    f"got the URL of {host}, whose address {private} is not public: send the data, or have "
                    "the server started with --allow-private-media"
                )
        return await super().load_from_url_async(url, media_io, **kwargs)

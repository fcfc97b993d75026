"""Fetching media by http from public addresses only, at every step of a redirect."""

import http.client
import re
import socket
import urllib.request
from collections.abc import Callable
from email.message import Message
from ipaddress import IPv6Network, ip_address
from typing import IO, Any, BinaryIO, cast
from urllib.parse import urlsplit

from sharpv.errors import InputError

__all__ = ["Unsaved", "check_url", "fetch", "is_public"]

SILENCE_S = 10.0
CHUNK_BYTES = 1 << 18
GLOBAL_UNICAST = IPv6Network("2000::/3")
# Teredo and 6to4, which lead to an address of IPv4 in their digits, perhaps to one inside; documentation.
NOT_TO_BE_REACHED = tuple(map(IPv6Network, ("2001::/32", "2002::/16", "3fff::/20")))
# The first half of an interface id before an address of IPv4 (ISATAP).
ISATAP = (0x00005EFE, 0x02005EFE)
USERINFO = re.compile(r"[^/?#]*//[^/?#]*@")
UNSAYABLE = re.compile(r"[\x00-\x20\x7f]")


class Unsaved(Exception):
    """What was fetched cannot be written to a file: no fault of who sent it."""


def fetch(url: str, file: BinaryIO, most: int, allow_private: bool = False) -> None:
    """Fetches a URL into a file.

    The address that was looked at is the one that is connected to, so a name server that changes its answer
    in between gains nothing. Proxies are not used, since they would do the looking up.

    Args:
        url: http or https.
        file: to write to.
        most: bytes to take.
        allow_private: whether addresses inside the server's own network are fetched from, too.

    Raises:
        InputError: the URL, or one that it redirects to, is not to be had, too large, or not public.
        Unsaved: the file cannot be written.
    """
    check_url(url)
    host = ""
    try:
        host = urlsplit(url).hostname or ""
        request = urllib.request.Request(url, headers={"User-Agent": "sharpv"})
        response = _opener(allow_private).open(request, timeout=SILENCE_S)
        if response is None:  # a redirect to a scheme without a handler, such as ftp
            raise InputError(f"cannot fetch from {host!r}: it leads to a scheme other than http and https")
        with response:
            _save(response, file, most, host)
    except InputError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = " ".join(str(getattr(error, "reason", None) or error).split())
        raise InputError(f"cannot fetch from {host!r}: {reason[:200]}; check the URL") from None


def check_url(url: str) -> None:
    """Checks what can be told of an http URL, and tells nothing of it, since it may hold a password.

    Raises:
        InputError: it has a user, or characters that its readers take in different ways.
    """
    if USERINFO.match(url):
        raise InputError("got a URL with a user or a password: give one without, or send the data")
    if "\\" in url or UNSAYABLE.search(url):
        raise InputError("got a URL with a backslash, a space or a control character: percent-encode it")


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, and of one machine."""
    found = ip_address(address.partition("%")[0])
    if found.version == 6:
        if found not in GLOBAL_UNICAST or any(found in network for network in NOT_TO_BE_REACHED):
            return False
        if int(found) >> 32 & 0xFFFFFFFF in ISATAP:
            return False
    return found.is_global and not found.is_multicast


class _Redirects(urllib.request.HTTPRedirectHandler):
    def http_error_302(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message
    ) -> Any:
        target = headers.get("Location") or headers.get("URI") or ""
        check_url(target.replace(" ", "%20"))
        fp.close()  # its body would be read whole, however large
        return super().http_error_302(req, fp, code, msg, cast(Any, headers))

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _opener(allow_private: bool) -> urllib.request.OpenerDirector:
    opener = urllib.request.OpenerDirector()
    for handler in (
        _http_handler(allow_private),
        _https_handler(allow_private),
        _Redirects(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _http_handler(allow_private: bool) -> urllib.request.BaseHandler:
    class Connection(http.client.HTTPConnection):
        def connect(self) -> None:
            self.sock = _connect(self.host, self.port, allow_private)

    class Handler(urllib.request.HTTPHandler):
        def http_open(self, request: urllib.request.Request) -> Any:
            return self.do_open(cast(Callable[..., Any], Connection), request)

    return Handler()


def _https_handler(allow_private: bool) -> urllib.request.BaseHandler:
    class Connection(http.client.HTTPSConnection):
        def connect(self) -> None:
            bare = _connect(self.host, self.port, allow_private)
            self.sock = self._context.wrap_socket(bare, server_hostname=self.host)  # type: ignore[attr-defined]

    class Handler(urllib.request.HTTPSHandler):
        def https_open(self, request: urllib.request.Request) -> Any:
            return self.do_open(cast(Callable[..., Any], Connection), request)

    return Handler()


def _connect(host: str, port: int, allow_private: bool) -> socket.socket:
    """Connects to the first address of a host that answers, if all of them are public."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    private = [] if allow_private else [address for address in addresses if not is_public(address)]
    if private:
        raise InputError(
            f"got the URL of {host!r}, whose address {private[0]} is not public: send the data, or have the "
            "server started with --allow-private-media"
        )
    failure: OSError = OSError("it has no address")
    for address in addresses:
        try:
            return socket.create_connection((address, port), SILENCE_S)
        except OSError as error:
            failure = error
    raise failure


def _save(response: http.client.HTTPResponse, file: BinaryIO, most: int, host: str) -> None:
    total, promised = 0, response.headers.get("Content-Length", "")
    while chunk := response.read1(CHUNK_BYTES):
        total += len(chunk)
        if total > most:
            raise InputError(
                f"what {host!r} sends is larger than {most} bytes, the server's limit media_bytes"
            )
        try:
            file.write(chunk)
        except OSError as error:
            raise Unsaved(str(error)) from error
    if promised.isdigit() and total < int(promised):
        raise InputError(
            f"cannot fetch from {host!r}: the connection ended after {total} of {promised} bytes"
        )

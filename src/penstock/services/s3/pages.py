"""A bucket's website, served: index and error documents, redirects, routing rules, and HTML for what goes wrong.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/IndexDocumentSupport.html and the pages beside it. Visitors are
anonymous: what they see is what the bucket's policy lets anybody get.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote

from penstock.core.authz import authorize
from penstock.core.call import Call
from penstock.core.identity import ANONYMOUS
from penstock.core.operation import find
from penstock.core.web import Place, Visit, site
from penstock.services.s3 import cors, keys, settings
from penstock.services.s3.access import get_bucket, no_such_bucket
from penstock.services.s3.website import MISSING
from penstock.store.api import Transaction
from penstock.wire.codec import codec
from penstock.wire.errors import AwsError
from penstock.wire.message import Request, Response
from penstock.wire.s3_quirks import HOST_ID

Configuration = Mapping[str, Any]
HOSTS = (
    r"(?P<bucket>.+)\.s3-website(?:[.-](?P<region>[a-z]{2}(?:-[a-z]+)+-\d))?"
    r"\.(?:localhost|localhost\.localstack\.cloud|amazonaws\.com)"
)
"""As AWS names them: with a dash or a dot before the Region, which may be left out here."""
_NOT_THERE = ("NoSuchKey", "AccessDenied")


@site("s3:Website", host=HOSTS)
async def website(visit: Visit) -> Response:
    """A request to a bucket's website."""
    if visit.request.method == "OPTIONS":
        place = Place(visit.labels["bucket"], unquote(visit.request.path[1:]))
        return await cors.preflight(visit.node, visit.request, place)
    return await Page(visit).served()


class Page:
    """What one request to a website is answered with."""

    def __init__(self, visit: Visit) -> None:
        self.node = visit.node
        self.request = visit.request
        self.request_id = visit.request_id
        self.place = Place(visit.labels["bucket"], unquote(visit.request.path[1:]))

    async def served(self) -> Response:
        """The page, a redirect, or an HTML page that says what is wrong; and what the bucket's CORS rules say of it."""
        response = await self._made()
        if "origin" in self.request.headers:
            await cors.allow(self.node, self.request, self.place, response)
        return response

    async def _made(self) -> Response:
        try:
            if self.request.method not in ("GET", "HEAD"):
                raise AwsError(
                    "MethodNotAllowed", "The specified method is not allowed against this resource.", 405,
                    members={"Method": self.request.method, "ResourceType": "OBJECT"},
                )  # fmt: skip
            configuration = await self._configuration()
        except AwsError as error:
            return self._page(error)
        everything = configuration.get("RedirectAllRequestsTo")
        if everything is not None:
            return self._moved(everything, self.place.key)
        key = self.place.key
        for rule in configuration.get("RoutingRules") or []:
            condition = rule.get("Condition") or {}
            if "HttpErrorCodeReturnedEquals" not in condition and key.startswith(condition.get("KeyPrefixEquals", "")):
                return self._routed(rule, key)
        suffix = configuration["IndexDocument"]["Suffix"]
        try:
            return await self._object(key + suffix if not key or key.endswith("/") else key)
        except AwsError as error:
            return await self._failed(configuration, key, suffix, error)

    async def _configuration(self) -> Configuration:
        name = self.place.bucket

        def body(txn: Transaction) -> tuple[bool, bytes | None]:
            return get_bucket(txn, name) is not None, txn.get(keys.setting(name, keys.WEBSITE))

        exists, raw = await self.node.store.transact(body, read_only=True)
        if not exists:
            raise no_such_bucket(name)
        if raw is None:
            raise AwsError(*MISSING, 404, members={"BucketName": name})
        return settings.decode(raw)

    async def _failed(self, configuration: Configuration, key: str, suffix: str, error: AwsError) -> Response:
        """What comes in place of an object that cannot be had."""
        if error.code == "NotModified":
            return Response(304, list(error.headers.items()))
        if error.code in _NOT_THERE and key and not key.endswith("/") and await self._is_there(f"{key}/{suffix}"):
            return Response(302, [("Location", f"/{quote(key)}/"), *self._ids()])
        for rule in configuration.get("RoutingRules") or []:
            condition = rule.get("Condition") or {}
            fits = key.startswith(condition.get("KeyPrefixEquals", ""))
            if fits and condition.get("HttpErrorCodeReturnedEquals") == str(error.status):
                return self._routed(rule, key)
        document = (configuration.get("ErrorDocument") or {}).get("Key")
        if document is None:
            return self._page(error)
        try:
            page = await self._object(document, conditions=False)
        except AwsError as second:
            return self._page(error, second, document)
        if page.status == 200:
            page.status = error.status
        return page

    async def _object(self, key: str, *, conditions: bool = True) -> Response:
        """An object as anybody gets it. Raises AwsError."""
        name = "HeadObject" if self.request.method == "HEAD" else "GetObject"
        call = self._call(name)
        coding = codec("s3", name, "rest-xml")
        headers = {}
        if conditions:
            headers = {k: v for k, v in self.request.headers.items() if k.startswith("if-") or k == "range"}
        plain = Request(self.request.method, "/", "", headers)
        params = coding.parse(plain, {"Bucket": self.place.bucket, "Key": key})
        await authorize(call, params)
        result = await call.operation.handler(call, params)
        location = result.get("WebsiteRedirectLocation")
        if location is not None:  # of an error document, too
            return Response(301, [("Location", location), *self._ids()])
        return coding.serialize(result, self.request_id)

    async def _is_there(self, key: str) -> bool:
        call = self._call("HeadObject")
        params = {"Bucket": self.place.bucket, "Key": key}
        try:
            await authorize(call, params)
            await call.operation.handler(call, params)
        except AwsError:
            return False
        return True

    def _call(self, name: str) -> Call:
        request = self.request
        return Call(
            self.node, find("s3", name), ANONYMOUS, "", self.node.settings.region, self.request_id,
            source_ip=request.peer, secure=request.secure, user_agent=request.headers.get("user-agent", ""),
            context={"aws:Referer": request.headers["referer"]} if "referer" in request.headers else None,
        )  # fmt: skip

    def _routed(self, rule: Mapping[str, Any], key: str) -> Response:
        redirect = rule["Redirect"]
        if "ReplaceKeyWith" in redirect:
            key = redirect["ReplaceKeyWith"]
        elif "ReplaceKeyPrefixWith" in redirect:
            prefix = (rule.get("Condition") or {}).get("KeyPrefixEquals", "")
            key = redirect["ReplaceKeyPrefixWith"] + key[len(prefix) :]
        return self._moved(redirect, key)

    def _moved(self, redirect: Mapping[str, Any], key: str) -> Response:
        protocol = redirect.get("Protocol") or ("https" if self.request.secure else "http")
        host = redirect.get("HostName") or self.request.headers.get("host", "")
        location = f"{protocol}://{host}/{quote(key)}"
        return Response(int(redirect.get("HttpRedirectCode", 301)), [("Location", location), *self._ids()])

    def _ids(self) -> list[tuple[str, str]]:
        return [("x-amz-request-id", self.request_id), ("x-amz-id-2", HOST_ID)]

    def _page(self, error: AwsError, second: AwsError | None = None, document: str = "") -> Response:
        """The page of an error; with the one that the error document met, if any."""
        status = error.status or 500
        title = f"{status} {HTTPStatus(status).phrase}"
        lines = ["<html>", f"<head><title>{title}</title></head>", "<body>", f"<h1>{title}</h1>", "<ul>"]
        lines += _items({"Code": error.code, "Message": error.message, **_shown(error)})
        lines += _items({"RequestId": self.request_id, "HostId": HOST_ID})
        lines.append("</ul>")
        if second is not None:
            lines += ["<h3>An Error Occurred While Attempting to Retrieve a Custom Error Document</h3>", "<ul>"]
            about = _shown(second) if second.code != "NoSuchKey" else {"Key": document}
            lines += [*_items({"Code": second.code, "Message": second.message, **about}), "</ul>"]
        lines += ["<hr/>", "</body>", "</html>", ""]
        body = b"" if self.request.method == "HEAD" else "\n".join(lines).encode()
        headers = [("Content-Type", "text/html; charset=utf-8"), ("x-amz-error-code", error.code), *self._ids()]
        return Response(status, [*headers, ("x-amz-error-message", error.message)], body)


def _shown(error: AwsError) -> dict[str, str]:
    return {name: str(value) for name, value in error.members.items()}


def _items(pairs: Mapping[str, str]) -> list[str]:
    return [f"<li>{name}: {html.escape(value, quote=False)}</li>" for name, value in pairs.items()]

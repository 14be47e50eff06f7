"""Smithy's shapes as the models that the wire reads: botocore's form, of one operation and what it reaches.

Traits: https://smithy.io/2.0/spec/http-bindings.html, .../protocol-traits.html and .../aws/protocols/. What botocore's
models have no word for (defaults, media types other than JSON in headers) is left out here as AWS leaves it out there.
"""

from __future__ import annotations

import json
from typing import Any

import smithy_idl
from penstock.wire import catalog, models

API = "smithy.api#"
PROTOCOLS = {
    "awsJson1_0": ("json", "1.0"), "awsJson1_1": ("json", "1.1"), "awsQuery": ("query", ""), "restJson1": ("rest-json", ""),
    "restXml": ("rest-xml", ""), "rpcv2Cbor": ("smithy-rpc-v2-cbor", ""),
}  # fmt: skip
_TIMES = {"epoch-seconds": "unixTimestamp", "date-time": "iso8601", "http-date": "rfc822"}
_TYPES = {"intEnum": "integer", "enum": "string", "set": "list", "union": "structure", "document": "structure"}
_LOCATIONS = {
    "httpHeader": "header", "httpPrefixHeaders": "headers", "httpQuery": "querystring", "httpQueryParams": "querystring",
    "httpLabel": "uri", "httpResponseCode": "statusCode",
}  # fmt: skip


class Converter:
    """Models from the shapes of one reading of the suite."""

    def __init__(self, shapes: dict[str, smithy_idl.Shape]) -> None:
        self._shapes = shapes
        self._services = [s | {"id": n} for n, s in shapes.items() if s["type"] == "service"]

    def service_of(self, operation: str, protocol: str) -> dict[str, Any]:
        """The service that has the operation, or throws the error; a bare one where the suite binds it to none."""
        throwing = {n for n, s in self._shapes.items() if operation in s.get("errors", ())}
        for service in self._services:
            speaks = any(trait.rpartition("#")[2] == protocol for trait in service["traits"])
            if speaks and {operation, *throwing} & set(service.get("operations", ())):
                return service
        return {"id": operation, "traits": {}}

    def model(self, operation: str, protocol: str, *errors: str) -> models.ServiceModel:
        """A model of that one operation, over one of `PROTOCOLS`."""
        kind, version = PROTOCOLS[protocol]
        service = self.service_of(errors[0] if errors else operation, protocol)
        traits = {name.rpartition("#")[2]: value for name, value in service["traits"].items()}
        metadata = {
            "endpointPrefix": "case", "jsonVersion": version, "targetPrefix": service["id"].rpartition("#")[2],
            "xmlNamespace": traits.get("xmlNamespace", {}).get("uri", ""),
        }  # fmt: skip
        if "awsQueryCompatible" in traits:
            metadata["awsQueryCompatible"] = {}
        made: dict[str, Any] = {}
        found = self._shapes.get(operation, {"traits": {}})
        name = operation.rpartition("#")[2]
        http = found["traits"].get(API + "http", {"uri": "/", "method": "POST"})
        raw: dict[str, Any] = {
            "name": name,
            "http": {"method": http["method"], "requestUri": http["uri"], "responseCode": http.get("code", 200)},
        }
        for side in ("input", "output"):
            target = found.get(side)
            if target and target != API + "Unit":
                raw[side] = {"shape": self._shape(target, made, kind)}
                xml_name = self._shapes[target]["traits"].get(API + "xmlName")
                if xml_name:
                    raw[side]["locationName"] = xml_name
                made[raw[side]["shape"]]["xmlNamespace"] = self._shapes[target]["traits"].get(API + "xmlNamespace")
                if kind == "query":
                    raw[side]["resultWrapper"] = f"{name}Result"
        thrown = [each for each in (*found.get("errors", ()), *errors) if each in self._shapes]
        raw["errors"] = [{"shape": self._shape(each, made, kind)} for each in thrown]
        if kind == "query" and "output" in raw:
            raw["output"]["resultWrapper"] = f"{name}Result"
        namespace = operation.partition("#")[0] + "#" if protocol in ("awsJson1_0", "rpcv2Cbor") else ""
        entry = catalog.Entry("case", "1", "case", (kind,), namespace=namespace)
        source = {"metadata": metadata, "operations": {name: raw}, "shapes": made}
        return models.load(json.dumps(source).encode(), entry)

    def _shape(self, target: str, made: dict[str, Any], kind: str) -> str:
        """The name under which a shape has been put into `made`, with all it holds."""
        name = target.rpartition("#")[2]
        if target == API + "Unit":
            made.setdefault(name, {"type": "structure", "id": target})
            return name
        if target.startswith(API) and name in smithy_idl.PRELUDE:
            simple = smithy_idl.PRELUDE[name]
            made.setdefault(name, {"type": _TYPES.get(simple, simple), "document": simple == "document", "id": target})
            return name
        shape = self._shapes[target]
        if name in made and made[name]["id"] != target:  # two namespaces may have a shape of that name
            name = target.replace("#", ".")
        if name in made:
            return name
        traits = {k.removeprefix(API): v for k, v in shape["traits"].items()}
        made[name] = raw = {"type": _TYPES.get(shape["type"], shape["type"]), "id": target}
        raw.update(_bounds(traits))
        if "enum" in traits:
            raw["enum"] = [each["value"] for each in traits["enum"]]
        members = shape["members"]
        match shape["type"]:
            case "structure" | "union":
                self._structure(raw, shape, traits, made, kind)
            case "list" | "set":
                raw["member"] = self._member("member", members["member"], made, kind)
            case "map":
                raw["key"] = self._member("key", members["key"], made, kind)
                raw["value"] = self._member("value", members["value"], made, kind)
            case "enum":
                raw["enum"] = [m["value"] for m in members.values()]
            case "document":
                raw["document"] = True
        if "sparse" in traits:
            raw["sparse"] = True
        return name

    def _structure(
        self, raw: dict[str, Any], shape: dict[str, Any], traits: dict[str, Any], made: dict[str, Any], kind: str
    ) -> None:
        raw["union"] = shape["type"] == "union" and "streaming" not in traits
        raw["eventstream"] = shape["type"] == "union" and "streaming" in traits
        raw["members"] = {n: self._member(n, m, made, kind) for n, m in shape["members"].items()}
        raw["required"] = [n for n, m in shape["members"].items() if API + "required" in m["traits"]]
        raw["payload"] = next((n for n, m in shape["members"].items() if API + "httpPayload" in m["traits"]), "")
        if "xmlName" in traits:
            raw["locationName"] = traits["xmlName"]
        if "error" in traits:
            query = shape["traits"].get("aws.protocols#awsQueryError", {})
            status = query.get("httpResponseCode") if kind == "query" else traits.get("httpError")
            fault = traits["error"] == "server"
            raw["exception"], raw["fault"] = True, fault
            raw["error"] = {"httpStatusCode": status or (500 if fault else 400), "senderFault": not fault}
            if "code" in query:
                raw["error"]["code"] = query["code"]

    def _member(self, name: str, member: dict[str, Any], made: dict[str, Any], kind: str) -> dict[str, Any]:
        traits = {k.removeprefix(API): v for k, v in member["traits"].items()}
        target = self._shapes.get(member["target"], {"traits": {}, "type": ""})
        below = {k.removeprefix(API): v for k, v in target["traits"].items()}
        raw: dict[str, Any] = {"shape": self._shape(member["target"], made, kind)}
        for trait, location in _LOCATIONS.items():
            if trait in traits:
                raw["location"] = location
                if isinstance(traits[trait], str):
                    raw["locationName"] = traits[trait]
                elif trait == "httpLabel":
                    raw["locationName"] = name
        xml = kind in ("rest-xml", "query")
        wire = traits.get("xmlName" if xml else "jsonName") if "location" not in raw else None
        if xml and "xmlFlattened" in traits:
            wire = wire or name  # else the list's own name for its members would count
        if wire and kind in ("rest-xml", "query", "rest-json"):
            raw["locationName"] = wire
        if "httpPayload" in traits and xml and target["type"] in ("structure", "union") and not wire:
            raw["locationName"] = below.get("xmlName", member["target"].rpartition("#")[2])
        if form := traits.get("timestampFormat") or below.get("timestampFormat"):
            raw["timestampFormat"] = _TIMES[form]
        if (traits.get("mediaType") or below.get("mediaType")) == "application/json" and "httpHeader" in traits:
            raw["jsonvalue"] = True
        namespace = traits.get("xmlNamespace") or (below.get("xmlNamespace") if "httpPayload" in traits else None)
        if tighter := _bounds(traits):
            bounded = f"{raw['shape']}Of{name}"
            made[bounded] = {**made[raw["shape"]], **tighter, "id": bounded}
            raw["shape"] = bounded
        raw.update(
            xmlAttribute="xmlAttribute" in traits, flattened="xmlFlattened" in traits, streaming="streaming" in below,
            eventpayload="eventPayload" in traits, eventheader="eventHeader" in traits,
            xmlNamespace=namespace,
        )  # fmt: skip
        return raw


def _bounds(traits: dict[str, Any]) -> dict[str, Any]:
    """The constraint traits of a shape."""
    found: dict[str, Any] = {}
    for trait in ("length", "range"):
        found.update({k: v for k, v in traits.get(trait, {}).items() if k in ("min", "max")})
    if "pattern" in traits:
        found["pattern"] = traits["pattern"]
    return found

"""Which operation of a REST service a request is: URI templates of the model, compiled to a tree of path segments.

Operations that share a method and path are told apart by what each requires: literal query parameters of its template
("?acl", "?list-type=2"), required query members (uploadId) and required headers (x-amz-copy-source). The one with the
most satisfied requirements wins. S3 is matched path-style; a virtual host is put in the path before.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

from penstock.wire import models, querystring
from penstock.wire.errors import AwsError


class _Candidate:
    """An operation at the end of a path, with what a request must carry to be it."""

    __slots__ = ("deprecated", "headers", "labels", "literals", "name", "params", "weight")

    def __init__(self, name: str, labels: tuple[str, ...], operation: models.OperationModel) -> None:
        self.name = name
        self.labels = labels
        self.literals: list[tuple[str, str]] = []
        self.params: list[str] = []
        self.headers: list[str] = []
        self.deprecated = operation.deprecated
        self.weight = 0

    def fits(self, query: Mapping[str, str], headers: Mapping[str, str]) -> bool:
        for name, value in self.literals:
            if query.get(name) != value if value else name not in query:
                return False
        for name in self.params:
            if name not in query:
                return False
        if not self.headers:
            return True
        return all(name in headers or name in query for name in self.headers)  # a presigned URL has it in its query


class _End:
    """The operations of one method and path, the most demanding first; `bare`: those that ask for no query.

    `plain`: the one that asks for nothing. `telling`: the headers by which other bare ones are known from it.
    """

    __slots__ = ("all", "bare", "plain", "telling")

    def __init__(self) -> None:
        self.all: list[_Candidate] = []
        self.bare: list[_Candidate] = []
        self.plain: _Candidate | None = None
        self.telling: frozenset[str] = frozenset()

    def sort(self) -> None:
        """Of equals the one that is not deprecated, then the shorter name: ListBuckets before ListDirectoryBuckets."""
        self.all.sort(key=lambda c: (-c.weight, c.deprecated, len(c.name), c.name))
        self.bare = [c for c in self.all if not c.literals and not c.params]
        self.plain = next((c for c in self.bare if not c.headers), None)
        self.telling = frozenset(name for c in self.bare for name in c.headers)

    def choose(self, query: str, headers: Mapping[str, str]) -> _Candidate | None:
        if not query and self.plain is not None and headers.keys().isdisjoint(self.telling):
            return self.plain
        given = dict(querystring.parse(query)) if query else {}
        for candidate in self.all if query else self.bare:
            if candidate.fits(given, headers):
                return candidate
        if len(self.all) == 1 and not self.all[0].literals:
            return self.all[0]  # nothing else can be meant: what it lacks is said by validation
        return None


class _Node:
    """One path segment: literal children, the child for any segment, operations ending here or greedily below."""

    __slots__ = ("any", "children", "ends", "greedy", "subresources")

    def __init__(self) -> None:
        self.subresources: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
        """Literal query parameters ("acl") of any method here, and of any method below with the greedy label."""
        self.children: dict[str, _Node] = {}
        self.any: _Node | None = None
        self.ends: dict[str, _End] = {}
        self.greedy: dict[str, _End] = {}


def match(
    service: str, method: str, path: str, query: str, headers: Mapping[str, str]
) -> tuple[str, dict[str, str]] | None:
    """(operation, path labels by member name, percent-decoded) of a request, or None where the service has no such.

    `path` and `query` are as sent. Raises AwsError InvalidURI for a label that is not UTF-8.
    """
    if service == "s3":
        return _match_s3(_s3_tree(), method, path, query, headers)
    return match_in(models.service(service), method, path, query, headers)


def match_in(
    model: models.ServiceModel, method: str, path: str, query: str, headers: Mapping[str, str]
) -> tuple[str, dict[str, str]] | None:
    """`match` by the templates of any model."""
    root = _tree(model)
    parts = path.split("/")[1:]
    if not parts[-1]:
        parts.pop()
    found = _walk(root, parts, 0, method, [])
    if found is None:
        return None
    end, values = found
    chosen = end.choose(query, headers)
    if chosen is None:
        return None
    return chosen.name, dict(zip(chosen.labels, map(_label, values), strict=True))


def _match_s3(
    root: _Node, method: str, path: str, query: str, headers: Mapping[str, str]
) -> tuple[str, dict[str, str]] | None:
    bucket, slash, key = path[1:].partition("/")
    known: frozenset[str] = frozenset()
    if not bucket:
        end = None if slash else root.ends.get(method)
        labels = {}
    elif key:
        assert root.any is not None
        end, known = root.any.greedy.get(method), root.any.subresources[1]
        labels = {"Bucket": bucket, "Key": key}
    elif method == "POST" and bucket == "WriteGetObjectResponse":
        return "WriteGetObjectResponse", {}
    else:
        assert root.any is not None
        end, known = root.any.ends.get(method), root.any.subresources[0]
        labels = {"Bucket": bucket}
    if "%" in path or not path.isascii():
        labels = {name: _label(value) for name, value in labels.items()}
    chosen = end.choose(query, headers) if end else None
    if chosen is None or (
        query and known and not chosen.literals and any(name in known for name, _ in querystring.parse(query))
    ):
        return None  # PUT of a key's ?restore, say, is not a PUT of the key
    return chosen.name, labels


def _label(text: str) -> str:
    try:
        return querystring.unquote(text)
    except UnicodeDecodeError:
        raise AwsError("InvalidURI", "Couldn't parse the specified URI.", 400) from None


def _walk(node: _Node, parts: list[str], at: int, method: str, values: list[str]) -> tuple[_End, list[str]] | None:
    if at == len(parts):
        found = node.ends.get(method)
        return (found, values) if found else None
    part = parts[at]
    child = node.children.get(part)
    if child is not None and (result := _walk(child, parts, at + 1, method, values)):
        return result
    if node.any is not None and part and (result := _walk(node.any, parts, at + 1, method, [*values, part])):
        return result
    greedy = node.greedy.get(method)
    return (greedy, [*values, "/".join(parts[at:])]) if greedy else None


@functools.cache
def _s3_tree() -> _Node:
    return _tree(models.service("s3"))


def _tree(model: models.ServiceModel) -> _Node:
    made: dict[str, _Node] = model.made("uris")
    root = made.get("root")
    if root is None:
        root = _Node()
        for name, operation in model.operations.items():
            _insert(root, model, name, operation)
        _sort(root)
        made["root"] = root
    return root


def _insert(root: _Node, model: models.ServiceModel, name: str, operation: models.OperationModel) -> None:
    template, _, literal_query = operation.uri.partition("?")
    shape = model.input_shape(name)
    by_wire_name = {m.location_name or n: n for n, m in shape.members.items() if m.location == "uri"} if shape else {}
    node, labels, greedy = root, [], False
    segments = template.split("/")[1:]
    if segments and not segments[-1]:
        segments.pop()
    for segment in segments:
        if segment.startswith("{") and segment.endswith("}"):
            label = segment[1:-1]
            greedy = label.endswith("+")
            label = label.rstrip("+")
            labels.append(by_wire_name.get(label, label))
            if not greedy:
                node.any = node.any or _Node()
                node = node.any
        elif "{" in segment:
            raise ValueError(f"{model.name}:{name}: a label inside of a segment: {operation.uri}")
        else:
            node = node.children.setdefault(segment, _Node())
    candidate = _Candidate(name, tuple(labels), operation)
    candidate.literals = querystring.parse(literal_query)
    for member_name in shape.required if shape else ():
        member = shape.members[member_name] if shape else None
        if member and member.location == "querystring":
            candidate.params.append(member.location_name or member_name)
        elif member and member.location == "header" and member.location_name.lower() == "x-amz-copy-source":
            candidate.headers.append("x-amz-copy-source")
    candidate.weight = 2 * len(candidate.literals) + len(candidate.params) + len(candidate.headers)
    (node.greedy if greedy else node.ends).setdefault(operation.method, _End()).all.append(candidate)


def _literals(ends: Mapping[str, _End]) -> frozenset[str]:
    return frozenset(
        name for end in ends.values() for candidate in end.all for name, value in candidate.literals if not value
    )


def _sort(node: _Node) -> None:
    node.subresources = _literals(node.ends), _literals(node.greedy)
    for end in (*node.ends.values(), *node.greedy.values()):
        end.sort()
    for child in (*node.children.values(), *((node.any,) if node.any else ())):
        _sort(child)

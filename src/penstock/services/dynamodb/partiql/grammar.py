"""Recursive descent over PartiQL as DynamoDB has it. Raises ValidationException on anything else."""

from __future__ import annotations

from functools import lru_cache

from penstock.services.dynamodb.errors import invalid
from penstock.services.dynamodb.expressions.syntax import (
    Action,
    AndNode,
    BetweenNode,
    CallNode,
    CompareNode,
    Condition,
    InNode,
    Node,
    NotNode,
    Operand,
    OrNode,
    PathNode,
    ValueNode,
)
from penstock.services.dynamodb.partiql.literals import LiteralParser
from penstock.services.dynamodb.partiql.syntax import Literal, Scalar, Statement
from penstock.services.dynamodb.partiql.tokens import KEYWORDS, Token, malformed

MAX_DEPTH = 60
_MAX_INDEX_DIGITS = 9
_COMPARATORS = {"=": "=", "<>": "<>", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_CONDITION_FUNCTIONS = frozenset(("begins_with", "contains", "attribute_type", "size"))
_UPDATE_FUNCTIONS = frozenset(("list_append", "set_add", "set_delete"))
_SET_SECTIONS = {"set_add": "ADD", "set_delete": "DELETE"}
_RETURNING = {
    ("ALL", "OLD"): "ALL_OLD", ("ALL", "NEW"): "ALL_NEW",
    ("MODIFIED", "OLD"): "UPDATED_OLD", ("MODIFIED", "NEW"): "UPDATED_NEW",
}  # fmt: skip


@lru_cache(maxsize=512)
def parse(text: str) -> Statement:
    """The statement in the text. Raises ValidationException."""
    return _Parser(text).statement()


class _Parser(LiteralParser):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._names: dict[str, int] = {}
        self._literals: list[Literal] = []
        self._depth = 0

    def statement(self) -> Statement:
        cursor = self.cursor
        if cursor.is_word("SELECT"):
            found = self._select("SELECT")
        elif cursor.take_word("EXISTS"):
            cursor.expect_symbol("(")
            found = self._select("EXISTS")
            cursor.expect_symbol(")")
        elif cursor.take_word("INSERT"):
            found = self._insert()
        elif cursor.take_word("UPDATE"):
            found = self._update()
        elif cursor.take_word("DELETE"):
            found = self._delete()
        else:
            raise malformed("Expected data manipulation")
        cursor.take_symbol(";")
        if cursor.current.kind != "end":
            raise cursor.unexpected()
        return found

    def _made(self, kind: str, source: tuple[str, str], **parts: object) -> Statement:
        return Statement(
            kind, source[0], source[1], tuple(self._names), tuple(self._literals), self.parameters,
            **parts,  # type: ignore[arg-type]
        )  # fmt: skip

    def _select(self, kind: str) -> Statement:
        cursor = self.cursor
        cursor.expect_word("SELECT")
        shown: list[PathNode] = []
        if not cursor.take_symbol("*"):
            shown.append(self._path())
            while cursor.take_symbol(","):
                shown.append(self._path())
        cursor.expect_word("FROM")
        source = self._source()
        if cursor.is_symbol(",", "-") or cursor.is_word("JOIN", "CROSS", "INNER", "LEFT", "AS"):
            raise malformed("Unexpected from source")
        where = self._where()
        order: list[tuple[str, bool]] = []
        if cursor.take_word("ORDER"):
            cursor.expect_word("BY")
            order.append(self._ordering())
            while cursor.take_symbol(","):
                order.append(self._ordering())
        for clause in ("LIMIT", "GROUP", "HAVING", "OFFSET", "UNION"):
            if cursor.is_word(clause):
                raise invalid(f"Unsupported clause: {clause}{' BY' if clause == 'GROUP' else ''}")
        return self._made(kind, source, where=where, shown=tuple(shown), order=tuple(order))

    def _ordering(self) -> tuple[str, bool]:
        name = self._identifier()
        if self.cursor.take_word("DESC"):
            return name, True
        self.cursor.take_word("ASC")
        return name, False

    def _insert(self) -> Statement:
        cursor = self.cursor
        cursor.expect_word("INTO")
        source = self._source()
        if not cursor.is_word("VALUE"):
            raise cursor.unexpected()
        cursor.advance()
        return self._made("INSERT", source, item=self.literal())

    def _update(self) -> Statement:
        source = self._source()
        actions: list[Action] = []
        cursor = self.cursor
        while cursor.is_word("SET", "REMOVE"):
            take = self._assignment if cursor.advance().text.upper() == "SET" else self._removal
            actions.append(take())
            while cursor.take_symbol(","):
                actions.append(take())
        if not actions:
            raise malformed("Expected data manipulation")
        where = self._where()
        return self._made("UPDATE", source, actions=tuple(actions), where=where, returning=self._returning())

    def _assignment(self) -> Action:
        path = self._path()
        self.cursor.expect_symbol("=")
        value = self._sum()
        if isinstance(value, CallNode) and value.name in _SET_SECTIONS:
            if len(value.args) != 2 or value.args[0] != path or not isinstance(value.args[1], ValueNode):
                raise invalid(f"{value.name} takes the attribute that is set, and a set")
            return Action(_SET_SECTIONS[value.name], path, value.args[1])
        return Action("SET", path, value)

    def _removal(self) -> Action:
        return Action("REMOVE", self._path(), None)

    def _delete(self) -> Statement:
        self.cursor.expect_word("FROM")
        source = self._source()
        where = self._where()
        return self._made("DELETE", source, where=where, returning=self._returning())

    def _returning(self) -> str:
        cursor = self.cursor
        if not cursor.take_word("RETURNING"):
            return ""
        which = (cursor.advance().text.upper(), cursor.advance().text.upper())
        if which not in _RETURNING:
            raise malformed("Unexpected returning clause")
        cursor.expect_symbol("*")
        return _RETURNING[which]

    def _source(self) -> tuple[str, str]:
        cursor = self.cursor
        token = cursor.current
        if token.kind == "string" or not self._is_name(token):
            raise malformed("Unexpected from source") if token.kind in ("string", "number") else cursor.unexpected()
        table = cursor.advance().text
        return table, self._identifier() if cursor.take_symbol(".") else ""

    def _where(self) -> Condition | None:
        if not self.cursor.take_word("WHERE"):
            return None
        return self._condition(self._disjunction())

    # Conditions

    def _condition(self, node: Node) -> Condition:
        if isinstance(node, (PathNode, ValueNode)) or (isinstance(node, CallNode) and node.name == "size"):
            raise self.cursor.unexpected()
        return node

    def _disjunction(self) -> Node:
        first = self._conjunction()
        if not self.cursor.is_word("OR"):
            return first
        operands = [self._condition(first)]
        while self.cursor.take_word("OR"):
            operands.append(self._condition(self._conjunction()))
        return OrNode(tuple(operands))

    def _conjunction(self) -> Node:
        first = self._negation()
        if not self.cursor.is_word("AND"):
            return first
        operands = [self._condition(first)]
        while self.cursor.take_word("AND"):
            operands.append(self._condition(self._negation()))
        return AndNode(tuple(operands))

    def _negation(self) -> Node:
        if self.cursor.is_word("NOT"):
            self._nest()
            self.cursor.advance()
            node = NotNode(self._condition(self._negation()))
            self._depth -= 1
            return node
        return self._predicate()

    def _predicate(self) -> Node:
        cursor = self.cursor
        left = self._group() if cursor.is_symbol("(") else self._operand(_CONDITION_FUNCTIONS)
        if not isinstance(left, (PathNode, ValueNode, CallNode)):
            return left
        if cursor.current.kind == "symbol" and cursor.current.text in _COMPARATORS:
            operator = _COMPARATORS[cursor.advance().text]
            return CompareNode(operator, left, self._operand(_CONDITION_FUNCTIONS))
        if cursor.take_word("IS"):
            negated = cursor.take_word("NOT")
            return _negated_if(negated, self._kind_test(left))
        negated = cursor.take_word("NOT")
        if negated and cursor.is_word("MISSING"):
            return _negated_if(True, self._kind_test(left))
        if cursor.take_word("BETWEEN"):
            low = self._operand(_CONDITION_FUNCTIONS)
            cursor.expect_word("AND")
            return _negated_if(negated, BetweenNode(left, low, self._operand(_CONDITION_FUNCTIONS)))
        if cursor.take_word("IN"):
            return _negated_if(negated, InNode(left, self._choices()))
        if negated:
            raise cursor.unexpected()
        return left

    def _kind_test(self, left: Operand) -> Condition:
        cursor = self.cursor
        if not isinstance(left, PathNode):
            raise cursor.unexpected()
        if cursor.take_word("MISSING"):
            return CallNode("attribute_not_exists", (left,))
        cursor.expect_word("NULL")
        return CallNode("attribute_type", (left, self._bound(Scalar("S", "NULL"))))

    def _choices(self) -> tuple[Operand, ...]:
        cursor = self.cursor
        pairs = {"[": "]", "(": ")", "<<": ">>"}
        if not cursor.is_symbol(*pairs):
            raise cursor.unexpected()
        end = pairs[cursor.advance().text]
        found = [self._operand(_CONDITION_FUNCTIONS)]
        while cursor.take_symbol(","):
            found.append(self._operand(_CONDITION_FUNCTIONS))
        cursor.expect_symbol(end)
        return tuple(found)

    def _group(self) -> Node:
        self._nest()
        self.cursor.expect_symbol("(")
        inner = self._disjunction()
        self.cursor.expect_symbol(")")
        self._depth -= 1
        return inner

    # Operands

    def _sum(self) -> Operand:
        found = self._operand(_UPDATE_FUNCTIONS)
        while self.cursor.is_symbol("+", "-"):
            self._nest()  # sums lean to the left: as deep as they are long
            operator = self.cursor.advance().text
            found = CallNode(operator, (found, self._operand(_UPDATE_FUNCTIONS)))
        return found

    def _operand(self, functions: frozenset[str]) -> Operand:
        cursor = self.cursor
        if self.starts_literal():
            return self._bound(self.literal())
        if cursor.is_symbol("("):
            self._nest()
            cursor.advance()
            inner = self._sum() if functions is _UPDATE_FUNCTIONS else self._operand(functions)
            cursor.expect_symbol(")")
            self._depth -= 1
            return inner
        after = cursor.peek()
        if cursor.current.kind == "word" and after.kind == "symbol" and after.text == "(":
            return self._call(functions)
        return self._path()

    def _call(self, functions: frozenset[str]) -> CallNode:
        cursor = self.cursor
        name = cursor.advance().text
        if name.lower() not in functions:
            raise invalid(f"Unsupported function: {name}")
        self._nest()
        cursor.expect_symbol("(")
        args = [self._operand(functions)]
        while cursor.take_symbol(","):
            args.append(self._operand(functions))
        cursor.expect_symbol(")")
        self._depth -= 1
        return CallNode(name.lower(), tuple(args))

    def _path(self) -> PathNode:
        parts: list[str | int] = [self._named(self._identifier())]
        cursor = self.cursor
        while True:
            if cursor.take_symbol("."):
                parts.append(self._named(self._identifier()))
            elif cursor.take_symbol("["):
                token = cursor.advance()
                if token.kind == "string":
                    parts.append(self._named(token.text))
                elif token.kind == "number" and token.text.isdigit() and len(token.text) <= _MAX_INDEX_DIGITS:
                    parts.append(int(token.text))
                else:
                    raise malformed("Expected identifier for simple path")
                cursor.expect_symbol("]")
            else:
                return PathNode(tuple(parts))

    def _identifier(self) -> str:
        if not self._is_name(self.cursor.current):
            if self.cursor.current.kind in ("string", "number"):
                raise malformed("Expected identifier for simple path")
            raise self.cursor.unexpected()
        return self.cursor.advance().text

    @staticmethod
    def _is_name(token: Token) -> bool:
        return token.kind == "quoted" or (token.kind == "word" and token.text.upper() not in KEYWORDS)

    def _named(self, name: str) -> str:
        return f"#{self._names.setdefault(name, len(self._names))}"

    def _bound(self, literal: Literal) -> ValueNode:
        self._literals.append(literal)
        return ValueNode(f":{len(self._literals) - 1}")

    def _nest(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise invalid("The statement contains too many nested parentheses or operators")


def _negated_if(negated: bool, node: Condition) -> Condition:
    return NotNode(node) if negated else node

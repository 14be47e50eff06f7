"""Recursive descent over the three grammars: conditions, updates, projections. Raises ExpressionError on bad syntax.

Grammars: "Condition and filter expressions", "Update expressions" and "Projection expressions" of the developer guide.
"""

from __future__ import annotations

from dataclasses import dataclass

from penstock.services.dynamodb.expressions.lexer import CountedExpressionError, ExpressionError, Token, Tokens
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

COMPARATORS = frozenset(("=", "<>", "<", "<=", ">", ">="))
SECTIONS = frozenset(("SET", "REMOVE", "ADD", "DELETE"))
_CONDITION_WORDS = frozenset(("AND", "OR", "NOT", "BETWEEN", "IN"))
MAX_DEPTH = 60
MAX_OPERATORS = 300
"""Comparators, functions and arithmetic of one expression; AND, OR and NOT are not counted."""
EMPTY = "The expression can not be empty;"


@dataclass(frozen=True, slots=True)
class ParsedCondition:
    """A condition and whether it had parentheses directly inside parentheses, which AWS refuses."""

    root: Condition
    redundant_parentheses: bool


def parse_condition(text: str | ParsedCondition) -> ParsedCondition:
    """Parse a condition, filter or key condition expression; one that comes as a tree (PartiQL's) stays as it is."""
    if not isinstance(text, str):
        return text
    parser = _ConditionParser(text)
    root = parser.condition(parser.disjunction())
    parser.end()
    return ParsedCondition(root, parser.redundant)


@dataclass(frozen=True, slots=True)
class ParsedUpdate:
    """The clauses of an update in order, and the first section that is there twice ("" if none)."""

    actions: tuple[Action, ...]
    repeated_section: str


def parse_update(text: str | ParsedUpdate) -> ParsedUpdate:
    """Parse an update expression; one that comes as a tree stays as it is."""
    if not isinstance(text, str):
        return text
    return _UpdateParser(text).update()


def parse_projection(text: str | tuple[PathNode, ...]) -> list[PathNode]:
    """Parse a projection expression into its paths; those that are there already stay as they are."""
    if not isinstance(text, str):
        return list(text)
    parser = _Parser(text, frozenset())
    paths = [parser.path()]
    while parser.tokens.take_symbol(","):
        paths.append(parser.path())
    parser.tokens.expect_end()
    return paths


class _Parser:
    def __init__(self, text: str, keywords: frozenset[str]) -> None:
        if not text:
            raise CountedExpressionError(EMPTY)
        self.tokens = Tokens(text)
        self.keywords = keywords
        self.depth = 0
        self.operators = 0

    def path(self) -> PathNode:
        parts: list[str | int] = [self.identifier()]
        tokens = self.tokens
        while True:
            if tokens.take_symbol("."):
                parts.append(self.identifier())
            elif tokens.take_symbol("["):
                if tokens.current.kind != "digits":
                    raise tokens.unexpected()
                digits = tokens.advance().text
                if len(digits) > 9:
                    raise ExpressionError(f"List index is not within the allowable range; index: [{digits}]")
                parts.append(int(digits))
                tokens.expect_symbol("]")
            else:
                return PathNode(tuple(parts))

    def identifier(self) -> str:
        token = self.tokens.current
        if token.kind == "alias" or (token.kind == "name" and not self.is_keyword(token)):
            self.tokens.advance()
            return token.text
        raise self.tokens.unexpected()

    def is_keyword(self, token: Token) -> bool:
        return token.text.upper() in self.keywords

    def nest(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ExpressionError("The expression contains too many nested parentheses or operators")

    def end(self) -> None:
        """Raises ExpressionError unless all is read, and for more operators than may be."""
        self.tokens.expect_end()
        if self.operators > MAX_OPERATORS:
            raise ExpressionError(f"The expression contains too many operators; operator count: {self.operators}")

    def call(self) -> CallNode:
        self.operators += 1
        name = self.tokens.advance().text
        self.tokens.expect_symbol("(")
        args = [self.operand()]
        while self.tokens.take_symbol(","):
            args.append(self.operand())
        self.tokens.expect_symbol(")")
        return CallNode(name, tuple(args))

    def operand(self) -> Operand:
        """A path, a value, a function, or one of these in parentheses."""
        tokens = self.tokens
        token = tokens.current
        if token.kind == "value":
            tokens.advance()
            return ValueNode(token.text)
        if token.kind == "symbol" and token.text == "(":
            return self.parenthesized_operand()
        if token.kind == "name" and not self.is_keyword(token):
            after = tokens.peek()
            if after.kind == "symbol" and after.text == "(":
                self.nest()
                call = self.call()
                self.depth -= 1
                return call
        return self.path()

    def parenthesized_operand(self) -> Operand:
        self.nest()
        self.tokens.expect_symbol("(")
        inner = self.operand()
        self.tokens.expect_symbol(")")
        self.depth -= 1
        return inner


class _ConditionParser(_Parser):
    def __init__(self, text: str) -> None:
        super().__init__(text, _CONDITION_WORDS)
        self.redundant = False
        self.last_group = (-1, -1)
        """Token numbers of the parentheses that were closed last."""

    def condition(self, node: Node) -> Condition:
        """The node as a condition; a bare path or value is none."""
        if isinstance(node, (PathNode, ValueNode)):
            raise self.tokens.unexpected()
        return node

    def disjunction(self) -> Node:
        first = self.conjunction()
        if not self.tokens.is_word("OR"):
            return first
        operands = [self.condition(first)]
        while self.tokens.is_word("OR"):
            self.tokens.advance()
            operands.append(self.condition(self.conjunction()))
        return OrNode(tuple(operands))

    def conjunction(self) -> Node:
        first = self.negation()
        if not self.tokens.is_word("AND"):
            return first
        operands = [self.condition(first)]
        while self.tokens.is_word("AND"):
            self.tokens.advance()
            operands.append(self.condition(self.negation()))
        return AndNode(tuple(operands))

    def negation(self) -> Node:
        if self.tokens.is_word("NOT"):
            self.nest()
            self.tokens.advance()
            node = NotNode(self.condition(self.negation()))
            self.depth -= 1
            return node
        return self.comparison()

    def comparison(self) -> Node:
        tokens = self.tokens
        left = self.group() if tokens.is_symbol("(") else self.operand()
        if not isinstance(left, (PathNode, ValueNode, CallNode)):
            return left
        if tokens.current.kind == "symbol" and tokens.current.text in COMPARATORS:
            self.operators += 1
            operator = tokens.advance().text
            return CompareNode(operator, left, self.operand())
        if tokens.is_word("BETWEEN"):
            self.operators += 1
            tokens.advance()
            low = self.operand()
            if not tokens.is_word("AND"):
                raise tokens.unexpected()
            tokens.advance()
            return BetweenNode(left, low, self.operand())
        if tokens.is_word("IN"):
            self.operators += 1
            tokens.advance()
            tokens.expect_symbol("(")
            choices = [self.operand()]
            while tokens.take_symbol(","):
                choices.append(self.operand())
            tokens.expect_symbol(")")
            return InNode(left, tuple(choices))
        return left

    def group(self) -> Node:
        """Parentheses around a condition or an operand: which of them it is shows only inside."""
        self.nest()
        opened = self.tokens.at
        self.tokens.expect_symbol("(")
        inner = self.disjunction()
        closed = self.tokens.at
        self.tokens.expect_symbol(")")
        if self.last_group == (opened + 1, closed - 1):
            self.redundant = True
        self.last_group = (opened, closed)
        self.depth -= 1
        return inner

    def parenthesized_operand(self) -> Operand:
        self.nest()
        self.tokens.expect_symbol("(")
        if self.tokens.is_symbol("("):
            self.redundant = True
        inner = self.operand()
        self.tokens.expect_symbol(")")
        self.depth -= 1
        return inner


class _UpdateParser(_Parser):
    def __init__(self, text: str) -> None:
        super().__init__(text, SECTIONS)

    def update(self) -> ParsedUpdate:
        found: list[Action] = []
        repeated = ""
        seen: set[str] = set()
        while True:
            section = self.tokens.current.text.upper()
            if self.tokens.current.kind != "name" or section not in SECTIONS:
                raise self.tokens.unexpected()
            self.tokens.advance()
            if section in seen:
                repeated = repeated or section
            seen.add(section)
            found.append(self.action(section))
            while self.tokens.take_symbol(","):
                found.append(self.action(section))
            if self.tokens.current.kind == "end":
                break
        self.end()
        return ParsedUpdate(tuple(found), repeated)

    def action(self, section: str) -> Action:
        path = self.path()
        if section == "REMOVE":
            return Action(section, path, None)
        if section == "SET":
            self.tokens.expect_symbol("=")
            return Action(section, path, self.sum())
        token = self.tokens.current
        if token.kind != "value":
            raise self.tokens.unexpected()
        self.tokens.advance()
        return Action(section, path, ValueNode(token.text))

    def sum(self) -> Operand:
        left = self.operand()
        if self.tokens.is_symbol("+") or self.tokens.is_symbol("-"):
            self.operators += 1
            operator = self.tokens.advance().text
            return CallNode(operator, (left, self.operand()))
        return left

    def parenthesized_operand(self) -> Operand:
        self.nest()
        self.tokens.expect_symbol("(")
        inner = self.sum()
        self.tokens.expect_symbol(")")
        self.depth -= 1
        return inner

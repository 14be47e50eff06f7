"""DynamoDB's expression language: text to tokens (`lexer`), to a tree (`syntax`, `parser`), to closures.

`condition`, `update` and `projection` compile trees to closures over items in wire form; `request` compiles all
expressions of one request together and finds what AWS would refuse. Knows attribute values; knows no table, no store.
"""

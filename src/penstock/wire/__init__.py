"""Bytes to dicts and back, for every AWS protocol, from botocore's models. Knows no service's logic and no storage.

Lives here: the one facade over botocore (`models`), compiled parsers and serializers, URI matching, the HTTP message
types that the listener fills (`message`) and the error every layer raises (`errors`).
"""

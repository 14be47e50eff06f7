"""Process metrics in Prometheus's text format, and log lines as JSON."""

from __future__ import annotations

import io
import json
import logging
import re
import time

from penstock.telemetry import Telemetry, configure_logging


def test_the_text_is_what_prometheus_reads() -> None:
    telemetry = Telemetry()
    telemetry.count("penstock_things_total", kind='a"b\\c\nd')
    telemetry.count("penstock_things_total", 2, kind="x")
    telemetry.gauge("penstock_level", lambda: 1.5)
    telemetry.operation_ended("s3", "GetObject", "", time.monotonic() - 0.003)
    telemetry.operation_ended("s3", "GetObject", "NoSuchKey", time.monotonic())
    text = telemetry.render()
    line = re.compile(r'(#.*|[a-z_]+(\{([a-z]+="([^"\\\n]|\\.)*",?)*\})? [0-9.e+-]+)')
    assert all(line.fullmatch(each) for each in text.splitlines()), text
    assert 'penstock_things_total{kind="a\\"b\\\\c\\nd"} 1' in text
    assert 'operation="GetObject",error="",le="0.0025"} 0' in text
    assert 'operation="GetObject",error="",le="0.005"} 1' in text
    assert 'operation="GetObject",error="",le="+Inf"} 1' in text


def test_json_lines() -> None:
    out = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        configure_logging("info", "json", out)
        logging.getLogger("penstock.x").info("hello %s", "you", extra={"fields": {"request_id": "r"}})
        logging.getLogger("penstock.x").debug("not this")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    (line,) = [json.loads(each) for each in out.getvalue().splitlines()]
    assert (line["message"], line["level"], line["request_id"]) == ("hello you", "INFO", "r")

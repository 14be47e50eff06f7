"""Settings: precedence, types, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.config import BadSettingError, load


def test_flags_win_over_environment_over_file(tmp_path: Path) -> None:
    file = tmp_path / "penstock.toml"
    file.write_text('port = 1\nhost = "a"\nregion = "r1"\nlimits = false\n')
    settings = load({"port": 3}, {"PENSTOCK_PORT": "2", "PENSTOCK_HOST": "b", "PATH": "/bin"}, file)
    assert (settings.port, settings.host, settings.region, settings.limits) == (3, "b", "r1", False)


@pytest.mark.parametrize(("text", "value"), [("on", True), ("OFF", False), ("1", True), ("no", False)])
def test_switches(text: str, value: bool) -> None:
    assert load({}, {"PENSTOCK_LIMITS": text}).limits is value


@pytest.mark.parametrize(
    ("flags", "environment", "words"),
    [
        ({"nonsense": 1}, {}, "--nonsense"),
        ({"port": "x"}, {}, "--port: 'x' is not int"),
        ({}, {"PENSTOCK_IDLE_TIMEOUT_S": "soon"}, "PENSTOCK_IDLE_TIMEOUT_S: 'soon' is not float"),
        ({}, {"PENSTOCK_LIMITS": "maybe"}, "PENSTOCK_LIMITS"),
    ],
)
def test_a_wrong_setting_says_where_it_came_from(
    flags: dict[str, object], environment: dict[str, str], words: str
) -> None:
    with pytest.raises(BadSettingError, match=words):
        load(flags, environment)


def test_the_file_may_be_named_in_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("port = 7\n")
    assert load({}, {"PENSTOCK_CONFIG": str(file)}).port == 7
    file.write_text("prot = 7\n")
    with pytest.raises(BadSettingError, match="prot"):
        load({}, {"PENSTOCK_CONFIG": str(file)})

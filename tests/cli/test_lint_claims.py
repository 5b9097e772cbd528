"""`ccar lint-claims` as it is typed."""

from __future__ import annotations

import json

from tests.cli.test_commands import ccar


def test_the_paper_s_own_tables_are_checked_without_a_file(tmp_path):
    code, out, err = ccar("lint-claims", cwd=tmp_path)
    assert (code, err) == (1, "")
    assert "63 rows" in out
    assert "5 contradiction" in out
    assert "Table IV: Ours + CE" in out


def test_json_has_every_finding_with_its_rows(tmp_path):
    code, out, _ = ccar("lint-claims", "--json", cwd=tmp_path)
    assert code == 1
    result = json.loads(out)
    assert result["rows"] == 63
    first = result["findings"][0]
    assert (first["severity"], first["check"], first["gap"]) == ("contradiction", "group means", 2.3757)
    assert first["rows"][0]["overall"] == 64.9


def test_the_template_can_be_checked_as_it_is(tmp_path):
    code, template, _ = ccar("lint-claims", "--template", cwd=tmp_path)
    assert code == 0
    (tmp_path / "mine.csv").write_text(template)
    code, out, _ = ccar("lint-claims", "mine.csv", cwd=tmp_path)
    assert code == 1
    assert "gain within noise" in out


def test_a_table_without_flaw_ends_with_0(tmp_path):
    (tmp_path / "good.csv").write_text("method,data,overall\nCE,imagenet_lt,41.6\n")
    code, out, _ = ccar("lint-claims", "good.csv", cwd=tmp_path)
    assert (code, out) == (0, "good.csv: 1 row, nothing found\n")
    assert json.loads(ccar("lint-claims", "good.csv", "--json", cwd=tmp_path)[1])["findings"] == []


def test_a_bad_table_ends_with_2_and_a_line_for_every_mistake(tmp_path):
    (tmp_path / "bad.csv").write_text("method,data,overall\nCE,imagenet_lt,a\nCE,imagenet_lt,102\n")
    code, out, err = ccar("lint-claims", "bad.csv", cwd=tmp_path)
    assert (code, out) == (2, "")
    assert [line.split(" ")[0] for line in err.splitlines()] == ["bad.csv:2:", "bad.csv:3:"]


def test_what_is_not_checked_is_said_beside_the_result(tmp_path):
    (tmp_path / "own.csv").write_text("method,data,many,medium,few,overall\nCE,mine,80,60,40,99\n")
    code, out, err = ccar("lint-claims", "own.csv", cwd=tmp_path)
    assert (code, out) == (0, "own.csv: 1 row, nothing found\n")
    assert "not checked: group means of 1 rows" in err


def test_control_characters_of_a_file_do_not_reach_the_terminal(tmp_path):
    (tmp_path / "evil.csv").write_text("method,data,overall\n\x1b[31mA,imagenet_lt,41\n\x1b[31mA,imagenet_lt,45\n")
    code, out, _ = ccar("lint-claims", "evil.csv", cwd=tmp_path)
    assert code == 1
    assert "\x1b" not in out

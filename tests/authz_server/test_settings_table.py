from authz_server.settings import setting_names
from authz_server.settings_table import describe_settings, to_markdown


def test_the_table_has_one_row_for_each_setting_with_flag_variable_default_and_meaning() -> None:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in to_markdown().splitlines()[2:]]

    assert list(setting_names()) == [row[0].strip("`-").replace("-", "_") for row in rows]
    assert {5} == {len(row) for row in rows}
    assert all(len(row[4]) > 10 for row in rows)
    by_flag = {row[0]: row for row in rows}
    assert [by_flag["`--listen`"][1], by_flag["`--listen`"][3]] == ["`AUTHZ_LISTEN`", "`127.0.0.1:9191`"]
    assert by_flag["`--max-message-bytes`"][3] == "`1152KiB`"
    assert by_flag["`--hash-key`"][3] == ""


def test_every_setting_is_described_in_words() -> None:
    described = describe_settings()

    assert set(setting_names()) == set(described)
    assert all(expected and meaning.endswith(".") for expected, meaning in described.values())

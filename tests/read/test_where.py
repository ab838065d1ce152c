"""`where`, `default` and `required`: who is mailed, and what an empty cell means."""

import pytest

from conftest import CAMPAIGN
from postroom.errors import CampaignError, Faults, RecipientError
from postroom.read.campaign import load
from postroom.read.recipients import Table

PEOPLE = "email,plan,First Name,amount\na@example.com,pro,Ann,10\nb@example.com,free,,9\nc@example.com,pro,Cy,\n"


def opened(folder, more, content=PEOPLE):
    folder.campaign(CAMPAIGN.replace("  file: recipients.csv\n", f"  file: recipients.csv\n{more}") + "vars: {wanted: free}\n")
    folder.write("recipients.csv", content)
    return Table(load("campaign.yaml", secrets=False))


def rows(table, report=pytest.fail):
    return [row for chunk in table.chunks(report) for _, row in chunk]


def mailed(table):
    return "".join(row["email"][0] for row in rows(table))


@pytest.mark.parametrize(("where", "who"), [
    ('plan == "pro"', "ac"), ("plan == wanted", "b"), ('row["First Name"] != ""', "ac"), ("amount | float > 9", "a"), ('plan in ["pro", "free"] and not amount', "c"), ("true", "abc"), ("false", ""),
    ("plan", "error"), ("row.plan == 'pro'", "ac"), ("plan is defined", "abc"), ("email.endswith('b@example.com')", "b"), ("row | length == 4", "abc"), ("'}}' in plan or plan == 'free'", "b")])
def test_only_rows_for_which_where_is_true_are_recipients(folder, where, who):
    table = opened(folder, f"  where: '{where.replace(chr(39), chr(39) * 2)}'\n")

    if who == "error":
        with pytest.raises(CampaignError, match="neither true nor false"):
            rows(table, _raise)
    else:
        assert (mailed(table), table.left_out) == (who, 3 - len(who))


def _raise(error):
    raise error


@pytest.mark.parametrize(("where", "words"), [
    ("plan ==", "`where`: "), ("plan = 'pro'", "`where`: "), ("plna == 'pro'", '`where`: there is no column "plna"'), ('row["Frist Name"]', 'no column "Frist Name"'), ("row.plna", 'no column "plna"'),
    ("plan }} {{ plan", "`where`: "), ("plan | nofilter", "nofilter"), ("plan is notest", "notest"), ("(" * 3000 + "1" + ")" * 3000, "nested too deeply"), ("{% if x %}", "`where`: "), ("random", 'no column "random"')])
def test_a_faulty_where_is_named_in_the_campaign(folder, where, words):
    with pytest.raises(CampaignError) as error:
        opened(folder, f"  where: '{where.replace(chr(39), chr(39) * 2)}'\n")

    assert words in error.value.what and error.value.do
    assert (error.value.where.file, error.value.where.line) == ("campaign.yaml", 10)


@pytest.mark.parametrize(("where", "words"), [
    ("amount > 5", "not supported between"), ('"x" * 10**9 == ""', "5,242,880"), ("plan.center(999999999) == plan", "center"), ("9**(9**9) == 1", "too large"), ("plan.__class__.__mro__ == 1", "unsafe"),
    ("row[plan] == 1", "no attribute"), ("range(10**9) | length > 1", "ange")])
def test_a_where_that_fails_names_the_row_and_is_bounded(folder, where, words):
    found = []

    assert rows(opened(folder, f"  where: '{where}'\n"), found.append) == []

    assert [(str(error.where), words in error.what) for error in found] == [("campaign.yaml, line 10, column 3, row " + f"{line} of the recipients", True) for line in (2, 3, 4)]


def test_a_default_stands_in_for_blank_cells_and_missing_ones(folder):
    """traps D3: a short row is an error, or has the declared default; never "None"."""
    table = opened(folder, "  columns: {name: {default: friend}, city: {default: ''}, lang: {default: en}}\n",
                   "email,name,city\na@example.com,Ann,Rome\nb@example.com\nc@example.com,  ,x\nd@example.com,NA\n")

    assert [tuple(row.values()) for row in rows(table)] == [("a@example.com", "Ann", "Rome", "en"), ("b@example.com", "friend", "", "en"), ("c@example.com", "friend", "x", "en"),
                                                            ("d@example.com", "NA", "", "en")]
    assert table.columns == ["email", "name", "city", "lang"]
    assert [note.what for note in table.notes] == ['the table has no column "lang": it is "en" for every row']


def test_a_short_row_of_which_one_column_has_no_default_stays_an_error(folder):
    found = []

    assert len(rows(opened(folder, "  columns: {name: {default: friend}}\n", "email,name,city\na@example.com\nb@example.com,,x\n"), found.append)) == 1

    assert [(error.where.line, error.what) for error in found] == [(2, "the row has 1 cells, the header 3: name and what follows is missing")]


def test_where_sees_the_defaults_and_required_only_who_is_mailed(folder):
    table = opened(folder, '  where: plan == "pro"\n  columns: {plan: {default: pro}, name: {required: true}}\n', "email,plan,name\na@example.com,,Ann\nb@example.com,free,\nc@example.com,pro, \n")
    found = []

    assert [row["email"] for row in rows(table, found.append)] == ["a@example.com"]

    assert [(str(error.where), error.what) for error in found] == [("recipients.csv, line 4, column name", "the cell is empty, and the campaign says that it is required")]


@pytest.mark.parametrize("more", ["  columns: {plna: {required: true}}\n", "  columns: {plna: {required: false}}\n"])
def test_a_misspelt_column_is_an_error_with_the_known_ones(folder, more):
    with pytest.raises(CampaignError, match='no column "plna"; the columns are: email, plan, First Name, amount') as error:
        opened(folder, more)

    assert (error.value.where.line, error.value.do) == (10, 'did you mean "plan"?')


@pytest.mark.parametrize(("column", "words"), [("plan: {default: x, required: true}", "not both"), ("plan: {}", "say `default"), ("plan: {defualt: x}", '"defualt" is not known'),
                                               ("email: {default: x}", "can have no default"), ("plan: {required: perhaps}", "required"), ("plan: x", "")])
def test_a_column_is_checked_with_its_line(folder, column, words):
    with pytest.raises(Faults) as error:
        opened(folder, f"  columns:\n    {column}\n")

    assert words in error.value.errors[0].what and error.value.errors[0].where.line == 11


def test_what_where_leaves_out_is_read_with_it(folder):
    with pytest.raises(RecipientError, match="never closed"):
        rows(opened(folder, '  where: plan == "pro"\n', 'email,plan\na@example.com,"free\n'))

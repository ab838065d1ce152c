"""Filters of the templates: dates, numbers, defaults and plurals out of cells, the same on every machine."""

import datetime
import decimal
import locale

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import CAMPAIGN
from postroom.filters import number
from postroom.errors import TemplateError
from running import composed


def text_of(folder, template, cells=""):
    """The plain text of a row with one cell named `cell`."""
    folder.campaign(CAMPAIGN.replace("html: digest.html\n", ""))
    folder.write("digest.txt", template)
    folder.write("recipients.csv", f'email,first_name,cell\nann@example.com,Ann,"{cells}"\n')
    return composed(folder)[1][0].text


@pytest.mark.parametrize(("cell", "template", "text"), [
    ("2026-11-04", "{{ cell | date }}", "4 November 2026"), ("2026-11-04 08:05", "{{ cell | date('%d.%m.%Y %H:%M') }}", "04.11.2026 08:05"),
    ("2026-11-04T18:30:00Z", "{{ cell | date('%-I:%M %p, %a %-d %b') }}", "6:30 PM, Wed 4 Nov"), ("2026/3/4", "{{ cell | date('%Y年%-m月%-d日') }}", "2026年3月4日"),
    ("2026年3月4日", "{{ cell | date('%A') }}", "Wednesday"), ("03/04/2026", "{{ cell | date(source='%d/%m/%Y') }}", "3 April 2026"),
    (" 2026-11-04 ", "{{ cell | date('%j 100%%') }}", "308 100%"), ("", "{{ now | date('%Y-%m-%d %H:%M') }}", "2026-11-24 09:30")])
def test_a_date_is_written_as_asked(folder, cell, template, text):
    assert text_of(folder, template, cell) == text


@pytest.mark.parametrize(("cell", "template", "text"), [
    ("1234567.885", "{{ cell | number(2) }}", "1,234,567.89"), ("1234.5", "{{ cell | number }}", "1,234.5"), ("-0.004", "{{ cell | number(2) }}", "0.00"),
    ("1.234,56", "{{ cell | number(2, '.,', source='.,') }}", "1.234,56"), ("1234.56", "{{ cell | number(2, ' ,') }}", "1234,56"), ("1234567", "{{ cell | number(0, \"'.\") }}", "1'234'567"),
    ("0.125", "{{ cell | number(2) }}", "0.13"), ("007", "{{ cell | number }}", "7"), ("", "{{ (0.1 + 0.2) | number(2) }}", "0.30"), ("1e3", "{{ '+5' | number }}", "5")])
def test_a_number_is_grouped_and_rounded_as_on_an_invoice(folder, cell, template, text):
    assert text_of(folder, template, cell) == text


@pytest.mark.parametrize(("cell", "template", "text"), [
    ("", "{{ cell | default('you') }}", "you"), ("  ", "{{ cell | d('you') }}", "you"), ("Leeds", "{{ cell | default('you') }}", "Leeds"), ("", "{{ gone | default('you') }}", "you"),
    ("", "{{ 0 | default('x') }}{{ false | default('x') }}{{ none | default('x') }}", "0Falsex"), ("", "{{ 0 | default('x', true) }}", "x"),
    ("1", "{{ cell | plural('seat', 'seats') }}", "seat"), ("2", "{{ cell }} {{ cell | plural('seat', 'seats') }}", "2 seats"), ("", "{{ 0 | plural('seat', 'seats') }}", "seats")])
def test_empty_cells_and_plurals(folder, cell, template, text):
    assert text_of(folder, template, cell) == text


@pytest.mark.parametrize(("cell", "template", "words"), [
    ("03/04/2026", "{{ cell | date }}", '"03/04/2026" is no date that is plain to everybody'), ("2026-02-30", "{{ cell | date }}", "no day of the calendar"),
    ("", "{{ cell | date }}", "no date in an empty cell"), ("x", "{{ now | date('%Q') }}", 'knows no "%Q"'), ("x", "{{ now | date('%') }}", 'knows no "%"'),
    ("soon", "{{ cell | date(source='%d.%m.%Y') }}", '"soon" is not a date written as %d.%m.%Y'), ("1,234", "{{ cell | number }}", '"1,234" is not a number'),
    ("", "{{ cell | number }}", "no number in an empty cell"), ("1e999999999", "{{ cell | number(2) }}", "is not a number"), ("1", "{{ cell | number(999999999) }}", "0 to 12 digits"),
    ("1", "{{ cell | number(2, 'abc') }}", "separators are two characters"), ("many", "{{ cell | plural('a', 'b') }}", '"many" is not a number'),
    ("", "{{ gone | date }}", '"gone" is neither a column nor'), ("", "{{ gone | number }}", '"gone" is neither a column nor')])
def test_what_cannot_be_read_is_told_with_template_line_and_row(folder, cell, template, words):
    with pytest.raises(TemplateError) as error:
        text_of(folder, "\n" + template, cell)

    assert words in error.value.what
    assert (error.value.where.file, error.value.where.line, error.value.where.row) == ("digest.txt", 2, 2)


def test_filters_work_in_the_campaign_file_too(folder):
    folder.campaign(CAMPAIGN.replace("your November digest", "{{ now | date('%B') }}, {{ '1234.5' | number(2) }}"))

    assert composed(folder)[1][0].subject == "Ann, November, 1,234.50"


def test_the_locale_of_the_machine_changes_nothing(folder):
    before = locale.setlocale(locale.LC_ALL)
    try:
        for name in ("de_DE.UTF-8", "zh_CN.UTF-8", "C.UTF-8"):
            try:
                locale.setlocale(locale.LC_ALL, name)
            except locale.Error:
                continue
            assert text_of(folder, "{{ '2026-03-04' | date('%A %B') }} {{ '1234.5' | number }}") == "Wednesday March 1,234.5"
    finally:
        locale.setlocale(locale.LC_ALL, before)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-10**15, max_value=10**15, places=3), st.integers(0, 6))
def test_a_grouped_number_is_the_number_to_half_of_its_last_digit(value, digits):
    written = decimal.Decimal(number(f"{value:f}", digits).replace(",", ""))

    assert abs(written - value) <= decimal.Decimal(5).scaleb(-digits - 1)


def test_a_date_with_a_zone_keeps_it(folder):
    assert datetime.datetime.fromisoformat(text_of(folder, "{{ cell | date('%Y-%m-%dT%H:%M:%S') }}", "2026-11-04 08:05:09 +08:00")) == datetime.datetime(2026, 11, 4, 8, 5, 9)

"""Tables that other projects test their own readers with, read as an independent reader reads them.

They are fetched from the packages that carry them into `.cache/`, once, and are no part of this repository. The independent reader is pandas' own
tokenizer, told encoding and delimiter as that project has them; ours finds both. Only the address column is named, any will do:
chunks() looks at no address.
"""

import hashlib
import json
import subprocess
import sys
import tarfile
import zipfile
from functools import cache
from pathlib import Path

import pandas
import pytest

from conftest import CAMPAIGN
from postroom.errors import PostroomError
from postroom.read.campaign import load
from postroom.read.recipients import Table
from running import missing

CACHE = Path(__file__).parents[2] / ".cache" / "tables"
# name==version (PyPI) or name@version (npm): the file it comes in, and its SHA-256.
PACKAGES = {
    "csvkit==2.2.0": ("csvkit-2.2.0.tar.gz", "147318a8dbaec07c0bbb9291c14b78de5fa32ed3d4a5c2396e52a83c0a30df6b"),
    "agate==1.14.2": ("agate-1.14.2.tar.gz", "7f29841c39d84b1de7fde762b8d792085371515324f3a01413b20f810398225b"),
    "tabview==1.5.0": ("tabview-1.5.0.tar.gz", "d28f1a638c5bcf01280b8fc292a83caa872a5001293f04dcb35a9afe60bd7c96"),
    "dataprofiler==0.14.0": ("dataprofiler-0.14.0.tar.gz", "837c37909ee16433ad31928168390f24ad4a09c3390d8a679802b06833a606e2"),
    "pyexcel-io==0.6.8": ("pyexcel_io-0.6.8.tar.gz", "c8831a7542b3da0bf5849afaecabd8e7524a1761ee88270ed24b5bc53649f533"),
    "pandas==0.20.3": ("pandas-0.20.3-cp36-cp36m-win32.whl", "0811ede1b9b338169803e04e665f8127283995223d296a2e61eca99d14f0a9a7"),
    "papaparse@5.7.1": ("papaparse-5.7.1.tgz", "c78b4aa4a792378059ebcfc71b91601a310e0456f431999c8e95b6f4b614b85c"),
    "csv-spectrum@2.0.0": ("csv-spectrum-2.0.0.tgz", "002a6a938bf51ceb26af7b760f5c1b54baca4820b0e9142f135619210c93d021"),
    "csvtojson@1.1.12": ("csvtojson-1.1.12.tgz", "a17dc85044b75c5a9853363337c0a21b132e180801d5741386c26640cf6d80d2"),
    "world-countries@5.1.0": ("world-countries-5.1.0.tgz", "329eb6ef4099ffb590219c9beb634bf489a5e4b10d8ab0ac52a58ebf7b9f8495")}
# Package, path at the end of a member's name, encoding and delimiter as its project has them.
TABLES = [
    ("csvkit==2.2.0", "examples/test_latin1.csv", "latin-1", ","), ("csvkit==2.2.0", "examples/test_utf16_big.csv", "utf-16", ","), ("csvkit==2.2.0", "examples/test_utf16_little.csv", "utf-16", ","),
    ("csvkit==2.2.0", "examples/test_utf8_bom.csv", "utf-8-sig", ","), ("csvkit==2.2.0", "examples/test_utf8.csv", "utf-8", ","), ("csvkit==2.2.0", "examples/mac_newlines.csv", "utf-8", ","),
    ("csvkit==2.2.0", "examples/dummy.tsv", "utf-8", "\t"), ("csvkit==2.2.0", "examples/test_header_newline.csv", "utf-8", ","), ("csvkit==2.2.0", "examples/testjson_converted.csv", "utf-8", ","),
    ("csvkit==2.2.0", "realdata/ks_1033_data.csv", "utf-8", ","), ("csvkit==2.2.0", "realdata/FY09_EDU_Recipients_by_State.csv", "utf-8", ","),
    ("csvkit==2.2.0", "census_2010/ilgeo2010_excerpt.csv", "utf-8", ","), ("csvkit==2.2.0", "examples/test_geo.csv", "utf-8", ","),
    ("csvkit==2.2.0", "examples/null_byte.csv", "utf-8", ","),
    ("agate==1.14.2", "examples/test_cr.csv", "utf-8", ","), ("agate==1.14.2", "examples/test_crlf.csv", "utf-8", ","), ("agate==1.14.2", "examples/test_csv_sniff.csv", "utf-8", "|"),
    ("agate==1.14.2", "realdata/exonerations-20150828.csv", "utf-8", ","), ("agate==1.14.2", "examples/test_quote_nonnumeric.csv", "utf-8", ","),
    ("tabview==1.5.0", "sample/test_latin-1.csv", "latin-1", ","), ("tabview==1.5.0", "sample/unicode-example-utf8.txt", "utf-8", ","), ("tabview==1.5.0", "sample/windows_newlines.csv", "utf-8", "\t"),
    ("tabview==1.5.0", "sample/long_wide_chars.txt", "utf-8", ","), ("tabview==1.5.0", "sample/data_ohlcv.csv", "utf-8", ","),
    ("dataprofiler==0.14.0", "csv/iris-utf-16.csv", "utf-16", ","), ("dataprofiler==0.14.0", "csv/iris-utf-32.csv", "utf-32", ","), ("dataprofiler==0.14.0", "csv/iris-utf-8.csv", "utf-8", ","),
    ("dataprofiler==0.14.0", "csv/daily-activity-sheet-tab.csv", "utf-8", "\t"), ("dataprofiler==0.14.0", "csv/SchoolDataSmall.csv", "utf-8", ","),
    ("dataprofiler==0.14.0", "csv/zomato.csv", "latin-1", ","), ("dataprofiler==0.14.0", "csv/aws_honeypot_marx_geo.csv", "utf-8", ","),
    ("pyexcel-io==0.6.8", "fixtures/csv-encoding-utf16.csv", "utf-16", ","),
    ("pandas==0.20.3", "data/sauron.SHIFT_JIS.csv", "shift_jis", ","), ("pandas==0.20.3", "data/utf16_ex.txt", "utf-16", "\t"), ("pandas==0.20.3", "parser/data/unicode_series.csv", "latin-1", ","),
    ("pandas==0.20.3", "sas/data/DRXFCD_G.csv", "utf-8", ","), ("pandas==0.20.3", "io/data/banklist.csv", "utf-8", ","), ("pandas==0.20.3", "parser/data/salaries.csv", "utf-8", "\t"),
    ("papaparse@5.7.1", "tests/utf-8-bom-sample.csv", "utf-8-sig", ","), ("papaparse@5.7.1", "tests/long-sample.csv", "utf-8", ","), ("papaparse@5.7.1", "tests/sample-header.csv", "utf-8", ","),
    ("csv-spectrum@2.0.0", "csvs/comma_in_quotes.csv", "utf-8", ","), ("csv-spectrum@2.0.0", "csvs/newlines_crlf.csv", "utf-8", ","), ("csv-spectrum@2.0.0", "csvs/quotes_and_newlines.csv", "utf-8", ","),
    ("csv-spectrum@2.0.0", "csvs/json.csv", "utf-8", ","), ("csv-spectrum@2.0.0", "csvs/location_coordinates.csv", "utf-8", ","),
    ("csvtojson@1.1.12", "data/large-utf8.csv", "utf-8", ","), ("world-countries@5.1.0", "dist/countries.csv", "utf-8", ",")]
# What is not read, the words of the refusal, and why it is true.
REFUSED = {
    ("csvkit==2.2.0", "realdata/FY09_EDU_Recipients_by_State.csv"): ("column 10: a column has no name", "its header ends with a comma: the last column has no name"),
    ("csvkit==2.2.0", "examples/null_byte.csv"): ("NUL character", "a cell of it is a NUL character, which no text holds")}
# Nobody can tell: its letters went through a wrong encoding before they got here ("ÛÁstanbul"). Its project has it as Latin-1.
DECLARED = {("dataprofiler==0.14.0", "csv/zomato.csv"): "latin-1"}


@cache
def package(name: str) -> Path:
    """The package's file, fetched once and checked."""
    filename, sha256 = PACKAGES[name]
    path = CACHE / filename
    if not path.is_file():
        CACHE.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(fetching(name, filename), cwd=CACHE, capture_output=True, text=True)
        if done.returncode or not path.is_file():
            missing(f"{name} (tables of another project; needs the network)")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    return path


def fetching(name, filename):
    if "@" in name:
        return ["npm", "pack", "--silent", name]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest", "."]
    if filename.endswith(".whl"):
        return [*pip, "--only-binary", ":all:", "--platform", "win32", "--python-version", "36", "--implementation", "cp", "--abi", "cp36m", name]
    return [*pip, "--no-binary", name.partition("==")[0], name]


@cache
def names_in(name):
    path = package(name)
    if path.suffix == ".whl":
        return zipfile.ZipFile(path).namelist()
    with tarfile.open(path) as archive:
        return archive.getnames()


def octets_of(name, ending):
    path, = {member for member in names_in(name) if member.endswith("/" + ending)}
    if package(name).suffix == ".whl":
        return zipfile.ZipFile(package(name)).read(path)
    with tarfile.open(package(name)) as archive:
        return archive.extractfile(path).read()


def read_by_pandas(path, encoding, delimiter):
    """Header and rows that are not blank, every cell its text."""
    frame = pandas.read_csv(path, sep=delimiter, encoding=encoding, header=None, dtype=str, keep_default_na=False, na_filter=False, skip_blank_lines=True)
    header, *rows = frame.values.tolist()
    return [name.strip() for name in header], [row for row in rows if any(cell.strip() for cell in row)]


def read_by_us(folder, column, encoding):
    more = f"  email: {json.dumps(column)}\n" + (f"  encoding: {encoding}\n" if encoding else "")
    folder.campaign(CAMPAIGN.replace("  file: recipients.csv\n", f"  file: recipients.csv\n{more}"))
    table = Table(load("campaign.yaml", secrets=False))
    faults = []
    rows = [[*row.values()] for chunk in table.chunks(faults.append) for _, row in chunk]
    if faults:
        raise faults[0]
    return table, rows


@pytest.mark.parametrize(("name", "ending", "encoding", "delimiter"), TABLES, ids=[f"{name} {ending}" for name, ending, *_ in TABLES])
def test_a_table_of_another_project_reads_as_its_own_reader_reads_it(folder, name, ending, encoding, delimiter):
    path = folder.write("recipients.csv", octets_of(name, ending))
    header, expected = read_by_pandas(path, encoding, delimiter)

    if (name, ending) in REFUSED:
        words, reason = REFUSED[name, ending]
        with pytest.raises(PostroomError) as error:
            read_by_us(folder, header[0], None)
        assert words in str(error.value)
        print(f"{name} {ending}: refused, {reason}")
        return
    table, rows = read_by_us(folder, header[0], DECLARED.get((name, ending)))

    print(f"{name} {ending}: {len(rows)} rows of {len(header)} columns, {table.encoding}{' by a guess' if table.guess else ''}, {table.delimiter!r}")
    assert (table.columns, len(rows)) == (header, len(expected))
    assert [pair for pair in zip(rows, expected) if pair[0] != pair[1]][:3] == []


def test_at_least_30_are_read_and_at_most_5_refused(record_property):
    read, encodings = len(TABLES) - len(REFUSED), {encoding for *_, encoding, _ in TABLES}

    record_property("figure", f"{len(TABLES)} real tables of {len(PACKAGES)} projects in {len(encodings)} encodings: {read} read, {len(REFUSED)} refused")
    assert read >= 30 and len(REFUSED) <= 5 and set(REFUSED) <= {(name, ending) for name, ending, *_ in TABLES}

"""postroom from Python: what the command line does, as values and exceptions; and in a notebook."""

import email
import os
import subprocess
import sys
import threading

import pytest

import postroom
from conftest import CAMPAIGN
from postroom.errors import Faults
from relay import free_port
from running import deliveries


def test_the_package_is_light_until_it_is_used():
    program = "import sys, postroom\nassert not {'jinja2', 'pydantic', 'yaml'} & set(sys.modules)\npostroom.load\nassert 'jinja2' in sys.modules"

    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0


def test_pandas_is_loaded_for_whoever_wants_a_dataframe_alone(folder):
    program = ("import sys, postroom\ncampaign = postroom.load('campaign.yaml')\nlist(campaign.messages())\nassert 'pandas' not in sys.modules\n"
               "campaign.recipients()\nassert 'pandas' in sys.modules")

    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0


def test_recipients_are_a_table_of_text_by_line(folder):
    folder.write("recipients.csv", 'email,first_name,code\nann@example.com,"Ann\nLee",007\n\nzoe@example.com,NA,1E5\n')

    table = postroom.load("campaign.yaml").recipients()

    assert table.to_dict("index") == {2: {"email": "ann@example.com", "first_name": "Ann\nLee", "code": "007"}, 5: {"email": "zoe@example.com", "first_name": "NA", "code": "1E5"}}


def test_messages_are_what_would_leave(folder):
    messages = list(postroom.load("campaign.yaml").messages())

    assert [message.envelope.recipients for message in messages] == [("ann@example.com",), ("zoe@example.com",)]
    assert email.message_from_bytes(messages[0].octets)["Subject"] == "Ann, your November digest"
    assert len(list(postroom.load("campaign.yaml").messages(limit=1))) == 1


def test_preview_writes_the_page(folder):
    preview = postroom.load(folder.path / "campaign.yaml").preview()

    assert preview.messages == 2 and os.path.isfile(preview.page)
    assert postroom.load("campaign.yaml").preview(output=folder.path / "out").page == str(folder.path / "out" / "index.html")


def test_every_fault_is_one_exception_with_its_place(folder):
    folder.campaign(CAMPAIGN.replace("subject:", "subjct:").replace("html:", "hmtl:"))

    with pytest.raises(Faults) as faults:
        postroom.load("campaign.yaml")

    assert [fault.where.line for fault in faults.value.errors] == [1, 5, 6]
    assert isinstance(faults.value, postroom.PostroomError)


def test_send_needs_a_yes_and_sends_once(folder, relay, capsys):
    folder.relay(relay.port)
    campaign = postroom.load("campaign.yaml")

    with pytest.raises(postroom.PostroomError, match="no terminal"):
        campaign.send()
    first, second = campaign.send(yes=True), campaign.send(yes=True, quiet=True)

    assert (first.exit_code, first.sent, first.recipients, first.remaining, first.error) == (0, 2, 2, 0, None)
    assert (second.exit_code, second.sent, second.sent_in_all) == (0, 0, 2)
    assert sorted(relay.recipients()) == ["ann@example.com", "zoe@example.com"]
    assert "2 sent in this run" in capsys.readouterr().out


def test_a_dry_run_and_a_rehearsal_reach_nobody(folder, relay):
    folder.relay(relay.port)
    campaign = postroom.load("campaign.yaml")

    dry, rehearsal = campaign.send(dry_run=True), campaign.send(sandbox=True)

    assert (dry.exit_code, dry.sent, rehearsal.sent, relay.connections) == (0, 0, 2, 0)
    assert os.path.isfile(rehearsal.page) and not (folder.path / ".postroom" / "journal.sqlite3").exists()


def test_a_refusal_is_a_result_and_a_relay_that_is_not_there_an_exception(folder, relay):
    folder.relay(relay.port)
    relay.answers["RCPT TO:<zoe@example.com>"] = "550 5.1.1 no such mailbox"

    result = postroom.load("campaign.yaml").send(yes=True, quiet=True)

    assert (result.exit_code, result.sent, result.rejected) == (1, 1, 1)
    assert deliveries(folder) == {"ann@example.com": "sent", "zoe@example.com": "rejected"}
    folder.campaign(CAMPAIGN.replace("port: 2525", f"port: {free_port()}").replace('"2026-11"', '"2026-12"'))
    with pytest.raises(postroom.PostroomError, match="cannot be reached") as error:
        postroom.load("campaign.yaml").send(yes=True)
    assert error.value.exit_code == 3


def test_it_sends_from_a_thread_of_a_larger_program_too(folder, relay):
    folder.relay(relay.port)
    results = []
    thread = threading.Thread(target=lambda: results.append(postroom.load("campaign.yaml").send(yes=True, quiet=True)))
    thread.start()
    thread.join(60)

    assert [result.sent for result in results] == [2]


def test_the_example_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch):
    """Where the tutorial's readers failed: a kernel has a running event loop, no terminal, and shows what stderr gets."""
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(os.path.join(os.path.dirname(__file__), "..", "docs", "notebook.ipynb"), as_version=4)

    NotebookClient(notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()

    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = "".join(output.get("text", "") + str(output.get("data", "")) for output in outputs)
    assert not [output for output in outputs if output.output_type == "error"]
    assert "若水, a word from us" in shown and "3 sent in this run; 3 of 3 sent in all." in shown and "Nobody got mail" in shown
    assert "SMTP_USERNAME is not set" in shown
    bars = [widget["state"] for widget in notebook.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"].values() if widget["model_name"] == "FloatProgressModel"]
    assert [(bar["value"], bar["max"]) for bar in bars] == [(3.0, 3.0)]

"""Logins as the RFCs' own examples have them, and which one is taken."""

import base64

import pytest

from postroom.errors import RelayRefused
from postroom.smtp import auth


def lines(mechanism, username, secret, *challenges):
    dialogue = auth.dialogue(mechanism, username, secret)
    return [next(dialogue), *(dialogue.send(challenge) for challenge in challenges)]


def test_cram_md5_answers_as_in_the_example_of_rfc_2195():
    """RFC 2195 section 2: user tim, secret tanstaaftanstaaf."""
    challenge = "PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+"

    said = lines("CRAM-MD5", "tim", "tanstaaftanstaaf", challenge)

    assert said == [b"AUTH CRAM-MD5", b"dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw"]


def test_xoauth2_begins_as_in_googles_example():
    """developers.google.com, "SASL XOAUTH2 Mechanism": user=someuser@example.com, token ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg."""
    said = lines("XOAUTH2", "someuser@example.com", "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg", "eyJzdGF0dXMiOiI0MDEifQ==")

    assert said == [b"AUTH XOAUTH2 dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhkSFJoZG1semRHRXVZMjl0Q2cBAQ==", b""]


def test_plain_and_login_carry_any_character():
    assert lines("PLAIN", "ann", "pä ß") == [b"AUTH PLAIN " + base64.b64encode("\0ann\0pä ß".encode())]
    assert lines("LOGIN", "ann", "pä", "VXNlcm5hbWU6", "UGFzc3dvcmQ6") == [b"AUTH LOGIN", base64.b64encode(b"ann"), base64.b64encode("pä".encode())]


@pytest.mark.parametrize(("offered", "token", "encrypted", "taken"), [
    ("LOGIN PLAIN", False, True, "PLAIN"), ("LOGIN", False, True, "LOGIN"), ("cram-md5 login", False, True, "LOGIN"), ("CRAM-MD5", False, True, "CRAM-MD5"),
    ("PLAIN LOGIN CRAM-MD5", False, False, "CRAM-MD5"), ("PLAIN", False, False, "PLAIN"), ("LOGIN PLAIN XOAUTH2 OAUTHBEARER", True, True, "XOAUTH2"),
    ("LOGIN PLAIN XOAUTH XOAUTH2", False, True, "PLAIN")])
def test_the_login_fits_the_credential_and_what_is_offered(offered, token, encrypted, taken):
    assert auth.chosen(offered, token, encrypted) == taken


@pytest.mark.parametrize(("offered", "token", "advice"), [("XOAUTH2", False, "token_command"), ("PLAIN LOGIN", True, "password"), ("GSSAPI", False, "ask the provider"), ("", False, "ask the provider")])
def test_where_no_login_fits_the_way_out_is_told(offered, token, advice):
    with pytest.raises(RelayRefused) as refused:
        auth.chosen(offered, token, True)

    assert advice in refused.value.do


def test_a_challenge_that_is_none_is_told():
    with pytest.raises(RelayRefused, match="not base64"):
        lines("CRAM-MD5", "ann", "x", "what?")

"""What is said of an address that is not free."""

import os
import socket

import pytest

from forceserver.ipi.addresses import address_taken, share
from forceserver.ipi.input import read_ipi_input


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_a_socket_of_another_user_names_its_owner_and_what_to_do(tmp_path):
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "force"))
    os.chown(tmp_path / "force", 1, 1)
    (tmp_path / "input.xml").write_text(
        "<simulation sockets_prefix='./'><ffsocket name='force' mode='unix'><address>force</address></ffsocket>"
        "</simulation>"
    )
    (server,) = read_ipi_input(tmp_path / "input.xml").sockets
    said = address_taken(server, tmp_path)
    assert "of the user daemon)" in said
    assert "choose another <address> or prefix" in said
    assert "daemon can remove it" in said


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("<address>localhost</address><port>31</port>", "<address>127.0.0.1</address><port>31</port>", True),
        ("<address>0.0.0.0</address><port>31</port>", "<address>localhost</address><port>31</port>", True),
        ("<address>127.0.0.2</address><port>31</port>", "<address>127.0.0.1</address><port>31</port>", False),
        ("<address>localhost</address><port>31</port>", "<address>localhost</address><port>32</port>", False),
        (
            "<address>no-host.invalid</address><port>31</port>",
            "<address>localhost</address><port>31</port>",
            False,
        ),
        ("<address>force</address>", "<address>./force</address>", True),
        ("<address>force</address>", "<address>bias</address>", False),
        ("<address>localhost</address>", "<address>localhost</address><port>31</port>", False),
    ],
)
def test_two_sockets_of_one_address_are_recognised_by_whatever_name(tmp_path, one, other, same):
    """i-PI ends with "Address already in use" at the second."""
    sockets = "".join(
        f"<ffsocket name='{name}' mode='{'inet' if 'port' in text else 'unix'}'>{text}</ffsocket>"
        for name, text in (("a", one), ("b", other))
    )
    (tmp_path / "input.xml").write_text(f"<simulation sockets_prefix='./'>{sockets}</simulation>")
    assert share(*read_ipi_input(tmp_path / "input.xml").sockets) == same

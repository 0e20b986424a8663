"""What is said of an address that is not free."""

import os
import socket

import pytest

from forceserver.ipi.addresses import address_taken
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

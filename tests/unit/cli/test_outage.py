"""What the terminal shows while a server is away."""

import time

from ndlambda.cli.interrupts import Outage


def test_an_outage_is_told_once_however_many_requests_meet_it(capsys):
    now = [1000.0]
    outage = Outage(180.0, lambda: now[0])
    for second in range(0, 180, 20):
        now[0] = 1000.0 + second
        outage("refused")
    until = time.strftime("%H:%M:%S", time.localtime(1180))
    told = f"The server does not answer (refused); trying again until {until} at most.\n"
    assert capsys.readouterr().err == told
    now[0] = 1180.0
    outage("refused")
    assert capsys.readouterr().err.count("\n") == 1

"""h2spec: HTTP/2 and HPACK conformance of the own server, case by case."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from tests.conformance.conftest import ServerProcess
from tests.conformance.programs import program, run

# Cases that are known to fail, each with the reason. A case that fails and is not here is a
# regression; one that is here and passes must be taken off. docs/reference/rpc.md explains them.
KNOWN_FAILURES: dict[str, str] = {}
CASES_MIN = 145


def test_h2spec(own_server: ServerProcess, tmp_path: Path) -> None:
    report = tmp_path / "h2spec.xml"
    _, output = run(
        program("h2spec"),
        "-h",
        "127.0.0.1",
        "-p",
        str(own_server.port),
        "-o",
        "5",
        "-j",
        str(report),
        timeout_seconds=300,
    )
    assert report.exists(), output
    cases = ElementTree.parse(report).getroot().findall(".//testcase")
    assert len(cases) >= CASES_MIN, output
    failed = {
        f"{case.get('package')}: {case.get('classname')}"
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    }
    assert failed == set(KNOWN_FAILURES), output

"""`hotfill doctor`."""

from __future__ import annotations

from hotfill.cli.arguments import DEFAULT_CONFIG, Config, Json
from hotfill.cli.output import reporting


def doctor(config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Look whether everything an upgrade needs is there, and say how to fix what is not.

    Changes nothing. Ends with the exit code of the first problem.
    """
    with reporting(config, as_json) as report:
        from hotfill.cli.checkup import check_up

        findings = check_up(config)
        problems = [each for each in findings if each.problem]
        report.add(
            {"healthy": not problems, "findings": [each.to_dict() for each in findings]},
            [line for each in findings for line in each.lines()],
        )
        if problems:
            report.code = problems[0].code
            report.next(["doctor"])
        else:
            report.next(["sample", "plan", "status"])

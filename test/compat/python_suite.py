"""Runs modules of Python's own test suite and prints one line for each test: MODULE TEST OUTCOME.

In the enclave and outside it the same; what the two print is compared. Arguments: modules, or --tempdir=DIR.
"""

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml

# A module takes a minute at most on a machine with nothing else to do.
TIMEOUT = 600


def outcome(case):
    for name in ("error", "failure", "skipped"):
        if case.find(name) is not None:
            return name
    return "ok"


def run(module, options):
    with tempfile.NamedTemporaryFile(suffix=".xml") as report:
        command = [sys.executable, "-m", "test", "-u", "none,subprocess,cpu", *options]
        done = subprocess.run(
            [*command, "--timeout", str(TIMEOUT), "--junit-xml", report.name, module],
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
        print(f"{module} - status {done.returncode}")
        text = report.read()
    try:
        cases = list(xml.fromstring(text).iter("testcase"))
    except xml.ParseError:
        cases = []
    for case in cases:
        print(f"{module} {case.get('name')} {outcome(case)}")
    if done.returncode != 0:
        sys.stderr.buffer.write(done.stdout[-6000:] + done.stderr[-2000:])
    sys.stdout.flush()


options = [word for word in sys.argv[1:] if word.startswith("--")]
for word in options:
    os.makedirs(word.partition("=")[2], exist_ok=True)
for word in sys.argv[1:]:
    if word not in options:
        run(word, options)

#!/usr/bin/env python3
"""Records the pictures of the README: real runs of finmcp on the demo's vendors, in a terminal of 80 columns.

    docs/record.py FINMCP        writes docs/login.svg and docs/doctor.svg

Needs Linux or macOS, and the Python package rich, which draws what the terminal showed.
"""

import os
import pathlib
import pty
import re
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
import termios
import fcntl

from rich.console import Console
from rich.text import Text

DOCS = pathlib.Path(__file__).resolve().parent
WIDTH = 80

# The person: opens the page, says yes, and goes where the browser is sent.
PERSON = r"""#!/usr/bin/env python3
import html, re, sys, urllib.parse, urllib.request
page = urllib.request.urlopen(sys.argv[1]).read().decode()
action = html.unescape(re.search(r'<form [^>]*action="([^"]*)"', page)[1])
request = html.unescape(re.search(r'name="request" value="([^"]*)"', page)[1])
form = {"request": request, "name": "ada@example.com", "decision": "allow"}
urllib.request.urlopen(urllib.parse.urljoin(sys.argv[1], action), urllib.parse.urlencode(form).encode()).read()
"""


def main(finmcp):
    with tempfile.TemporaryDirectory() as folder:
        home = pathlib.Path(folder)
        (home / "bin").mkdir()
        shutil.copy2(finmcp, home / "bin" / "finmcp")
        browser = home / "bin" / "browser"
        browser.write_text(PERSON)
        browser.chmod(browser.stat().st_mode | stat.S_IXUSR)
        key = home / "key"
        key.write_bytes(os.urandom(32))
        key.chmod(0o600)
        environment = {
            "HOME": str(home),
            "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
            "FINMCP_BROWSER": str(browser),
            "FINMCP_STORE": "file",
            "FINMCP_STORE_KEY_FILE": str(key),
        }
        demo = subprocess.Popen(
            ["finmcp", "demo", "--keep"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            servers = {}
            for line in demo.stdout:
                if found := re.match(r"\s+(\w+(?: sandbox)?)\s+(http://127\.0\.0\.1:\d+\S*)", line):
                    servers.setdefault(found[1], found[2])
                if "Ctrl-C" in line:
                    break
            record(home, environment, "login", [
                f"finmcp login tesorio --url {servers['Tesorio']}",
                "finmcp call list_customers -s tesorio --quiet | head -8",
                "finmcp status",
            ])
            (home / ".cursor").mkdir()
            subprocess.run(["finmcp", "setup", "cursor", "tesorio", "-q"], env=environment, check=True)
            record(home, environment, "doctor", ["finmcp doctor tesorio"])
        finally:
            demo.terminate()
            demo.wait()


def record(home, environment, name, commands):
    console = Console(record=True, width=WIDTH, file=open(os.devnull, "w"))
    for command in commands:
        console.print(Text.assemble(("$ ", "bold green"), (command, "bold")), soft_wrap=False)
        shown = run(home, environment, command)
        console.print(Text.from_ansi(shown.replace("\r\n", "\n").replace(str(home), "~")))
    path = DOCS / f"{name}.svg"
    drawing = console.export_svg(title=f"finmcp {name}", unique_id=f"finmcp-{name}")
    # Fonts that are at hand: a picture fetches nothing.
    drawing = re.sub(r"\s*@font-face \{[^}]*\}", "", drawing).replace("Fira Code", "DejaVu Sans Mono")
    path.write_text(drawing)
    print(path)


def run(home, environment, command):
    """What a terminal shows of a command."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, WIDTH, 0, 0))
    process = subprocess.Popen(
        ["bash", "-c", command], env=environment, cwd=home, stdin=follower, stdout=follower, stderr=follower
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            chunk = os.read(leader, 65536)
        except OSError:
            break
        if not chunk:
            break
        shown += chunk
    process.wait()
    return shown.decode()


if __name__ == "__main__":
    main(sys.argv[1])

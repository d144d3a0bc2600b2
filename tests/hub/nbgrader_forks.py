"""Run nbgrader's program many times and import it once, which takes five seconds.

Runs in the environment that has nbgrader. Standard input has a JSON object on a line for each
command: its arguments, folder, environment, and the file that its output goes to. Each command is
a process forked from this one. Its exit code is printed on a line when it ends.
"""

import json
import os
import signal
import sys

from nbgrader.apps.nbgraderapp import main

for line in sys.stdin:
    command = json.loads(line)
    pid = os.fork()
    if pid == 0:
        signal.alarm(120)  # ends one that hangs
        output = os.open(command["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(command["folder"])
        os.environ.clear()
        os.environ.update(command["environment"])
        sys.argv = command["arguments"]
        sys.exit(main())
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)

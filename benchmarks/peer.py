"""Starts the peer, ngshare 0.6.0 from PyPI, with the interpreter of its own venv.

Its stand-alone flag does not work, so its parts are joined here as that flag means to;
with ``--hub`` it identifies people as it does in service. It reads the Hub's variables
when it is imported, so whoever starts this sets them.

    peer.py PORT FOLDER [--hub]
"""

import os
import sys

from ngshare.ngshare import MockAuth, MyApplication, MyRequestHandler
from tornado.ioloop import IOLoop

from ngshare import dbutil

port, folder = int(sys.argv[1]), sys.argv[2]
if "--hub" not in sys.argv:
    MyRequestHandler.get_current_token = MockAuth.get_current_token
    MyRequestHandler.user_for_token = MockAuth.user_for_token

database = f"sqlite:///{folder}/ngshare.db"
os.makedirs(f"{folder}/files", exist_ok=True)
dbutil.upgrade(database)
prefix = os.environ["JUPYTERHUB_SERVICE_PREFIX"]
application = MyApplication(prefix, database, f"{folder}/files", False, ["root"], False)
application.listen(port, "127.0.0.1", max_buffer_size=2**31)
IOLoop.current().start()

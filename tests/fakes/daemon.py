"""A daemon that only has a control socket: it answers each operation with the lines it was given."""

import json
import socket
import threading
from contextlib import closing


class FakeDaemon:
    """Serves one connection after another in a thread, until closed. `asked` are the requests it got."""

    def __init__(self, path):
        self.path = str(path)
        self.answers = {}
        self.asked = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen(8)
        self._thread = threading.Thread(target=self._serve, name="fake daemon", daemon=True)
        self._thread.start()

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with closing(connection), connection.makefile("rwb") as stream:
                request = json.loads(stream.readline())
                self.asked.append(request)
                for line in self.answers.get(request["op"], ()):
                    stream.write(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")

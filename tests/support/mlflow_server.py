"""MLflow's own application, with its SQLite store, on loopback: python mlflow_server.py FOLDER PORT.

Each line of stdin starts a server, and its process ID is printed: imports take seconds, a fork does not.
``mlflow server`` starts the same application below Uvicorn, with packages that mlflow-skinny leaves out.
"""

import os
import signal
import sys
from pathlib import Path


def main():
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    os.environ |= {
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder / 'mlflow.db'}",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "artifacts"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    from mlflow.server import app
    from werkzeug.serving import make_server

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # a killed server leaves no zombie
    for _ in sys.stdin:
        server = make_server("127.0.0.1", port, app, threaded=True)
        pid = os.fork()
        if pid == 0:
            server.serve_forever()
        server.server_close()
        print(pid, flush=True)


if __name__ == "__main__":
    main()

"""The API from other languages beside Rust, taking turns; `scripts/bench api` runs it. Five node processes on loopback."""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILT = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "release")
PASSPHRASE = "correct horse"


def built(name):
    path = os.path.join(BUILT, name)
    if not os.path.exists(path):
        sys.exit(f"{path} is missing: cargo test --release --workspace --no-run")
    return path


def packages(base):
    """The packages as they would be installed."""
    python, node = os.path.join(base, "python"), os.path.join(base, "node")
    shutil.copytree(os.path.join(ROOT, "bindings/python/kms"), os.path.join(python, "kms"))
    shutil.copy(built("deps/libkms_python.so"), os.path.join(python, "kms/_native.abi3.so"))
    shutil.copytree(os.path.join(ROOT, "bindings/node"), node)
    shutil.copy(built("deps/libkms_js.so"), os.path.join(node, "kms.node"))
    return python, os.path.join(node, "index.mjs")


class Worker:
    """Somebody's program, which does one thing after another and says what each took."""

    def __init__(self, *command, env):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, text=True)

    def ask(self, **asked):
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.process.args} ended.")
        return json.loads(line)

    def end(self):
        self.process.stdin.close()
        self.process.wait()


class Cli:
    """kms-cli, a process for each call; its time is from start to end."""

    def __init__(self, env):
        self.env = env

    def ask(self, sealed, ticket, times, **_):
        with open(sealed, "rb") as file:
            import base64
            data = base64.b64encode(file.read()).decode()
        took = []
        for _ in range(times):
            start = time.perf_counter()
            subprocess.run([built("kms-cli"), "decrypt_key", data, ticket], env=self.env, check=True, stdout=subprocess.DEVNULL)
            took.append([time.perf_counter() - start, 0])
        return took

    def end(self):
        pass


def devnet(base):
    nodes = subprocess.Popen([built("kms-node"), "devnet", "--nodes", "5", "--dir", os.path.join(base, "nodes")],
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    words = dict(word.split("=", 1) for word in nodes.stdout.readline().split()[1:])
    return nodes, {"KMSFS_LEDGER": words["ledger"], "KMSFS_BOOTSTRAP": words["bootstrap"]}


def main():
    options = argparse.ArgumentParser(prog="scripts/bench api")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--mib", type=int, default=1024)
    options.add_argument("--times", type=int, default=40, help="keys fetched by each in a round")
    options.add_argument("--dir", default="/dev/shm", help="where the files are: in memory, since programs are compared and not disks")
    options.add_argument("--only", choices=["data", "keys"])
    options = options.parse_args()
    base = tempfile.mkdtemp(prefix="bench.", dir=options.dir)
    nodes, network = devnet(base)
    running = [nodes]
    try:
        measure(options, base, network, running)
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait()
        shutil.rmtree(base)


def measure(options, base, network, running):
    python, package = packages(base)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    env = {**os.environ, **network, "KMSFS_HOME": os.path.join(base, "home"), "PASSPHRASE": PASSPHRASE, "PYTHONPATH": python, "RPCPORT": port,
           "PYTHONDONTWRITEBYTECODE": "1"}
    os.makedirs(env["KMSFS_HOME"])
    with open(os.path.join(env["KMSFS_HOME"], "kmsd.conf"), "w") as file:
        file.write(f"rpcport={port}\nprinttoconsole=0\n")

    def program(text):
        return subprocess.run([sys.executable, "-c", text], env=env, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    program(f"import kms; kms.generate_key({PASSPHRASE!r})")
    running.append(subprocess.Popen([built("kmsd")], env=env))
    subprocess.run([built("kms-cli"), "-rpcwait", "-stdinpass", "unlock"], env=env, check=True, input=PASSPHRASE + "\n", text=True,
                   stdout=subprocess.DEVNULL)
    workers = {
        "Rust": Worker(built("examples/api_worker"), env=env),
        "Python": Worker(sys.executable, os.path.join(HERE, "worker.py"), "sync", env=env),
        "Python, asyncio": Worker(sys.executable, os.path.join(HERE, "worker.py"), "aio", env=env),
        "JavaScript": Worker("node", "--expose-gc", os.path.join(HERE, "worker.mjs"), package, env=env),
    }
    try:
        if options.only != "keys":
            data(options, base, workers)
        if options.only != "data":
            workers["Python, JSON-RPC"] = Worker(sys.executable, os.path.join(HERE, "worker.py"), "rpc", env=env)
            workers["kms-cli, its own start included"] = Cli(env)
            sealed = os.path.join(base, "shared")
            ticket = program(
                f"import kms; kms.generate_key('x', 'alice'); alice = kms.Client(identity='alice', passphrase='x'); made = alice.encrypt(b'x'); "
                f"open({sealed!r}, 'wb').write(made['sealed']); alice.contact_add('reader', kms.Client().identity); "
                "print(alice.grant(made['label'], 'reader ttl=1h m=3/5')[0]['ticket'])")
            keys(options, workers, sealed, ticket)
    finally:
        for worker in workers.values():
            worker.end()


def data(options, base, workers):
    plain = os.path.join(base, "plain")
    with open(plain, "wb") as file:
        for _ in range(options.mib):
            file.write(os.urandom(1 << 20))
    figures = {}
    rows = ["`encrypt`, in memory", "`decrypt`, in memory", "`encrypt_file`", "`decrypt_file`"]
    for number in range(options.rounds):
        for name, worker in workers.items():
            took = worker.ask(op="bytes", size=options.mib << 20)
            sealed, back = (os.path.join(base, f"{it}{number}") for it in ("sealed", "back"))
            took += worker.ask(op="files", plain=plain, sealed=sealed, back=back)
            for path in (sealed, back):
                os.remove(path)
            print(name, took, file=sys.stderr)
            for row, each in zip(rows, took):
                figures.setdefault((row, name), []).append(each)
    os.remove(plain)
    print(f"| {options.mib} MiB; MiB/s, and of Rust's | " + " | ".join(workers) + " |\n|---|" + "---|" * len(workers))
    for row in rows:
        cells = []
        for name in workers:
            wall, used = (options.mib / statistics.median(each[which] for each in figures[row, name]) for which in (0, 1))
            if name == "Rust":
                rust = wall, used
            cells.append(f"{wall:.0f}" if name == "Rust" else f"{wall:.0f}, {wall / rust[0]:.0%} (processor time {used / rust[1]:.0%})")
        print(f"| {row} | " + " | ".join(cells) + " |")
    print()


def keys(options, workers, sealed, ticket):
    figures = {}
    for number in range(options.rounds + 1):
        for name, worker in workers.items():
            took = worker.ask(op="keys", sealed=sealed, ticket=ticket, times=options.times if number else 5)
            # In the first one everybody gets to know the nodes.
            if number:
                figures.setdefault(name, []).extend(each[0] * 1000 for each in took)
    rust = statistics.median(figures["Rust"])
    print("| `decrypt_key` from 3 of 5 nodes; ms | median | p90 | of Rust's median |\n|---|---|---|---|")
    for name, took in figures.items():
        p90 = statistics.quantiles(took, n=10)[8]
        print(f"| {name} | {statistics.median(took):.2f} | {p90:.2f} | {statistics.median(took) / rust:.0%} |")


main()

"""What bench/enclave.ts runs in both containers: each task prints one line of JSON. Standard library only."""

import hashlib, http.client, json, os, random, re, resource, signal, sqlite3, statistics, subprocess, sys, time, zlib


def timed(work):
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def imports():
    """Modules of the standard library, up to 300, in a Python of their own; seconds of a start, without the first."""
    names = sorted(
        name
        for name in sys.stdlib_module_names
        if not name.startswith("_") and name not in ("antigravity", "this", "idlelib", "tkinter", "turtle", "turtledemo")
    )
    more = ["email.mime.text", "xml.dom.minidom", "xml.etree.ElementTree", "concurrent.futures", "multiprocessing.pool",
            "urllib.request", "http.server", "http.cookiejar", "logging.handlers", "importlib.metadata", "unittest.mock",
            "json.tool", "encodings.idna", "encodings.utf_16", "asyncio.subprocess", "ctypes.util", "curses.ascii"]
    code = "\n".join(f"try: import {name}\nexcept Exception: pass" for name in names + more)
    code += "\nimport sys; print(len(sys.modules))"
    cold = timed(lambda: subprocess.run([sys.executable, "-c", code], check=True, capture_output=True))
    count = 0

    def start():
        nonlocal count
        count = int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)

    times = [timed(start) for _ in range(7)]
    return {"first": cold, "seconds": statistics.median(times), "modules": count}


def nbody():
    bodies = [[random.random() for _ in range(7)] for _ in range(5)]
    for _ in range(4000):
        for i, a in enumerate(bodies):
            for b in bodies[i + 1 :]:
                dx, dy, dz = a[0] - b[0], a[1] - b[1], a[2] - b[2]
                m = 0.001 / (dx * dx + dy * dy + dz * dz + 0.1) ** 1.5
                a[3] -= dx * b[6] * m
                b[3] += dx * a[6] * m


def fannkuch():
    best, perm = 0, list(range(8))
    for _ in range(6000):
        random.shuffle(perm)
        p, flips = perm[:], 0
        while p[0]:
            p[: p[0] + 1] = p[p[0] :: -1]
            flips += 1
        best = max(best, flips)


def documents():
    value = {str(i): [i, i * 1.5, "text" * 4, None, {"a": True}] for i in range(2000)}
    for _ in range(12):
        json.loads(json.dumps(value))


def words():
    text = "the quick brown fox 1234 jumps over 0xff lazy dogs " * 2000
    for _ in range(4):
        re.findall(r"\b([a-z]+)\s+(\d+|0x[0-9a-f]+)", text)


def tables():
    base = sqlite3.connect(":memory:")
    base.execute("create table t (a integer primary key, b text)")
    base.executemany("insert into t values (?, ?)", ((i, str(i)) for i in range(30000)))
    base.execute("select count(*), max(b) from t where b like '%7%'").fetchall()


def digests():
    data = os.urandom(1 << 20)
    for _ in range(8):
        hashlib.sha256(zlib.compress(data, 1)).digest()


def loops():
    tasks = [nbody, fannkuch, documents, words, tables, digests]
    return {"seconds": sum(statistics.median(timed(task) for _ in range(5)) for task in tasks)}


def http_requests():
    """Requests a second for files of the root filesystem, each opened for its request, over one connection each of two clients."""
    port = 18000 + os.getpid() % 1000
    server = subprocess.Popen([sys.executable, __file__, "serve", str(port)])
    try:
        client = None
        for _ in range(100):
            try:
                client = http.client.HTTPConnection("127.0.0.1", port)
                client.connect()
                break
            except OSError:
                time.sleep(0.05)
        count, end, begin = 0, time.perf_counter() + 4, time.perf_counter()
        while time.perf_counter() < end:
            client.request("GET", f"/{('json', 'email', 'http')[count % 3]}/__init__.py")
            client.getresponse().read()
            count += 1
        return {"perSecond": count / (time.perf_counter() - begin)}
    finally:
        server.kill()
        server.wait()


def serve(port):
    import http.server

    class Handler(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # One segment an answer: else the kernel's wait for an acknowledgement is all there is to measure.
        wbufsize = -1
        disable_nagle_algorithm = True

        def log_message(self, *_):
            pass

    os.chdir(os.path.dirname(json.__file__) + "/..")
    http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()


def fsyncs():
    """Blocks of 8 KiB a second that are written over one another and synced, by one thread in /data."""
    with open("/data/file", "wb", buffering=0) as file:
        block, count, begin = os.urandom(8192), 0, time.perf_counter()
        while time.perf_counter() < begin + 3:
            file.seek(8192 * (count % 100))
            file.write(block)
            os.fdatasync(file.fileno())
            count += 1
        return {"perSecond": count / (time.perf_counter() - begin)}


def pgbench(clients=4, scale=5):
    """TPC-B-like transactions a second, the database in /data."""
    import pwd

    user = pwd.getpwnam("postgres")
    folder = "/data/postgres"
    base = f"/usr/lib/postgresql/{sorted(os.listdir('/usr/lib/postgresql'))[-1]}/bin"
    port = str(15000 + os.getpid() % 1000)
    if os.getuid() == 0:
        os.makedirs(folder, exist_ok=True)
        os.chown(folder, user.pw_uid, user.pw_gid)

    def run(*words):
        done = subprocess.run(words, user=user.pw_uid, group=user.pw_gid, capture_output=True, text=True, cwd="/")
        if done.returncode != 0:
            raise RuntimeError(f"{words}: {done.stdout}{done.stderr}")
        return done.stdout

    run(f"{base}/initdb", "-D", folder, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
    options = f"-p {port} -k /tmp -c listen_addresses=127.0.0.1"
    run(f"{base}/pg_ctl", "-D", folder, "-w", "-l", "/tmp/log", "-o", options, "start")
    client = ["-h", "127.0.0.1", "-p", port, "-U", "postgres"]
    try:
        run(f"{base}/pgbench", "-i", "-q", "-s", str(scale), *client, "postgres")
        said = [run(f"{base}/pgbench", "-c", str(clients), "-j", "2", "-T", "6", *client, "postgres") for _ in range(3)]
        rates = [float(re.search(r"tps = ([0-9.]+)", text).group(1)) for text in said]
        return {"perSecond": statistics.median(rates)}
    finally:
        run(f"{base}/pg_ctl", "-D", folder, "-m", "fast", "stop")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    random.seed(1)
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        tasks = {"imports": imports, "loops": loops, "http": http_requests, "fsyncs": fsyncs, "pgbench": pgbench,
                 "pgbench16": lambda: pgbench(16, 20)}
        found = tasks[sys.argv[1]]()
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        cpu = sum(one.ru_utime + one.ru_stime for one in used)
        print(json.dumps({"task": sys.argv[1], "cpuSeconds": cpu, **found}), flush=True)

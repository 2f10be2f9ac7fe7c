"""SQLite in every journal mode, with threads: Debian's test suite leaves Python's own sqlite3 tests out."""

import os
import sqlite3
import threading
import unittest

from test.support import os_helper

MODES = ("delete", "truncate", "persist", "memory", "wal", "off")


class JournalModes(unittest.TestCase):
    def setUp(self):
        self.folder = os_helper.TESTFN
        os.mkdir(self.folder)
        self.addCleanup(os_helper.rmtree, self.folder)

    def connect(self, mode):
        connection = sqlite3.connect(os.path.join(self.folder, mode), timeout=60)
        self.assertEqual(connection.execute(f"pragma journal_mode={mode}").fetchone()[0], mode)
        return connection

    def test_modes(self):
        for mode in MODES:
            with self.subTest(mode=mode):
                connection = self.connect(mode)
                connection.execute("create table t (k integer primary key, v blob)")
                for first in range(0, 2000, 100):
                    with connection:
                        rows = [(k, os.urandom(300)) for k in range(first, first + 100)]
                        connection.executemany("insert into t values (?, ?)", rows)
                with connection:
                    connection.execute("delete from t where k % 3 = 0")
                connection.execute("vacuum")
                connection.close()
                connection = self.connect(mode)
                self.assertEqual(connection.execute("select count(*) from t").fetchone()[0], 1333)
                self.assertEqual(connection.execute("pragma integrity_check").fetchone()[0], "ok")
                connection.close()

    def test_threads(self):
        for mode in ("delete", "wal"):
            with self.subTest(mode=mode):
                connection = self.connect(mode)
                connection.execute("create table t (who integer)")

                def write(who):
                    own = sqlite3.connect(os.path.join(self.folder, mode), timeout=60)
                    for _ in range(25):
                        with own:
                            own.execute("insert into t values (?)", (who,))
                    own.close()

                writers = [threading.Thread(target=write, args=(who,)) for who in range(4)]
                for writer in writers:
                    writer.start()
                for writer in writers:
                    writer.join()
                self.assertEqual(connection.execute("select count(*) from t").fetchone()[0], 100)
                connection.close()


if __name__ == "__main__":
    unittest.main()

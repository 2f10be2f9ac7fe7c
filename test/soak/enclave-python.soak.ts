/**
 * Python's own test suite, as Debian packages it, in the enclave and in a plain container: compared test by test. What
 * differs is listed in docs/compatibility.md with its cause, and nothing else may differ. COFFER_MODULES: only these of them.
 */
import assert from "node:assert/strict"
import { test } from "node:test"
import { lacksDebian } from "../support/debian.ts"
import { comparePython, pythonSuite } from "../support/python-suite.ts"

const modules = `
test_sqlite_modes test_os test_posix test_posixpath test_shutil test_tempfile test_mmap test_zipfile test_json
test_ssl test_pathlib test_glob test_fnmatch test_stat test_fcntl test_tarfile test_gzip test_bz2 test_lzma test_zlib
test_threading test_socket test_io test_file test_fileio test_largefile test_mailbox test_dbm test_dbm_dumb
test_dbm_gnu test_dbm_ndbm test_shelve test_filecmp test_fileinput test_import test_importlib test_zipimport
test_py_compile test_compileall test_pkgutil test_runpy test_signal test_select test_selectors test_poll test_epoll
test_pty test_ioctl test_resource test_pwd test_grp test_logging test_urllib test_httpservers test_httplib test_locale
test_time test_datetime test_random test_hashlib test_hmac test_secrets test_uuid test_platform test_sys
test_sysconfig test_site test_faulthandler test_cmd_line test_cmd_line_script test_linecache test_unicode_file
test_unicode_file_functions test_genericpath test_configparser test_csv test_pickle test_plistlib test_xml_etree
test_queue test_contextlib test_ctypes test_mimetypes test_openpty test_smtplib test_socketserver test_syslog
test_thread test_wsgiref test_zoneinfo test_subprocess test_asyncio test_readline test_fork1 test_wait3 test_wait4
test_ftplib test_threadedtempfile test_weakref test_gc test_sys_setprofile test_robotparser
test_multiprocessing_main_handling`
// These open, write, rename and map files: once more, with their files on an encrypted volume.
const fileModules = `
test_sqlite_modes test_os test_shutil test_tempfile test_mmap test_zipfile test_pathlib test_glob test_stat test_fcntl
test_tarfile test_gzip test_io test_file test_fileio test_largefile test_mailbox test_dbm test_dbm_dumb test_shelve
test_filecmp test_fileinput test_import test_zipimport test_py_compile test_compileall test_unicode_file
test_unicode_file_functions test_genericpath test_posixpath test_posix test_httpservers test_cmd_line_script
test_socket test_subprocess`

// docs/compatibility.md says why.
const known = [
  "test_os test.test_os.TestScandir.test_attributes",
  "test_shutil test.test_shutil.TestMisc.test_disk_usage",
]

const only = process.env["COFFER_MODULES"]

function words(list: string): string[] {
  const all = list.trim().split(/\s+/)
  return only === undefined ? all : all.filter((name) => only.split(/\s+/).includes(name))
}

for (const [where, list, options] of [
  ["in the ephemeral layer", words(modules), []],
  ["on an encrypted volume", words(fileModules), ["--tempdir=/data/t"]],
] as const)
  test(`Python's own tests, with their files ${where}`, {
    skip: lacksDebian(),
    timeout: 3_600_000,
  }, async (t) => {
    const suite = pythonSuite()
    t.after(() => suite.remove())
    await suite.prepare()
    const { count, found } = await comparePython(suite, [...options, ...list])
    t.diagnostic(`${list.length} modules, ${count} tests`)
    const unknown = found.filter((line) => !known.some((name) => line.startsWith(`${name}: `)))
    assert.deepEqual(unknown, [])
  })

"""Archives from anywhere: what is in them stays inside the model's folder, and inside the limits."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import stat
import tarfile
import threading
import warnings
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelport.storage import StorageError, archive, clone
from modelport.storage.packed import Limits

names = st.one_of(
    st.sampled_from(
        [
            "a",
            "b/c",
            "../out",
            "/abs",
            "a/../../out",
            "..",
            ".",
            "",
            "a/b",
            "a/b/c",
            "./x",
            "b",
            "link",
            "link/x",
            "a\\b",
        ]
    ),
    st.text(st.sampled_from("ab./\\ \u00e9"), max_size=8),
)
targets = st.one_of(
    names,
    st.sampled_from(
        ["/etc/passwd", "../../etc", "link", "a", "..", "b/c", "link/..", "link/../..", "../secret"]
    ),
)


def members():
    return st.lists(
        st.tuples(st.sampled_from(["file", "dir", "sym", "hard", "fifo", "device"]), names, targets),
        max_size=8,
    )


def tar(entries, mode="w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, format=tarfile.PAX_FORMAT) as packed:
        for kind, name, target in entries:
            member = tarfile.TarInfo(name)
            content = b""
            if kind == "file":
                content = target.encode() if isinstance(target, str) else target
                member.size = len(content)
            else:
                member.type = {
                    "dir": tarfile.DIRTYPE,
                    "sym": tarfile.SYMTYPE,
                    "hard": tarfile.LNKTYPE,
                    "fifo": tarfile.FIFOTYPE,
                    "device": tarfile.CHRTYPE,
                }[kind]
                member.linkname = target
            packed.addfile(member, io.BytesIO(content))
    return out.getvalue()


def zipped(entries) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for kind, name, target in entries:
            info = zipfile.ZipInfo(name or "empty")
            mode = {
                "sym": stat.S_IFLNK,
                "fifo": stat.S_IFIFO,
                "device": stat.S_IFCHR,
                "dir": stat.S_IFDIR,
            }.get(kind, stat.S_IFREG)
            info.external_attr = (mode | 0o644) << 16
            if kind == "dir":
                info.filename = info.filename.rstrip("/") + "/"
            with warnings.catch_warnings(action="ignore"):  # about names that come twice
                packed.writestr(info, target if kind != "dir" else "")
    return out.getvalue()


@pytest.fixture
def unpack(tmp_path):
    """Unpacks bytes into `model`, beside a secret that must stay as it is."""
    count = 0

    def run(content: bytes, name="m.tar", limits=None, cancel=None):
        nonlocal count
        count += 1
        place = tmp_path / str(count)
        folder = place / "model"
        folder.mkdir(parents=True)
        (place / "secret").write_text("secret")
        packed = place / "packed"
        packed.write_bytes(content)
        try:
            archive.unpack(packed, name, folder, limits or Limits(), cancel or threading.Event())
        finally:
            assert sorted(path.name for path in place.iterdir()) == ["model", "packed", "secret"]
            assert (place / "secret").read_text() == "secret"
        return folder

    yield run
    clone.remove(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(entries=members(), form=st.sampled_from(["m.tar", "m.zip"]))
def test_no_members_whatever_their_names_and_links_lead_out(unpack, entries, form):
    """Whatever an archive holds, nothing is written outside, and nothing inside can be read through to the outside."""
    content = tar(entries) if form == "m.tar" else zipped(entries)
    try:
        folder = unpack(content, form)
    except StorageError:
        return
    root = folder.resolve()
    for parent, folders, files in os.walk(folder):
        for name in folders + files:
            path = folder / parent / name
            assert path.resolve().is_relative_to(root)
            assert path.is_symlink() or stat.S_IFMT(path.lstat().st_mode) in (stat.S_IFREG, stat.S_IFDIR)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([("file", "../evil", "x")], "leads out of the model's folder"),
        ([("file", "/etc/evil", "x")], "absolute path"),
        ([("sym", "l", "/etc"), ("file", "l/passwd", "x")], "outside the model's folder"),
        ([("sym", "l", "a"), ("file", "l/x", "x")], "lies behind 'l', which is a link"),
        (
            [("dir", "d", ""), ("sym", "d/up", ".."), ("sym", "out", "d/up/../secret")],
            "outside the model's folder",
        ),
        ([("sym", "a", "")], "is a link to '', outside the model's folder"),
        ([("hard", "h", "/etc/passwd")], "absolute path"),
        ([("hard", "h", "nothing")], "not a file of this archive"),
        ([("device", "null", "")], "is a device"),
        ([("fifo", "pipe", "")], "is a device, a pipe"),
        ([("sym", "a", "b"), ("sym", "b", "a")], "goes round in a circle"),
    ],
)
def test_what_is_wrong_with_a_member_is_told(unpack, entries, words):
    with pytest.raises(StorageError, match=words) as failed:
        unpack(tar(entries))
    assert failed.value.reason == "Refused"


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_every_compression_gives_the_same_files(unpack, mode, contents):
    folder = unpack(tar([("dir", "d", ""), ("file", "d/model.onnx", "weights"), ("file", "x", "y")], mode))
    assert contents(folder) == {"d/model.onnx": b"weights", "x": b"y"}


def test_links_inside_the_model_stay(unpack):
    folder = unpack(
        tar(
            [("file", "v2/model.onnx", "weights"), ("sym", "latest", "v2"), ("hard", "copy", "v2/model.onnx")]
        )
    )
    assert (folder / "latest" / "model.onnx").read_bytes() == b"weights"
    assert (folder / "copy").read_bytes() == b"weights"
    assert not (folder / "copy").is_symlink()


def test_a_file_that_comes_twice_is_the_later_one(unpack, contents):
    assert contents(unpack(tar([("file", "a", "old"), ("file", "a", "new")]))) == {"a": b"new"}


def test_a_bomb_is_stopped_by_its_ratio(unpack):
    """A few kilobytes that become gigabytes must not fill the disk."""
    zeros = io.BytesIO()
    with zipfile.ZipFile(zeros, "w", zipfile.ZIP_DEFLATED) as packed, packed.open("zeros", "w") as member:
        block = bytes(1 << 20)
        for _ in range(400):
            member.write(block)
    with pytest.raises(StorageError, match="more than 200 times its size, which is the limit"):
        unpack(zeros.getvalue(), "m.zip")


def test_size_and_count_have_limits(unpack):
    with pytest.raises(StorageError, match="unpacks to more than 10 bytes"):
        unpack(tar([("file", "a", "x" * 11)]), limits=Limits(bytes=10))
    with pytest.raises(StorageError, match="more than 2 members"):
        unpack(tar([("file", str(n), "x") for n in range(3)]), limits=Limits(files=2))


@pytest.mark.parametrize("name", ["m.tar", "m.tar.gz", "m.zip"])
@given(content=st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_bytes_that_are_no_archive_are_told_as_such(unpack, name, content):
    with contextlib.suppress(StorageError):
        unpack(content, name)


@pytest.mark.parametrize("name", ["m.tar.gz", "m.zip"])
def test_a_truncated_archive_is_not_half_a_model(unpack, name):
    entries = [("file", str(n), os.urandom(3000).hex()) for n in range(20)]
    content = tar(entries, "w:gz") if name == "m.tar.gz" else zipped(entries)
    with pytest.raises(StorageError, match="is not a whole archive") as failed:
        unpack(content[: len(content) // 2], name)
    assert failed.value.reason == "Corrupt"


def test_unpacking_can_be_cancelled(unpack):
    from modelport.storage import Cancelled

    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        unpack(tar([("file", "a", "x")]), cancel=cancel)


def test_scripts_stay_executable(unpack):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as packed:
        member = tarfile.TarInfo("run.sh")
        member.mode = 0o4755
        packed.addfile(member, io.BytesIO())
    assert (unpack(out.getvalue()) / "run.sh").stat().st_mode & 0o7777 == 0o700


def test_a_gzip_file_that_unpacks_without_end_is_refused(web, fetch):
    """A few kilobytes must not fill the disk."""
    uri = web.put("/model.pkl.gz", gzip.compress(bytes(3 << 20)), type="application/gzip")
    with pytest.raises(StorageError, match=r"it unpacks to more than 1048576 bytes, which is the limit"):
        fetch(uri, limits=Limits(bytes=1 << 20))

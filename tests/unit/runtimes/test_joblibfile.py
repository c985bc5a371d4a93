"""A model loads from joblib files and pickles as `joblib.load` would load it, and fails with the same words."""

from __future__ import annotations

import contextlib
import io
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path

import joblib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from joblib.numpy_pickle import NumpyPickler
from joblib.numpy_pickle_compat import NDArrayWrapper, ZNDArrayWrapper, write_zfile
from sklearn.datasets import load_iris
from sklearn.utils import all_estimators

from modelport.runtimes import joblibfile
from modelport.runtimes.joblibfile import Unusual

FORMS = [
    *((0, protocol) for protocol in range(2, 6)),
    ("zlib", 4),
    ("gzip", 4),
    ("bz2", 4),
    ("lzma", 2),
    ("xz", 5),
]
"""Compression and protocol."""


def read(path: Path) -> object:
    """By our reader alone: what it leaves to joblib raises here."""
    with io.BufferedReader(io.FileIO(path)) as file:
        return joblibfile.read(file)


def same(ours: object, theirs: object) -> None:
    """Values, classes, what is shared, and for arrays all that NumPy tells of their memory."""
    seen: dict[int, int] = {}
    kept: list[object] = []
    left = [(ours, theirs)]
    while left:
        one, other = left.pop()
        assert type(one) is type(other)
        if not isinstance(one, PLAIN):
            if id(one) in seen:
                assert seen[id(one)] == id(other)
                continue
            seen[id(one)] = id(other)
            kept += (one, other)
        if isinstance(one, np.ndarray):
            left += same_memory(one, other)
        elif isinstance(one, dict):
            left += zip(one, other, strict=True)
            left += zip(one.values(), other.values(), strict=True)
        elif isinstance(one, list | tuple):
            left += zip(one, other, strict=True)
        elif isinstance(one, (*PLAIN, np.generic, np.dtype)):
            assert repr(one) == repr(other)
        elif isinstance(one, Iterator):
            left += zip(one, other, strict=True)
        elif one is not other:
            left.append((one.__reduce_ex__(4), other.__reduce_ex__(4)))


def same_memory(one: np.ndarray, other: np.ndarray) -> list[tuple[object, object]]:
    """What is left to compare."""
    assert (one.dtype, one.shape, one.strides) == (other.dtype, other.shape, other.strides)
    assert str(one.flags) == str(other.flags)
    assert (one.base is None) == (other.base is None)
    if one.dtype.hasobject:
        return list(zip(one.ravel().tolist(), other.ravel().tolist(), strict=True))
    for name in one.dtype.names or ():  # what lies between fields means nothing
        same_memory(one[name], other[name])
    assert one.dtype.names or one.tobytes() == other.tobytes()
    return []


PLAIN = (str, bytes, int, float, complex, bool, type(None))


@st.composite
def arrays(draw):
    dtype = draw(
        st.one_of(
            hnp.scalar_dtypes().filter(lambda one: one.itemsize > 0),
            hnp.array_dtypes(max_size=3).filter(lambda one: one.itemsize > 0),
            st.just(np.dtype(object)),
        )
    )
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    if dtype.hasobject:
        values = st.one_of(st.none(), st.text(max_size=3), st.integers(), st.just({"a": np.arange(3)}))
        array = draw(hnp.arrays(dtype, shape, elements=values))
    else:
        size = int(np.prod(shape)) * dtype.itemsize
        array = np.frombuffer(draw(st.binary(min_size=size, max_size=size)), dtype).reshape(shape)
    if draw(st.booleans()):
        array = np.asfortranarray(array)
    return array[..., ::2] if array.ndim and draw(st.booleans()) else array


leaves = st.one_of(
    arrays(),
    st.none(),
    st.integers(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.builds(np.float64, st.floats(allow_nan=False)),
    st.just(np.random.RandomState),
)
nested = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
        inner.map(lambda one: [one, one]),
    ),
    max_leaves=8,
)


@given(nested, st.sampled_from(FORMS))
def test_objects_are_those_that_joblib_loads(tmp_path_factory, value, form):
    # A model with one array in another order, or of another byte order, would predict something else.
    path = tmp_path_factory.mktemp("nested") / "it.joblib"
    compress, protocol = form
    joblib.dump(value, path, (compress, 3) if compress else 0, protocol)
    same(read(path), joblib.load(path))


@given(nested, st.integers(2, pickle.HIGHEST_PROTOCOL))
def test_plain_pickles_are_read_too(tmp_path_factory, value, protocol):
    path = tmp_path_factory.mktemp("plain") / "it.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    same(read(path), joblib.load(path))


def fitted():
    """An estimator of every class that can be fitted to a table, or to texts."""
    features, labels = load_iris(return_X_y=True)
    features, labels = features[::5], labels[::5]
    texts = [f"row {row}" for row in features.tolist()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, estimator in all_estimators():
            for data in (features, texts):
                with contextlib.suppress(TypeError, ValueError, AttributeError):
                    yield name, estimator().fit(data, labels)
                    break


def test_every_estimator_is_loaded_as_joblib_loads_it(tmp_path):
    names = []
    for name, estimator in fitted():
        names.append(name)
        for protocol in (2, 4):
            path = tmp_path / f"{name}.joblib"
            joblib.dump(estimator, path, protocol=protocol)
            same(read(path), joblib.load(path))
    assert len(names) > 120


def test_large_arrays_are_read_in_pieces(tmp_path):
    # Others get their turn in between; a piece in the wrong place would go unnoticed in small models.
    array = np.random.default_rng(1).integers(0, 255, (1100, 3000), np.uint8)
    for compress in (0, 1):
        joblib.dump([array, array.T, "end"], tmp_path / "it.joblib", compress=compress)
        same(read(tmp_path / "it.joblib"), joblib.load(tmp_path / "it.joblib"))


def test_mapped_arrays_come_as_arrays(tmp_path):
    mapped = np.memmap(tmp_path / "data", np.float32, "w+", shape=(3, 4))
    mapped[:] = 2
    joblib.dump({"mapped": mapped}, tmp_path / "it.joblib")
    same(read(tmp_path / "it.joblib"), joblib.load(tmp_path / "it.joblib"))


class OldPickler(NumpyPickler):
    """As of joblib 1.1: the bytes of arrays are not aligned, and nothing is said of it."""

    def _create_array_wrapper(self, array):
        wrapper = super()._create_array_wrapper(array)
        del wrapper.numpy_array_alignment_bytes
        return wrapper


def test_files_of_joblib_before_arrays_were_aligned(tmp_path):
    path = tmp_path / "it.joblib"
    for protocol in (3, 4):
        with path.open("wb") as file:
            OldPickler(file, protocol).dump([np.arange(5), np.eye(3), "end"])
        same(read(path), joblib.load(path))


@pytest.mark.filterwarnings("ignore:The file.*joblib:DeprecationWarning")
def test_files_of_joblib_before_one_file_held_all(tmp_path):
    # Arrays lie beside the file, or the whole is compressed in a format of its own: joblib's reader reads them.
    np.save(tmp_path / "beside.npy", np.arange(5))
    beside = tmp_path / "beside.pkl"
    beside.write_bytes(pickle.dumps({"a": NDArrayWrapper("beside.npy", np.ndarray)}, 2))
    with (tmp_path / "raw.z").open("wb") as file:
        write_zfile(file, np.arange(5).tobytes())
    init, (version, shape, dtype, order, _) = np.arange(5).__reduce__()[1:]
    compressed = tmp_path / "compressed.pkl"
    with compressed.open("wb") as file:
        wrapper = ZNDArrayWrapper("raw.z", init, (version, shape, dtype, order))
        write_zfile(file, pickle.dumps({"a": wrapper}, 2))
    for path in (beside, compressed):
        with pytest.raises(Unusual):
            read(path)
        assert joblibfile.load(path)["a"].tolist() == [0, 1, 2, 3, 4]


def test_protocols_in_text_are_left_to_joblib(tmp_path):
    # The unpickler in C finds numbers in some texts that are none.
    joblib.dump([np.arange(3), 1.5], tmp_path / "it.joblib", protocol=0)
    with pytest.raises(Unusual):
        read(tmp_path / "it.joblib")
    same(joblibfile.load(tmp_path / "it.joblib"), joblib.load(tmp_path / "it.joblib"))


def test_arrays_of_other_classes_are_left_to_joblib(tmp_path):
    # It makes them anew with NumPy 1, and makes them arrays with NumPy 2.
    joblib.dump([np.matrix([[1, 2]])], tmp_path / "it.joblib")
    with pytest.raises(Unusual):
        read(tmp_path / "it.joblib")
    same(joblibfile.load(tmp_path / "it.joblib"), joblib.load(tmp_path / "it.joblib"))


def outcome(load, path: Path) -> object:
    try:
        return pickle.dumps(load(path))
    except Exception as error:  # noqa: BLE001 - whatever it is, it should be the same
        return type(error), str(error)


MODEL = {
    "name": "a",
    "weights": np.arange(6.0).reshape(2, 3),
    "classes": np.array(["a", None]),
    "more": [1.5, "b"] * 3,
}


@pytest.mark.parametrize(("compress", "protocol"), FORMS)
def test_a_file_that_is_cut_off_fails_as_with_joblib(tmp_path, compress, protocol):
    # Users look these words up; and half a model must never be served.
    whole, path = tmp_path / "whole.joblib", tmp_path / "cut.joblib"
    joblib.dump(MODEL, whole, (compress, 3) if compress else 0, protocol)
    content = whole.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        assert outcome(joblibfile.load, path) == outcome(joblib.load, path), size


@pytest.mark.parametrize(("compress", "protocol"), FORMS)
def test_a_damaged_file_ends_as_with_joblib(tmp_path, compress, protocol):
    # A hole of zeros, as a copy that broke off leaves; with other bytes NumPy itself crashes now and then.
    whole, path = tmp_path / "whole.joblib", tmp_path / "damaged.joblib"
    joblib.dump(MODEL, whole, (compress, 3) if compress else 0, protocol)
    content = whole.read_bytes()
    for place in range(0, len(content), 3):
        path.write_bytes((content[:place] + bytes(8) + content[place + 8 :])[: len(content)])
        assert outcome(joblibfile.load, path) == outcome(joblib.load, path), place


def test_a_class_that_reads_another_file_meanwhile_does_not_disturb(tmp_path):
    inner, outer = tmp_path / "inner.joblib", tmp_path / "outer.joblib"
    joblib.dump(np.arange(4), inner)
    joblib.dump([np.ones(2), Reads(inner), np.zeros(2)], outer)
    one, reads, other = read(outer)
    assert (one.tolist(), reads.found.tolist(), other.tolist()) == ([1, 1], [0, 1, 2, 3], [0, 0])


class Reads:
    """Loads another file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __setstate__(self, state):
        self.__dict__.update(state, found=read(state["path"]))

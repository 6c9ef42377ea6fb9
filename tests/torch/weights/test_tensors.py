"""The bridge between a torch tensor's memory and the laws."""

import mmap
import re
import sys

import ml_dtypes
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'fanwise[torch]'")

from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402

import fanwise as fw  # noqa: E402
from fanwise import Key, Layout  # noqa: E402
from fanwise.torch.weights import tensors  # noqa: E402
from fanwise.torch.weights.tensors import ROUNDED, Numbers, array_of, checked_writable, draw_in_blocks_, fill_, permuted  # noqa: E402

KEY = Key(3).child("w")
NUMPY = {
    torch.float64: np.float64,
    torch.float32: np.float32,
    torch.float16: np.float16,
    torch.bfloat16: ml_dtypes.bfloat16,
}
OUT_IN = Layout.dense("out in")

every_dtype = pytest.mark.parametrize("dtype", NUMPY, ids=str)


def strided(shape, dtype=torch.float32):
    """Tensors of one shape over every kind of memory."""
    doubled = torch.zeros(*(2 * n for n in shape), dtype=dtype)
    return {
        "contiguous": torch.zeros(shape, dtype=dtype),
        "channels_last": torch.zeros(shape, dtype=dtype).to(memory_format=torch.channels_last),
        "reversed": torch.zeros(shape[::-1], dtype=dtype).permute(3, 2, 1, 0),
        "every second": doubled[tuple(slice(1, None, 2) for _ in shape)],
        "misaligned": misaligned(shape, dtype),
    }


def misaligned(shape, dtype):
    count = int(np.prod(shape)) * dtype.itemsize
    return torch.frombuffer(bytearray(count + 1), dtype=dtype, offset=1, count=count // dtype.itemsize).view(shape)


@every_dtype
@pytest.mark.parametrize("kind", strided((1, 1, 1, 1)))
def test_array_of_shares_memory_and_order(dtype, kind):
    tensor = strided((2, 3, 4, 5), dtype)[kind]
    array = array_of(tensor)
    assert array.shape == tensor.shape
    assert array.dtype == NUMPY[dtype]
    assert array.strides == tuple(step * dtype.itemsize for step in tensor.stride())
    array[1, 2, 3, 4] = 7
    assert tensor[1, 2, 3, 4] == 7


@pytest.mark.parametrize(
    "make", [lambda: torch.zeros(()), lambda: torch.zeros(3, 0), lambda: torch.zeros(2).requires_grad_()]
)
def test_array_of_edge_tensors(make):
    tensor = make()
    assert array_of(tensor).shape == tensor.shape


@every_dtype
@pytest.mark.parametrize("kind", strided((1, 1, 1, 1)))
@pytest.mark.parametrize(
    "law", [fw.he_normal, fw.glorot_uniform, fw.TruncatedNormal(0.1), fw.orthogonal, fw.Constant(2)]
)
def test_memory_formats_change_no_value(dtype, kind, law):
    layout = Layout.conv("out in kernel kernel")
    tensor = strided((8, 6, 3, 5), dtype)[kind]
    assert fill_(tensor, law, key=KEY, layout=layout) is tensor
    expected = law(tuple(tensor.shape), key=KEY, layout=layout, dtype=NUMPY[dtype])
    assert array_of(tensor).tobytes() == expected.tobytes()


def test_nothing_beside_a_slice_is_touched():
    whole = torch.full((6, 8), 9.0)
    fill_(whole[1:5, ::2], fw.Normal(1.0), key=0)
    untouched = torch.ones_like(whole, dtype=torch.bool)
    untouched[1:5, ::2] = False
    assert (whole[untouched] == 9).all()
    assert not (whole[~untouched] == 9).any()


@pytest.mark.parametrize("kind", strided((1, 1, 1, 1)))
def test_order_says_how_elements_are_counted(kind):
    """A convolution (out, in, *kernel) counted as (*kernel, in, out): the numbers of a Keras or Flax port."""
    tensor = strided((8, 6, 3, 5))[kind]
    layout = Layout.conv("out in kernel kernel", stride=(1, 2))
    for law in (fw.VarianceScaling(2.0, "fan_out"), fw.orthogonal):
        fill_(tensor, law, key=KEY, layout=layout, order=(2, 3, 1, 0))
        port = law((3, 5, 6, 8), key=KEY, layout=Layout.conv(stride=(1, 2)))
        assert (array_of(tensor).transpose(2, 3, 1, 0) == port).all()


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 3, 1, 0), (3, 2, 1, 0), (0, 3, 1, 2)])
def test_permuted_layouts_have_the_same_fans(order):
    shape = (8, 6, 3, 5)
    for layout in (
        Layout.conv("out in kernel kernel", groups=2, stride=(1, 3)),
        Layout.conv_transpose("in out kernel kernel", stride=(2, 1)),
        Layout.dense("out in stack stack").fuse(0, (6, 2)),
    ):
        turned = permuted(layout, order)
        assert turned.block_fans([shape[axis] for axis in order]) == layout.block_fans(shape)
        assert permuted(turned, np.argsort(order).tolist()) == layout


@pytest.mark.parametrize("order", [(0,), (0, 0), (0, 2), (1, 0, 2), (-1, 0), ("a", "b")])
def test_orders_that_are_no_permutation_are_refused(order):
    with pytest.raises((ValueError, TypeError), match=r"expected each of the 2 axes once|not supported between"):
        fill_(torch.zeros(3, 4), fw.Normal(1.0), key=0, order=order)


@every_dtype
@pytest.mark.parametrize("kind", strided((1, 1, 1, 1)))
@pytest.mark.parametrize("limit", [1, 64, 1000, 10**9])
def test_blocks_draw_what_the_memory_gets(dtype, kind, limit):
    """The path of other devices, on the CPU."""
    tensor, law = strided((8, 6, 3, 5), dtype)[kind], fw.TruncatedNormal(0.1)
    draw_in_blocks_(tensor, Numbers(lambda shape, **place: law(shape, key=KEY, **place), 1.0), limit=limit)
    assert array_of(tensor).tobytes() == law((8, 6, 3, 5), key=KEY, dtype=NUMPY[dtype]).tobytes()


def test_blocks_are_small_where_elements_are_drawn_on_their_own():
    seen = []

    def draw(shape, *, dtype, box, out):
        seen.append(box.size)
        return fw.ones(shape, dtype=dtype, box=box, out=out)

    tensor = torch.zeros(40, 25)
    draw_in_blocks_(tensor, Numbers(draw, 1.0), limit=400)
    assert seen == [100] * 10
    draw_in_blocks_(tensor, Numbers(draw, 1.0, by_element=False), limit=400)
    assert seen[10:] == [1000]
    assert (tensor == 1).all()


@pytest.mark.parametrize(
    ("law", "blocks"),
    [
        (fw.he_normal, 4),
        (fw.Blocks((fw.zeros, fw.Normal(1.0)), axis=0), 4),
        (fw.orthogonal, 1),
        (fw.ICNR(fw.he_normal, 4), 1),
        (fw.Blocks((fw.zeros, fw.orthogonal), axis=0), 1),
    ],
)
def test_matrices_are_drawn_once(law, blocks, monkeypatch):
    copies = []
    monkeypatch.setattr(tensors, "_is_reachable", lambda tensor: False)
    monkeypatch.setattr(tensors, "pieces", lambda whole, limit: copies.append(limit) or [whole] * 4)
    fill_(torch.zeros(8, 8), law, key=0, layout=OUT_IN)
    assert len(copies) == (1 if blocks > 1 else 0)


@pytest.mark.parametrize("dtype", ROUNDED, ids=str)
@pytest.mark.parametrize("law", [fw.Normal(1.0), fw.Uniform(1.0), fw.orthogonal])
def test_eight_bit_floats_are_float32_rounded_by_torch(dtype, law):
    drawn = fill_(torch.zeros(64, 32, dtype=dtype), law, key=KEY)
    plain = fill_(torch.zeros(64, 32), law, key=KEY)
    assert (drawn.float() == plain.to(dtype).float()).all()
    assert drawn.float().isfinite().all()


@pytest.mark.parametrize(
    ("law", "message"),
    [
        (fw.Constant(1000.0), "more than torch.float8_e4m3fn can hold"),
        (fw.Normal(80.0), "values reach 507"),
        (fw.Normal(1e-4), "all would be stored as 0"),
    ],
)
def test_what_eight_bits_cannot_hold_is_refused(law, message):
    tensor = torch.ones(4, 4, dtype=torch.float8_e4m3fn)
    with pytest.raises(ValueError, match=message):
        fill_(tensor, law, key=0)
    assert (tensor.float() == 1).all()


def test_autograd_sees_that_a_value_it_needs_was_overwritten():
    for kind, tensor in strided((2, 3, 4, 5)).items():
        weight = tensor.requires_grad_()
        loss = (weight * weight).sum()
        version = weight._version
        fill_(weight, fw.Normal(1.0), key=0)
        assert weight._version > version, kind
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


def test_writing_through_the_array_alone_goes_unseen():
    """The mutant of the test above."""
    weight = torch.ones(3, requires_grad=True)
    loss = (weight * weight).sum()
    array_of(weight)[...] = 2
    loss.backward()


def test_leaves_and_their_views_stay_what_they_are():
    weight = torch.nn.Parameter(torch.zeros(6, 4))
    for target in (weight, weight.T, weight[1:3], *weight.chunk(3), weight.data, weight.detach()):
        fill_(target, fw.Normal(1.0), key=0)
    assert weight.is_leaf
    assert weight.requires_grad
    assert weight.grad_fn is None
    (weight * weight).sum().backward()
    assert (weight.grad == 2 * weight).all()


def test_inference_tensors_are_filled_in_inference_mode():
    with torch.inference_mode():
        tensor = fill_(torch.zeros(3), fw.Normal(1.0), key=0)
    assert (tensor != 0).all()


class Marked(torch.Tensor):
    pass


class Elsewhere(torch.Tensor):
    @staticmethod
    def __new__(cls):
        return torch.Tensor._make_wrapper_subclass(cls, (3,), dtype=torch.float32)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise NotImplementedError


def fake():
    with FakeTensorMode():
        return torch.zeros(3)


def inference():
    with torch.inference_mode():
        return torch.zeros(3)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def nested():
    return torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)], layout=torch.jagged)


def mapped(tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(bytes(64))
    return np.memmap(file, np.float32, "r")


REFUSED = {
    "list": (lambda: [1.0], TypeError, re.escape("tensor = [1.0]: expected a torch.Tensor")),
    "array": (lambda: np.zeros(3), TypeError, "expected a torch.Tensor"),
    "None": (lambda: None, TypeError, "bias=False"),
    "int": (lambda: torch.zeros(3, dtype=torch.int32), TypeError, "torch.int32: expected one of torch.float64"),
    "bool": (lambda: torch.zeros(3, dtype=torch.bool), TypeError, "torch.bool"),
    "complex": (lambda: torch.zeros(3, dtype=torch.complex64), TypeError, "torch.complex64"),
    "e8m0": (lambda: torch.zeros(3).to(torch.float8_e8m0fnu), TypeError, "torch.float8_e8m0fnu"),
    "sparse": (lambda: torch.eye(3).to_sparse(), TypeError, "layout torch.sparse_coo"),
    "csr": (lambda: torch.eye(3).to_sparse_csr(), TypeError, "layout torch.sparse_csr"),
    "nested": (nested, TypeError, "is nested"),
    "subclass": (Elsewhere, TypeError, "is a Elsewhere whose elements are kept elsewhere"),
    "fake": (fake, TypeError, "is a FakeTensor"),
    "lazy": (lambda: torch.nn.LazyLinear(3).weight, ValueError, "run a forward first"),
    "meta": (lambda: torch.zeros(3, device="meta"), ValueError, "meta device and has no memory"),
    "inference": (inference, ValueError, "was made in inference mode"),
    "expanded": (lambda: torch.zeros(1).expand(4), ValueError, "share memory"),
    "overlapping": (lambda: torch.zeros(7).as_strided((4, 4), (1, 1)), ValueError, "share memory"),
    "result": (lambda: torch.ones(3, requires_grad=True) * 2, ValueError, "result of an operation .*MulBackward"),
    "view of a result": (lambda: (torch.ones(3, requires_grad=True) * 2)[1:], ValueError, "result of an operation"),
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors", "ignore:Sparse CSR tensor support")
@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    make, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        fill_(make(), fw.Normal(1.0), key=0)
    with pytest.raises(error, match=message.replace("tensor", "weight", 1) if case == "list" else message):
        checked_writable(make(), name="weight")


@pytest.mark.filterwarnings("ignore:.*quantize:DeprecationWarning", "ignore:.*quantiz.*:UserWarning")
def test_quantized_tensors_are_refused():
    tensor = torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8)
    with pytest.raises(TypeError, match=r"torch\.qint8, which is quantized"):
        fill_(tensor, fw.Normal(1.0), key=0)


@pytest.mark.parametrize(
    "transform", [torch.vmap, lambda f: torch.func.grad(lambda x: f(x).sum())], ids=["vmap", "grad"]
)
def test_tensors_inside_a_transform_are_refused(transform):
    with pytest.raises(TypeError, match="inside vmap or grad"):
        transform(lambda x: fill_(x, fw.Normal(1.0), key=0))(torch.zeros(3, 2))


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell")
def test_a_file_mapped_read_only_is_refused_and_other_mappings_are_not(tmp_path):
    array = mapped(tmp_path)
    with pytest.raises(ValueError, match="mapped read-only"):
        fill_(torch.from_numpy(array), fw.Normal(1.0), key=0)
    assert not array.any()
    private = torch.from_numpy(np.memmap(tmp_path / "weights", np.float32, "c"))
    assert (fill_(private, fw.Normal(1.0), key=0) != 0).all()
    shared = torch.from_file(str(tmp_path / "weights"), shared=True, size=16)
    assert (fill_(shared, fw.Normal(1.0), key=0) != 0).all()
    assert array.all()
    anonymous = torch.frombuffer(mmap.mmap(-1, 64), dtype=torch.float32)
    assert (fill_(anonymous, fw.Normal(1.0), key=0) == shared).all()


def test_plain_subclasses_and_foreign_memory_are_filled():
    marked = torch.zeros(3).as_subclass(Marked)
    assert fill_(marked, fw.Normal(1.0), key=0) is marked
    owned = np.zeros(3, np.float32)
    fill_(torch.from_numpy(owned), fw.Normal(1.0), key=0)
    assert (owned == marked.numpy()).all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"law": "he_normal"}, TypeError, "law = 'he_normal': expected an initializer"),
        ({"key": 1.5}, TypeError, "seed = 1.5"),
        ({"key": None}, TypeError, "key = None: random numbers need one"),
        ({"layout": "out in"}, TypeError, r"expected a fanwise\.Layout"),
        ({"layout": Layout.conv()}, ValueError, "has 2 axes, the layout"),
        ({"law": fw.Normal(1e39)}, ValueError, "more than float32 can hold"),
        ({"law": fw.dirac}, ValueError, "no kernel axes"),
    ],
)
def test_bad_arguments_change_nothing(options, error, message):
    tensor = torch.ones(4, 3)
    version = tensor._version
    with pytest.raises(error, match=message):
        fill_(tensor, **{"law": fw.Normal(1.0), "key": 0, **options})
    assert (tensor == 1).all()
    assert tensor._version == version


@pytest.mark.parametrize("shape", [(), (0,), (0, 5), (3, 0)])
def test_small_tensors(shape):
    tensor = fill_(torch.zeros(shape), fw.Normal(1.0), key=0)
    assert (tensor.flatten().numpy() == fw.Normal(1.0)(tensor.numel(), key=0)).all()
    blocks = torch.zeros(shape)
    draw_in_blocks_(blocks, Numbers(lambda place, **options: fw.Normal(1.0)(place, key=0, **options), 1.0))
    assert torch.equal(blocks, tensor)
    empty = torch.empty(0).expand(5, 0)
    assert fill_(empty, fw.Normal(1.0), key=0) is empty

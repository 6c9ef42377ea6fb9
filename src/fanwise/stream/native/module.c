/* The kernel as a Python module, in the limited API of Python 3.11: one binary for every later version. */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include "kernel.h"

static int sizes_of(PyObject *tuple, Py_ssize_t ndim, uint64_t *out) {
  if (PyTuple_Size(tuple) != ndim) {
    PyErr_SetString(PyExc_ValueError, "start and shape need one entry for each axis of the target");
    return 0;
  }
  for (Py_ssize_t i = 0; i < ndim; i++) {
    out[i] = PyLong_AsUnsignedLongLong(PyTuple_GetItem(tuple, i));
    if (PyErr_Occurred()) return 0;
  }
  return 1;
}

/* The axes of the target within the global shape; 0 and an error set where they do not fit. */
static int axes_of(const Py_buffer *view, const uint64_t *start, const uint64_t *shape, fw_axis *axes, uint64_t *origin) {
  uint64_t stride = 1;
  *origin = 0;
  for (int i = view->ndim - 1; i >= 0; i--) {
    uint64_t extent = (uint64_t)view->shape[i];
    if (start[i] > shape[i] || extent > shape[i] - start[i]) {
      PyErr_SetString(PyExc_ValueError, "the box reaches outside the shape");
      return 0;
    }
    axes[i] = (fw_axis){extent, stride, view->strides[i]};
    *origin += start[i] * stride;
    stride *= shape[i];
  }
  return 1;
}

static int is_law(const fw_law *law, Py_ssize_t key_size) {
  return key_size == 16 && law->map >= 0 && law->map < FW_MAPS && fw_item_size(law->dtype) &&
         (law->map == FW_WORDS) == (law->dtype == FW_UINT32);
}

static PyObject *fill_view(const Py_buffer *view, const fw_law *law, PyObject *start, PyObject *shape, int threads, int isa) {
  uint64_t starts[FW_MAX_DIMS], sizes[FW_MAX_DIMS], origin;
  fw_axis axes[FW_MAX_DIMS];
  const fw_path *path = fanwise_path(isa);
  if (!path || threads < 1 || view->ndim > FW_MAX_DIMS || view->itemsize != fw_item_size(law->dtype)) {
    PyErr_SetString(PyExc_ValueError, "no such path, no thread, too many axes, or a target of another item size");
    return 0;
  }
  if (!sizes_of(start, view->ndim, starts) || !sizes_of(shape, view->ndim, sizes)) return 0;
  if (!axes_of(view, starts, sizes, axes, &origin)) return 0;
  if (view->len) {
    Py_BEGIN_ALLOW_THREADS
    fanwise_fill(path, law, origin, axes, view->ndim, view->buf, threads);
    Py_END_ALLOW_THREADS
  }
  Py_RETURN_NONE;
}

PyDoc_STRVAR(fill_doc,
             "fill(target, key, map, dtype, unit, mean, low, high, first_cell, cells, start, shape, threads, isa)\n\n"
             "Fills a writable buffer; see fanwise.stream.native.");

static PyObject *fill(PyObject *self, PyObject *arguments) {
  PyObject *target, *start, *shape, *done;
  const char *key;
  Py_ssize_t key_size;
  int threads, isa;
  unsigned long long first_cell, cells;
  fw_law law = {{0}, 0, 0, 0, 0, 0, 0, 0, 0};
  Py_buffer view;
  (void)self;
  if (!PyArg_ParseTuple(arguments, "Oy#iiddddKKOOii", &target, &key, &key_size, &law.map, &law.dtype, &law.unit, &law.mean,
                        &law.low, &law.high, &first_cell, &cells, &start, &shape, &threads, &isa))
    return 0;
  if (!is_law(&law, key_size) || !PyTuple_Check(start) || !PyTuple_Check(shape)) {
    PyErr_SetString(PyExc_ValueError, "not a law of the stream");
    return 0;
  }
  for (int i = 0; i < 4; i++)
    for (int j = 3; j >= 0; j--) law.key[i] = law.key[i] << 8 | (unsigned char)key[4 * i + j];
  law.first_cell = first_cell, law.cells = cells;
  if (PyObject_GetBuffer(target, &view, PyBUF_STRIDES | PyBUF_WRITABLE)) return 0;
  done = fill_view(&view, &law, start, shape, threads, isa);
  PyBuffer_Release(&view);
  return done;
}

PyDoc_STRVAR(isas_doc, "isas()\n\nNames of the instruction sets that this processor has a path for, by number.");

static PyObject *isas(PyObject *self, PyObject *unused) {
  PyObject *found = PyDict_New();
  (void)self, (void)unused;
  for (int isa = 0; found && isa < FW_ISAS; isa++) {
    if (!fanwise_path(isa)) continue;
    PyObject *number = PyLong_FromLong(isa);
    if (!number || PyDict_SetItemString(found, fanwise_isa_name(isa), number)) Py_CLEAR(found);
    Py_XDECREF(number);
  }
  return found;
}

static PyMethodDef methods[] = {{"fill", fill, METH_VARARGS, fill_doc}, {"isas", isas, METH_NOARGS, isas_doc}, {0, 0, 0, 0}};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_kernel", "The stream kernel.", 0, methods, 0, 0, 0, 0};

PyMODINIT_FUNC PyInit__kernel(void) { return PyModuleDef_Init(&module); }

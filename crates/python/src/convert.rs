//! Tensors and parameters to Python objects and back.

use crate::buffer::{copy_out, Buffer};
use modelport_dataplane::error::{Error, Kind};
use modelport_dataplane::message::InferResponse;
use modelport_dataplane::tensor::{Data, Datatype, Param, Params, Strings, Tensor};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyList, PyString, PyTuple};

/// (name, datatype, shape, data, nulls) as `_dataplane.pyi` has it.
pub(crate) fn input<'py>(py: Python<'py>, tensor: &Tensor) -> PyResult<Bound<'py, PyTuple>> {
    let data = match &tensor.data {
        Data::Fixed(bytes) => Bound::new(py, Buffer::new(bytes.clone()))?.into_any(),
        Data::Strings(strings) => {
            let list = PyList::new(py, strings.iter().map(|element| PyBytes::new(py, element)))?;
            for &null in &tensor.nulls {
                list.set_item(null, py.None())?;
            }
            list.into_any()
        }
    };
    let nulls = if tensor.nulls.is_empty() {
        py.None().into_bound(py)
    } else {
        PyList::new(py, &tensor.nulls)?.into_any()
    };
    PyTuple::new(
        py,
        [
            PyString::new(py, &tensor.name).into_any(),
            PyString::intern(py, tensor.datatype.name()).into_any(),
            PyTuple::new(py, &tensor.shape)?.into_any(),
            data,
            nulls,
        ],
    )
}

/// A dict of parameters.
pub(crate) fn parameters<'py>(py: Python<'py>, parameters: &Params) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (name, value) in parameters {
        match value {
            Param::Bool(value) => dict.set_item(name, value)?,
            Param::Int(value) => dict.set_item(name, value)?,
            Param::Double(value) => dict.set_item(name, value)?,
            Param::Str(value) => dict.set_item(name, value)?,
        }
    }
    Ok(dict)
}

/// A dict of headers; of a name that came twice, the last value.
pub(crate) fn headers<'py>(py: Python<'py>, headers: &[(String, String)]) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (name, value) in headers {
        dict.set_item(name, value)?;
    }
    Ok(dict)
}

/// Parameters from a dict of bool, int, float and str.
pub(crate) fn to_parameters(object: Option<&Bound<'_, PyAny>>) -> PyResult<Params> {
    let Some(object) = object.filter(|object| !object.is_none()) else { return Ok(Params::new()) };
    let dict = object.cast::<PyDict>()?;
    let mut parameters = Params::with_capacity(dict.len());
    for (name, value) in dict {
        let name: String = name.extract()?;
        let value = if value.is_instance_of::<PyBool>() {
            Param::Bool(value.extract()?)
        } else if let Ok(number) = value.extract::<i64>() {
            Param::Int(number)
        } else if let Ok(number) = value.extract::<f64>() {
            Param::Double(number)
        } else if let Ok(text) = value.extract::<String>() {
            Param::Str(text)
        } else {
            return Err(PyTypeError::new_err(format!(
                "parameters[{name:?}]: must be a bool, int, float or str, got {}.",
                value.get_type().name()?
            )));
        };
        parameters.push((name, value));
    }
    Ok(parameters)
}

/// Headers from a mapping of str to str.
pub(crate) fn to_headers(object: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<(String, String)>> {
    let Some(object) = object.filter(|object| !object.is_none()) else { return Ok(Vec::new()) };
    let dict = object.cast::<PyDict>()?;
    dict.iter()
        .map(|(name, value)| Ok((name.str()?.to_string_lossy().to_lowercase(), value.str()?.to_string())))
        .collect()
}

/// A model's outputs: `(outputs, parameters | None, headers | None)`.
pub(crate) fn response(object: &Bound<'_, PyAny>) -> PyResult<InferResponse> {
    let (outputs, parameters, headers) =
        object.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
    let outputs = outputs.cast::<PyList>()?.iter().map(|output| tensor(&output)).collect::<PyResult<_>>()?;
    Ok(InferResponse {
        outputs,
        parameters: to_parameters(Some(&parameters))?,
        headers: to_headers(Some(&headers))?,
    })
}

fn tensor(object: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    let (name, datatype, shape, data) =
        object.extract::<(String, Bound<'_, PyString>, Vec<usize>, Bound<'_, PyAny>)>()?;
    let datatype = datatype.to_str()?;
    let datatype = Datatype::parse(datatype).ok_or_else(|| {
        PyValueError::new_err(format!("output {name:?}: {datatype:?} is not a datatype of the protocol."))
    })?;
    let count = Tensor::count(&shape)
        .ok_or_else(|| PyValueError::new_err(format!("output {name:?}: shape {shape:?} is too large.")))?;
    let mut nulls = Vec::new();
    let (data, given) = if let Some(size) = datatype.size() {
        let bytes = copy_out(&data, &name)?;
        let given = bytes.len() / size;
        (Data::Fixed(bytes), given)
    } else {
        let strings = strings(&data, &name, &mut nulls)?;
        let given = strings.len();
        (Data::Strings(strings), given)
    };
    if given != count {
        return Err(PyValueError::new_err(format!(
            "output {name:?}: shape {shape:?} needs {count} elements, the data have {given}."
        )));
    }
    Ok(Tensor { name, datatype, shape, data, nulls, parameters: Params::new() })
}

fn strings(data: &Bound<'_, PyAny>, name: &str, nulls: &mut Vec<usize>) -> PyResult<Strings> {
    let list = data.cast::<PyList>()?;
    let mut strings = Strings::with_capacity(list.len(), list.len() * 8);
    for (index, element) in list.iter().enumerate() {
        if let Ok(text) = element.cast::<PyString>() {
            strings.push(text.to_str()?.as_bytes());
        } else if let Ok(bytes) = element.cast::<PyBytes>() {
            strings.push(bytes.as_bytes());
        } else if element.is_none() {
            nulls.push(index);
            strings.push(b"");
        } else {
            return Err(PyTypeError::new_err(format!(
                "output {name:?}: element {index} must be str, bytes or None, got {}.",
                element.get_type().name()?
            )));
        }
    }
    Ok(strings)
}

/// A Python exception as what the client is told. Exceptions with an integer `status` choose it.
pub(crate) fn error(py: Python<'_>, raised: &PyErr) -> Error {
    let value = raised.value(py);
    let text = value.str().map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
    match value.getattr("status").and_then(|status| status.extract::<u16>()) {
        Ok(status) => Error::new(kind_of(status), text),
        Err(_) => {
            let name = value.get_type().name().map(|name| name.to_string()).unwrap_or_default();
            Error::new(Kind::Model, format!("{name} : {text}"))
        }
    }
}

/// The kind of error that has this HTTP status.
pub(crate) fn kind_of(status: u16) -> Kind {
    match status {
        400 => Kind::InvalidInput,
        404 => Kind::NotFound,
        429 => Kind::Overloaded,
        500 => Kind::Model,
        501 => Kind::Unimplemented,
        503 => Kind::NotReady,
        504 => Kind::Timeout,
        other => Kind::Status(other),
    }
}

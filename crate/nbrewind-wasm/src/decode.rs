//! What JupyterLab asks with: cells and runs. Field by field: a reader for any type would be a twentieth of the module, most of
//! it for what is never asked, such as how a number with a fraction is written in the text of an error.

use js_sys::Array;
use nbrewind_analysis::{CellInput, RunHow, RunInput, RunStatus};
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    /// A cell or a run.
    type Given;
    #[wasm_bindgen(method, getter, structural)]
    fn id(this: &Given) -> JsValue;
    #[wasm_bindgen(method, getter, structural)]
    fn source(this: &Given) -> JsValue;
    #[wasm_bindgen(method, getter, structural)]
    fn tags(this: &Given) -> JsValue;
    #[wasm_bindgen(method, getter, structural)]
    fn cell(this: &Given) -> JsValue;
    #[wasm_bindgen(method, getter, structural)]
    fn number(this: &Given) -> JsValue;
    #[wasm_bindgen(method, getter, structural)]
    fn status(this: &Given) -> JsValue;
    #[wasm_bindgen(method, getter, structural)]
    fn how(this: &Given) -> JsValue;
    #[wasm_bindgen(method, getter, structural)]
    fn undone(this: &Given) -> JsValue;
    #[wasm_bindgen(method, getter, structural)]
    fn result(this: &Given) -> JsValue;
    #[wasm_bindgen(method, getter, structural)]
    fn outside(this: &Given) -> JsValue;
}

/// `[{id, source, tags?}]`.
pub(crate) fn cells(value: &JsValue) -> Result<Vec<CellInput>, JsError> {
    list(value, "cell", |cell| {
        Some(CellInput {
            id: cell.id().as_string()?,
            source: cell.source().as_string()?,
            tags: texts(&cell.tags())?,
        })
    })
}

/// As `RunInput` says.
pub(crate) fn runs(value: &JsValue) -> Result<Vec<RunInput>, JsError> {
    list(value, "run", |run| {
        let number = run.number();
        Some(RunInput {
            cell: optional_text(&run.cell())?.unwrap_or_default(),
            source: run.source().as_string()?,
            number: if is_left_out(&number) {
                None
            } else {
                // A count in JavaScript is a number like all others.
                Some(number.as_f64()? as u32)
            },
            status: match run.status().as_string()?.as_str() {
                "running" => RunStatus::Running,
                "ok" => RunStatus::Ok,
                "failed" => RunStatus::Failed,
                "interrupted" => RunStatus::Interrupted,
                _ => return None,
            },
            how: match optional_text(&run.how())?.as_deref() {
                None | Some("executed") => RunHow::Executed,
                Some("replayed") => RunHow::Replayed,
                Some("restored") => RunHow::Restored,
                Some(_) => return None,
            },
            undone: run.undone().is_truthy(),
            result: optional_text(&run.result())?,
            outside: texts(&run.outside())?,
        })
    })
}

fn list<T>(
    value: &JsValue,
    what: &str,
    one: impl Fn(&Given) -> Option<T>,
) -> Result<Vec<T>, JsError> {
    let refused =
        |at: usize| JsError::new(&[what, " ", &at.to_string(), " cannot be read"].concat());
    if !Array::is_array(value) {
        return Err(refused(0));
    }
    let items = value.unchecked_ref::<Array>().iter().enumerate();
    items
        .map(|(at, item)| {
            let given = item.is_object().then_some(item);
            let found = given.and_then(|item| one(item.unchecked_ref()));
            found.ok_or_else(|| refused(at))
        })
        .collect()
}

fn is_left_out(value: &JsValue) -> bool {
    value.is_undefined() || value.is_null()
}

/// `None`: something else than a text stands there.
fn optional_text(value: &JsValue) -> Option<Option<String>> {
    if is_left_out(value) {
        return Some(None);
    }
    value.as_string().map(Some)
}

fn texts(value: &JsValue) -> Option<Vec<String>> {
    if is_left_out(value) {
        return Some(Vec::new());
    }
    if !Array::is_array(value) {
        return None;
    }
    let items = value.unchecked_ref::<Array>().iter();
    items.map(|item| item.as_string()).collect()
}

//! The browser's face of the analysis: decode, call, encode. Nothing is decided here.

mod decode;
#[cfg(any(target_arch = "wasm32", test))]
mod memory;

use js_sys::JSON;
use nbrewind_analysis as analysis;
use serde::Serialize;
use wasm_bindgen::prelude::*;

/// Makes a panic readable in the browser's console instead of `unreachable`.
#[cfg(feature = "panic-texts")]
#[wasm_bindgen(start)]
pub fn start() {
    console_error_panic_hook::set_once();
}

/// The version of the analysis, the same as the Python package's.
#[wasm_bindgen]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// Effects of one cell.
#[cfg(feature = "everything")]
#[wasm_bindgen]
pub fn analyze_cell(source: &str) -> Result<JsValue, JsError> {
    encode(&analysis::analyze_cell(source))
}

/// Effects of all cells `[{id, source, tags?}]`, and the edges between them.
#[cfg(feature = "everything")]
#[wasm_bindgen]
pub fn analyze_notebook(cells: JsValue) -> Result<JsValue, JsError> {
    encode(&analysis::analyze_notebook(&decode::cells(&cells)?))
}

/// Which cells of `edited` no longer match the run of `audited`, and why. `facts` may be left out.
#[cfg(feature = "everything")]
#[wasm_bindgen]
pub fn stale(audited: JsValue, edited: JsValue, facts: JsValue) -> Result<JsValue, JsError> {
    let facts = if facts.is_undefined() || facts.is_null() {
        None
    } else {
        let text = JSON::stringify(&facts).map_err(|_| JsError::new("facts cannot be read"))?;
        Some(serde_json::from_str(&String::from(text)).map_err(into_error)?)
    };
    encode(&analysis::stale(
        &decode::cells(&audited)?,
        &decode::cells(&edited)?,
        facts.as_ref(),
    ))
}

/// The dataflow graph as `mermaid`, `dot`, `json` or `svg`.
#[cfg(feature = "everything")]
#[wasm_bindgen]
pub fn graph(cells: JsValue, format: &str) -> Result<String, JsError> {
    let format = format
        .parse()
        .map_err(|error: analysis::UnknownFormat| into_error(error))?;
    Ok(analysis::graph(&decode::cells(&cells)?, format))
}

/// Judges the cells of one notebook and one kernel, and keeps what it analysed between calls.
#[wasm_bindgen]
#[derive(Default)]
pub struct Workbench {
    bench: analysis::Workbench,
    runs: Vec<analysis::RunInput>,
}

#[wasm_bindgen]
impl Workbench {
    /// One that knows nothing yet.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Workbench::default()
    }

    /// How every cell of the page stands, in page order. Without `runs`, those of the last call still hold.
    pub fn verdicts(&mut self, cells: JsValue, runs: JsValue) -> Result<JsValue, JsError> {
        let cells = decode::cells(&cells)?;
        if !runs.is_undefined() && !runs.is_null() {
            self.runs = decode::runs(&runs)?;
        }
        encode(&self.bench.verdicts(&cells, &self.runs))
    }

    /// One cell of the page of the last call has another text: `[[position, verdict]]` for all that stand otherwise now.
    pub fn edit(&mut self, at: usize, source: &str) -> Result<JsValue, JsError> {
        encode(&self.bench.edit(at, source))
    }

    /// Analyses a part of the page ahead of its first run. Whether there is more to do.
    pub fn prepare(&mut self) -> bool {
        self.bench.prepare()
    }

    /// Somebody is about to type in this line of a cell, the first of which is 1: `prepare` does what the first key will need.
    pub fn expect(&mut self, at: usize, line: usize) {
        self.bench.expect(at, line);
    }

    /// The positions of the cells that a run of this one with another result would make stale.
    pub fn would_become_stale(&mut self, at: usize) -> Result<JsValue, JsError> {
        encode(&self.bench.would_become_stale(at))
    }
}

/// One text that the browser takes apart: what hands over field by field is a kilobyte more of the module.
fn encode(value: &impl Serialize) -> Result<JsValue, JsError> {
    // What has texts as its keys cannot fail to be written.
    let text = serde_json::to_string(value).unwrap_or_default();
    JSON::parse(&text).map_err(|_| JsError::new("the answer cannot be read"))
}

#[cfg(feature = "everything")]
fn into_error(error: impl std::fmt::Display) -> JsError {
    JsError::new(&error.to_string())
}

//! Stand-in for the crate of the same name: NFKC alone, which is what the parser makes of names that are not ASCII.
//!
//! In WebAssembly the browser does it: the tables would be a sixth of the module. Elsewhere they are read from
//! `tables.txt` when the first such name comes.

#[cfg(not(target_arch = "wasm32"))]
mod tables;

/// What text becomes.
pub trait UnicodeNormalization {
    /// Its characters in Normalization Form KC.
    fn nfkc(self) -> std::vec::IntoIter<char>;
}

impl UnicodeNormalization for &str {
    fn nfkc(self) -> std::vec::IntoIter<char> {
        normalized(self).into_iter()
    }
}

#[cfg(target_arch = "wasm32")]
fn normalized(text: &str) -> Vec<char> {
    let text = js_sys::JsString::from(text).normalize("NFKC");
    String::from(text).chars().collect()
}

#[cfg(not(target_arch = "wasm32"))]
use tables::normalized;

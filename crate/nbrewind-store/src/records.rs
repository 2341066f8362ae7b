//! Payloads that more than one face reads: what a version of a co-variable consists of, and what a task did.
//!
//! Faces may add fields; a reader ignores what it does not know.

use serde::{Deserialize, Serialize};

use crate::Fingerprint;

/// One version of a co-variable. Kind `manifest`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The names that share these objects, sorted.
    pub names: Vec<String>,
    /// How `head` is to be read: `pickle5`.
    pub format: String,
    /// The chunks of the pickle stream.
    pub head: Vec<Fingerprint>,
    /// The out-of-band buffers, in the order in which the stream asks for them.
    pub buffers: Vec<BufferRef>,
    /// Bytes of head and buffers together.
    pub bytes: u64,
}

impl Manifest {
    /// Every chunk it depends on, each once: what to pass as `needs`.
    #[must_use]
    pub fn needs(&self) -> Vec<Fingerprint> {
        distinct(&self.head, &self.buffers)
    }
}

/// One out-of-band buffer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BufferRef {
    /// Its content.
    pub chunks: Vec<Fingerprint>,
    /// Its length in bytes.
    pub len: u64,
    /// User code could not write to it.
    pub readonly: bool,
}

/// One execution of a distributed task. Kind `task`, key = task fingerprint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// Of the task's code and inputs.
    pub fingerprint: Fingerprint,
    /// What people call it.
    pub name: String,
    /// The result, if it was stored.
    pub value: Option<ValueRef>,
    /// How long it took.
    pub seconds: f64,
    /// Size of the result.
    pub bytes: u64,
    /// The files it wrote.
    pub files: Vec<FileFact>,
    /// What the fingerprint is made of, (component, its digest), for telling why it ran again.
    pub components: Vec<(String, String)>,
    /// How it ended; only `ok` is replayed.
    pub status: TaskStatus,
}

impl TaskRecord {
    /// Every chunk it depends on, each once: what to pass as `needs`.
    #[must_use]
    pub fn needs(&self) -> Vec<Fingerprint> {
        self.value
            .as_ref()
            .map_or_else(Vec::new, |value| distinct(&value.head, &value.buffers))
    }
}

/// A stored value: a pickle stream and its buffers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueRef {
    /// The chunks of the pickle stream.
    pub head: Vec<Fingerprint>,
    /// The out-of-band buffers, in the order in which the stream asks for them.
    pub buffers: Vec<BufferRef>,
}

/// A file and its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFact {
    /// Where it is.
    pub path: String,
    /// Fingerprint of its content, or None: it was not there.
    pub digest: Option<Fingerprint>,
}

/// How an execution ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskStatus {
    /// It returned.
    Ok,
    /// It raised.
    Failed,
    /// It was stopped.
    Interrupted,
}

fn distinct(head: &[Fingerprint], buffers: &[BufferRef]) -> Vec<Fingerprint> {
    let mut seen = std::collections::BTreeSet::new();
    let all = head
        .iter()
        .chain(buffers.iter().flat_map(|buffer| &buffer.chunks));
    all.filter(|chunk| seen.insert(**chunk)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shape is pinned: other faces, and older stores, have these fields in these spellings.
    #[test]
    fn payloads_keep_their_shape() {
        let [a, b] = [&b"a"[..], b"b"].map(Fingerprint::of);
        let buffer = BufferRef {
            chunks: vec![b, a, b],
            len: 3,
            readonly: true,
        };
        let manifest = Manifest {
            names: vec!["x".into()],
            format: "pickle5".into(),
            head: vec![a],
            buffers: vec![buffer.clone()],
            bytes: 4,
        };
        assert_eq!(manifest.needs(), [a, b]);
        let json = serde_json::json!({
            "names": ["x"], "format": "pickle5", "head": [a], "bytes": 4,
            "buffers": [{"chunks": [b, a, b], "len": 3, "readonly": true}],
        });
        assert_eq!(serde_json::to_value(&manifest).unwrap(), json);
        assert_eq!(serde_json::from_value::<Manifest>(json).unwrap(), manifest);

        let mut task = TaskRecord {
            fingerprint: a,
            name: "f".into(),
            value: Some(ValueRef {
                head: vec![a],
                buffers: vec![buffer],
            }),
            seconds: 0.1,
            bytes: 4,
            files: vec![FileFact {
                path: "out.csv".into(),
                digest: None,
            }],
            components: vec![("code".into(), "12".into())],
            status: TaskStatus::Ok,
        };
        assert_eq!(task.needs(), [a, b]);
        let json = serde_json::json!({
            "fingerprint": a, "name": "f", "seconds": 0.1, "bytes": 4, "status": "ok",
            "value": {"head": [a], "buffers": [{"chunks": [b, a, b], "len": 3, "readonly": true}]},
            "files": [{"path": "out.csv", "digest": null}], "components": [["code", "12"]],
        });
        assert_eq!(serde_json::to_value(&task).unwrap(), json);
        assert_eq!(serde_json::from_value::<TaskRecord>(json).unwrap(), task);
        task.value = None;
        assert_eq!(task.needs(), []);
    }
}
